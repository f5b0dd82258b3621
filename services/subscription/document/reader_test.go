package document

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// paper is a PDF as a reader sees it.
type paper struct {
	pages []string
	texts []string
}

var (
	object  = regexp.MustCompile(`(?s)^(\d+) 0 obj\n(.*?)(?:stream\n|\nendobj)`)
	length  = regexp.MustCompile(`/Length (\d+)`)
	fontRef = regexp.MustCompile(`/F(\d) (\d+) 0 R`)
	ref     = func(name string) *regexp.Regexp { return regexp.MustCompile(name + ` \[?(\d+) 0 R`) }
	mapRow  = regexp.MustCompile(`(?m)^<([0-9a-f]{4})> <([0-9a-f]+)>$`)
	shown   = regexp.MustCompile(`<([0-9a-f]+)>`)
	moved   = regexp.MustCompile(`^BT .* rg 1 0 0 1 (-?[\d.]+) (-?[\d.]+) Tm$`)
)

// readPDF reads back what Write wrote, by the table of objects at its end. It
// fails on an object that is not where the table says and on text that begins
// outside the page's margins.
func readPDF(tb testing.TB, data []byte) paper {
	tb.Helper()
	heads, bodies := objects(tb, data)
	var out paper
	for n := 1; n < len(heads); n++ {
		if !strings.Contains(heads[n], "/Type /Page ") {
			continue
		}
		maps := map[string]map[uint16]string{}
		for _, f := range fontRef.FindAllStringSubmatch(heads[n], -1) {
			said := map[uint16]string{}
			for _, row := range mapRow.FindAllStringSubmatch(bodies[target(tb, heads[atoi(tb, f[2])], "/ToUnicode")], -1) {
				said[binary.BigEndian.Uint16(unhex(tb, row[1]))] = utf16Text(unhex(tb, row[2]))
			}
			maps["/F"+f[1]] = said
		}
		texts := pageTexts(tb, bodies[target(tb, heads[n], "/Contents")], maps)
		out.texts = append(out.texts, texts...)
		out.pages = append(out.pages, strings.Join(texts, "\n"))
	}
	return out
}

func objects(tb testing.TB, data []byte) (heads, bodies []string) {
	tb.Helper()
	at := bytes.LastIndex(data, []byte("startxref\n"))
	rows := strings.Split(string(data[atoi(tb, strings.Fields(string(data[at:]))[1]):at]), "\n")
	if rows[0] != "xref" {
		tb.Fatalf("startxref leads to %q", rows[0])
	}
	count := atoi(tb, strings.Fields(rows[1])[1])
	heads, bodies = make([]string, count), make([]string, count)
	for n := 1; n < count; n++ {
		rest := data[atoi(tb, rows[2+n][:10]):]
		m := object.FindSubmatch(rest)
		if m == nil || atoi(tb, string(m[1])) != n {
			tb.Fatalf("object %d is not at its place", n)
		}
		heads[n] = string(m[2])
		if bytes.HasSuffix(m[0], []byte("stream\n")) {
			size := atoi(tb, length.FindStringSubmatch(heads[n])[1])
			bodies[n] = string(rest[len(m[0]) : len(m[0])+size])
			if !bytes.HasPrefix(rest[len(m[0])+size:], []byte("\nendstream\nendobj\n")) {
				tb.Fatalf("object %d is not as long as it says", n)
			}
		}
	}
	return heads, bodies
}

// pageTexts are the lines of text of a page; ActualText stands for its glyphs.
func pageTexts(tb testing.TB, content string, maps map[string]map[uint16]string) []string {
	tb.Helper()
	var texts []string
	var line strings.Builder
	font, actual := "", false
	for op := range strings.Lines(content) {
		op = strings.TrimSuffix(op, "\n")
		switch {
		case strings.HasPrefix(op, "BT "):
			m := moved.FindStringSubmatch(op)
			if m == nil {
				tb.Fatalf("no place in %q", op)
			}
			x, y := millis(tb, m[1]), millis(tb, m[2])
			if x < margin-1 || x > right || y < 20_000 || y > pageHeight-margin {
				tb.Errorf("text begins at %d, %d", x, y)
			}
		case strings.HasSuffix(op, " Tf"):
			font = strings.Fields(op)[0]
		case strings.HasPrefix(op, "/Span"):
			line.WriteString(utf16Text(unhex(tb, shown.FindStringSubmatch(op)[1]))[len("\ufeff"):])
			actual = true
		case op == "EMC":
			actual = false
		case strings.HasSuffix(op, "TJ") && !actual:
			for _, part := range shown.FindAllStringSubmatch(op, -1) {
				for b := unhex(tb, part[1]); len(b) > 0; b = b[2:] {
					text, ok := maps[font][binary.BigEndian.Uint16(b)]
					if !ok {
						tb.Fatalf("glyph %x of %s says nothing", b[:2], font)
					}
					line.WriteString(text)
				}
			}
		case op == "ET":
			texts = append(texts, line.String())
			line.Reset()
		}
	}
	return texts
}

func target(tb testing.TB, head, name string) int {
	tb.Helper()
	m := ref(name).FindStringSubmatch(head)
	if m == nil {
		tb.Fatalf("no %s in %q", name, head)
	}
	return atoi(tb, m[1])
}

func atoi(tb testing.TB, s string) int {
	tb.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func millis(tb testing.TB, s string) int {
	tb.Helper()
	whole, part, _ := strings.Cut(s, ".")
	return atoi(tb, whole+(part + "000")[:3])
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func utf16Text(b []byte) string {
	var units []uint16
	for ; len(b) > 1; b = b[2:] {
		units = append(units, binary.BigEndian.Uint16(b))
	}
	return string(utf16.Decode(units))
}
