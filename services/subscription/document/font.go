package document

import (
	"bytes"
	_ "embed" // fonts
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/go-text/typesetting/font"
)

//go:embed fonts/NotoSans-Regular.ttf
var notoSans []byte

//go:embed fonts/NotoSans-Bold.ttf
var notoSansBold []byte

//go:embed fonts/NotoSansDevanagari-Regular.ttf
var notoDevanagari []byte

//go:embed fonts/NotoSansDevanagari-Bold.ttf
var notoDevanagariBold []byte

// em is the units of every font here, which are also those of text in PDF.
const em = 1000

var errFont = errors.New("font is not as expected")

// typeface is a font, read once and shared; shaping takes a face of its own.
type typeface struct {
	name     string
	font     *font.Font
	tables   map[string][]byte
	advances []int // by glyph
	loca     []int // one more than there are glyphs
	ascent   int
	descent  int
	box      [4]int
}

// faces are, by weight, Latin and Devanagari.
var faces = sync.OnceValues(func() ([]*typeface, error) {
	var all []*typeface
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"NotoSans-Regular", notoSans},
		{"NotoSansDevanagari-Regular", notoDevanagari},
		{"NotoSans-Bold", notoSansBold},
		{"NotoSansDevanagari-Bold", notoDevanagariBold},
	} {
		face, err := parse(f.name, f.data)
		if err != nil {
			return nil, fmt.Errorf("font %s: %w", f.name, err)
		}
		all = append(all, face)
	}
	return all, nil
})

func parse(name string, data []byte) (*typeface, error) {
	shaped, err := font.ParseTTF(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	t := &typeface{name: name, font: shaped.Font}
	return t, t.read(data)
}

// read takes the tables that a PDF needs out of a font file of our own.
func (t *typeface) read(data []byte) error {
	t.tables = map[string][]byte{}
	for i := range int(binary.BigEndian.Uint16(data[4:])) {
		entry := data[12+16*i:]
		offset, length := binary.BigEndian.Uint32(entry[8:]), binary.BigEndian.Uint32(entry[12:])
		t.tables[string(entry[:4])] = data[offset : offset+length]
	}
	head, hhea, maxp := t.tables["head"], t.tables["hhea"], t.tables["maxp"]
	if short(head, 0, 18) != em {
		return errFont
	}
	for i := range t.box {
		t.box[i] = signed(head, 36+2*i)
	}
	t.ascent, t.descent = signed(hhea, 4), signed(hhea, 6)
	glyphs, metrics := short(maxp, 0, 4), short(hhea, 0, 34)
	t.advances = make([]int, glyphs)
	for g := range t.advances {
		t.advances[g] = short(t.tables["hmtx"], min(g, metrics-1), 0)
	}
	t.loca = make([]int, glyphs+1)
	for g := range t.loca {
		if short(head, 0, 50) == 0 {
			t.loca[g] = 2 * int(binary.BigEndian.Uint16(t.tables["loca"][2*g:]))
		} else {
			t.loca[g] = int(binary.BigEndian.Uint32(t.tables["loca"][4*g:]))
		}
	}
	return nil
}

// short reads the unsigned number at an offset after n records of four bytes.
func short(b []byte, n, offset int) int { return int(binary.BigEndian.Uint16(b[4*n+offset:])) }

func signed(b []byte, offset int) int {
	return int(int16(binary.BigEndian.Uint16(b[offset:]))) //nolint:gosec // two's complement, as the format has it
}

// subset is the font with the outlines of the used glyphs alone. Glyphs keep
// their numbers, so what was shaped stays true.
func (t *typeface) subset(used []bool) []byte {
	keep := make([]bool, len(t.advances))
	keep[0] = true // what is drawn for a missing character
	for g, ok := range used {
		if ok {
			t.keep(g, keep)
		}
	}
	glyf := t.tables["glyf"]
	var outlines, loca []byte
	for g := range keep {
		loca = binary.BigEndian.AppendUint32(loca, uint32(len(outlines))) //nolint:gosec // at most the font's own size
		if keep[g] {
			outlines = append(outlines, glyf[t.loca[g]:t.loca[g+1]]...)
			outlines = append(outlines, make([]byte, -len(outlines)&3)...)
		}
	}
	loca = binary.BigEndian.AppendUint32(loca, uint32(len(outlines))) //nolint:gosec // at most the font's own size
	head := bytes.Clone(t.tables["head"])
	binary.BigEndian.PutUint32(head[8:], 0)
	binary.BigEndian.PutUint16(head[50:], 1) // long offsets
	return sfnt([]table{
		{"glyf", outlines},
		{"head", head},
		{"hhea", t.tables["hhea"]},
		{"hmtx", t.tables["hmtx"]},
		{"loca", loca},
		{"maxp", t.tables["maxp"]},
	})
}

// keep marks a glyph and, when it is put together from others, those.
func (t *typeface) keep(g int, kept []bool) {
	if g >= len(kept) || kept[g] {
		return
	}
	kept[g] = true
	outline := t.tables["glyf"][t.loca[g]:t.loca[g+1]]
	if len(outline) < 10 || signed(outline, 0) >= 0 {
		return
	}
	const words, scale, more, xy, matrix = 0x01, 0x08, 0x20, 0x40, 0x80
	for at := 10; ; {
		flags := short(outline, 0, at)
		t.keep(short(outline, 0, at+2), kept)
		at += 6
		if flags&words != 0 {
			at += 2
		}
		switch {
		case flags&scale != 0:
			at += 2
		case flags&xy != 0:
			at += 4
		case flags&matrix != 0:
			at += 8
		}
		if flags&more == 0 {
			return
		}
	}
}

type table struct {
	tag  string
	data []byte
}

// sfnt puts tables, sorted by tag, into a font file.
func sfnt(tables []table) []byte {
	n := len(tables)
	span, log := 1, 0
	for span*2 <= n {
		span, log = span*2, log+1
	}
	out := binary.BigEndian.AppendUint32(nil, 0x00010000)
	for _, v := range []int{n, span * 16, log, (n - span) * 16} {
		out = binary.BigEndian.AppendUint16(out, uint16(v)) //nolint:gosec // six tables
	}
	offset := len(out) + 16*n
	var body []byte
	headAt := 0
	for _, t := range tables {
		if t.tag == "head" {
			headAt = offset + len(body)
		}
		out = append(out, t.tag...)
		out = binary.BigEndian.AppendUint32(out, sum(t.data))
		out = binary.BigEndian.AppendUint32(out, uint32(offset+len(body))) //nolint:gosec // far under 4 GB
		out = binary.BigEndian.AppendUint32(out, uint32(len(t.data)))      //nolint:gosec // far under 4 GB
		body = append(body, t.data...)
		body = append(body, make([]byte, -len(body)&3)...)
	}
	out = append(out, body...)
	binary.BigEndian.PutUint32(out[headAt+8:], 0xB1B0AFBA-sum(out))
	return out
}

// sum is the checksum of a table.
func sum(data []byte) uint32 {
	var total uint32
	for len(data) >= 4 {
		total += binary.BigEndian.Uint32(data)
		data = data[4:]
	}
	var last [4]byte
	copy(last[:], data)
	return total + binary.BigEndian.Uint32(last[:])
}
