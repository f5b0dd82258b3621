package document

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// file writes the objects of a PDF 1.7. Streams are not compressed: the bytes
// are hashed and kept, and a release of Go may change what its compressor
// writes. Only used glyphs are embedded, which keeps the file small.
type file struct {
	out     bytes.Buffer
	offsets []int
}

// object opens the next object and gives its number.
func (f *file) object() int {
	f.offsets = append(f.offsets, f.out.Len())
	fmt.Fprintf(&f.out, "%d 0 obj\n", len(f.offsets))
	return len(f.offsets)
}

func (f *file) put(format string, args ...any) int {
	n := f.object()
	fmt.Fprintf(&f.out, format, args...)
	f.out.WriteString("\nendobj\n")
	return n
}

func (f *file) stream(dictionary string, data []byte) int {
	n := f.object()
	fmt.Fprintf(&f.out, "<< %s/Length %d >>\nstream\n", dictionary, len(data))
	f.out.Write(data)
	f.out.WriteString("\nendstream\nendobj\n")
	return n
}

// pdf ends the document. Its time is the paper's, never the clock's, and its
// id is a hash of what is above it.
func (p *printer) pdf(at time.Time) []byte {
	f := &file{}
	f.out.WriteString("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
	var fonts strings.Builder
	for i, t := range p.set.types {
		if used := p.used[i]; used != nil {
			fmt.Fprintf(&fonts, "/F%d %d 0 R ", i, f.font(t, used, p.set.said[i]))
		}
	}
	// Of the objects that follow, the tree of pages comes after the pages.
	tree := len(f.offsets) + 2*len(p.pages) + 1
	var kids strings.Builder
	for _, content := range p.pages {
		body := f.stream("", content.Bytes())
		page := f.put("<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %s %s] /Resources << /Font << %s>> >> /Contents %d 0 R >>",
			tree, points(pageWidth), points(pageHeight), fonts.String(), body)
		fmt.Fprintf(&kids, "%d 0 R ", page)
	}
	f.put("<< /Type /Pages /Count %d /Kids [%s] >>", len(p.pages), kids.String())
	root := f.put("<< /Type /Catalog /Pages %d 0 R /Lang (%s) /ViewerPreferences << /DisplayDocTitle true >> >>", tree, p.m.lang)
	stamp := at.In(kolkata).Format("D:20060102150405") + "+05'30'"
	info := f.put("<< /Title <%s> /Author <%s> /Producer (Manas360) /CreationDate (%s) /ModDate (%s) >>",
		unicodeHex(p.m.title+" "+p.m.number), unicodeHex(p.m.supplier.name()), stamp, stamp)
	id := sha256.Sum256(f.out.Bytes())
	xref := f.out.Len()
	fmt.Fprintf(&f.out, "xref\n0 %d\n0000000000 65535 f \n", len(f.offsets)+1)
	for _, o := range f.offsets {
		fmt.Fprintf(&f.out, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&f.out, "trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R /ID [<%x> <%x>] >>\nstartxref\n%d\n%%%%EOF\n",
		len(f.offsets)+1, root, info, id[:16], id[:16], xref)
	return f.out.Bytes()
}

func (b block) name() string {
	if len(b.lines) == 0 {
		return ""
	}
	return b.lines[0]
}

// font embeds the used glyphs of a typeface and what they say.
func (f *file) font(t *typeface, used []bool, said map[uint16]string) int {
	// A subset is named by six letters of its own.
	hash := sha256.Sum256(append([]byte(t.name), bits(used)...))
	tag := make([]byte, 6)
	for i := range tag {
		tag[i] = 'A' + hash[i]%26
	}
	name := string(tag) + "+" + t.name
	data := t.subset(used)
	body := f.stream("/Length1 "+strconv.Itoa(len(data))+" ", data)
	descriptor := f.put("<< /Type /FontDescriptor /FontName /%s /Flags 4 /FontBBox [%d %d %d %d] /ItalicAngle 0 /Ascent %d /Descent %d /CapHeight 714 /StemV 80 /FontFile2 %d 0 R >>",
		name, t.box[0], t.box[1], t.box[2], t.box[3], t.ascent, t.descent, body)
	var widths strings.Builder
	for g, ok := range used {
		if ok {
			fmt.Fprintf(&widths, "%d [%d] ", g, t.advances[g])
		}
	}
	inner := f.put("<< /Type /Font /Subtype /CIDFontType2 /BaseFont /%s /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /FontDescriptor %d 0 R /DW 600 /W [ %s] /CIDToGIDMap /Identity >>",
		name, descriptor, widths.String())
	text := f.stream("", characters(used, said))
	return f.put("<< /Type /Font /Subtype /Type0 /BaseFont /%s /Encoding /Identity-H /DescendantFonts [%d 0 R] /ToUnicode %d 0 R >>",
		name, inner, text)
}

func bits(used []bool) []byte {
	out := make([]byte, len(used))
	for i, ok := range used {
		if ok {
			out[i] = 1
		}
	}
	return out
}

// characters is the map by which a reader copies and searches text.
func characters(used []bool, said map[uint16]string) []byte {
	var rows []string
	for g, ok := range used {
		if text, known := said[uint16(g)]; ok && known {
			rows = append(rows, fmt.Sprintf("<%04x> <%s>", g, utf16Hex(text)))
		}
	}
	var b bytes.Buffer
	b.WriteString("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n" +
		"/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n" +
		"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n")
	for len(rows) > 0 {
		n := min(len(rows), 100) // the format's limit
		fmt.Fprintf(&b, "%d beginbfchar\n%s\nendbfchar\n", n, strings.Join(rows[:n], "\n"))
		rows = rows[n:]
	}
	b.WriteString("endcmap\nCMapName currentdict /CMap defineresource pop\n" + "end\n" + "end")
	return b.Bytes()
}

// unicodeHex is a text string of PDF in hexadecimal.
func unicodeHex(s string) string { return "feff" + utf16Hex(s) }

func utf16Hex(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04x", u)
	}
	return b.String()
}

// points writes thousandths of a point.
func points(mpt int) string {
	sign := ""
	if mpt < 0 {
		sign, mpt = "-", -mpt
	}
	s := sign + strconv.Itoa(mpt/1000)
	if rest := mpt % 1000; rest != 0 {
		s += "." + strings.TrimRight(strconv.Itoa(1000 + rest)[1:], "0")
	}
	return s
}
