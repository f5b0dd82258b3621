package document

import (
	"bytes"
	"fmt"
)

// All measures are thousandths of a point, from the top left of an A4 page.
const (
	pageWidth  = 595_276
	pageHeight = 841_890
	margin     = 40_000
	inner      = pageWidth - 2*margin
	right      = pageWidth - margin
	bottom     = pageHeight - 62_000 // below it stands the foot
)

// Colours, as PDF sets them for filling.
const (
	ink    = "0.11 0.13 0.17"
	faint  = "0.39 0.42 0.47"
	accent = "0.07 0.33 0.37"
	band   = "0.925 0.95 0.953"
	rule   = "0.80 0.83 0.85"
	white  = "1 1 1"
)

// style is how text looks.
type style struct {
	size   int
	weight weight
	colour string
}

// lead is the distance of lines; Devanagari needs more than Latin.
func (s style) lead() int { return s.size * 142 / 100 }

// printer puts a model on pages.
type printer struct {
	m     model
	set   *setter
	pages []*bytes.Buffer
	used  [][]bool // by typeface and glyph
	out   *bytes.Buffer
	y     int // the top of what comes next
}

func newPrinter(types []*typeface) *printer {
	return &printer{set: newSetter(types), used: make([][]bool, len(types))}
}

// box fills a rectangle.
func (p *printer) box(x, y, w, h int, colour string) {
	fmt.Fprintf(p.out, "%s rg %s %s %s %s re f\n", colour, points(x), points(pageHeight-y-h), points(w), points(h))
}

// text draws one line with its top at y.
func (p *printer) text(x, y int, text string, st style) {
	if text == "" {
		return
	}
	base := pageHeight - y - st.lead()*74/100
	fmt.Fprintf(p.out, "BT %s rg 1 0 0 1 %s %s Tm\n", st.colour, points(x), points(base))
	font := -1
	for _, piece := range p.set.line(text, st.weight) {
		if piece.face != font {
			font = piece.face
			fmt.Fprintf(p.out, "/F%d %s Tf\n", font, points(st.size))
		}
		p.piece(piece, st.size)
	}
	p.out.WriteString("ET\n")
}

// piece shows glyphs; what differs from a glyph's own width is made good by
// the numbers between them, what is raised by the rise.
func (p *printer) piece(pc piece, size int) {
	t := p.set.types[pc.face]
	if p.used[pc.face] == nil {
		p.used[pc.face] = make([]bool, len(t.advances))
	}
	if !pc.plain {
		fmt.Fprintf(p.out, "/Span << /ActualText <%s> >> BDC\n", unicodeHex(pc.text))
	}
	p.out.WriteString("[")
	rise, open, gap := 0, false, 0
	shut := func() {
		if open {
			p.out.WriteString(">")
			open = false
		}
	}
	for _, g := range pc.glyphs {
		if int(g.id) >= len(t.advances) {
			continue
		}
		p.used[pc.face][g.id] = true
		if g.dy != rise {
			shut()
			fmt.Fprintf(p.out, "] TJ %s Ts [", points(g.dy*size/em))
			rise = g.dy
		}
		if gap += g.dx; gap != 0 {
			shut()
			fmt.Fprintf(p.out, "%d", -gap)
		}
		if !open {
			p.out.WriteString("<")
			open = true
		}
		fmt.Fprintf(p.out, "%04x", g.id)
		gap = g.advance - g.dx - t.advances[g.id]
	}
	shut()
	if gap != 0 {
		fmt.Fprintf(p.out, "%d", -gap)
	}
	p.out.WriteString("] TJ\n")
	if rise != 0 {
		p.out.WriteString("0 Ts\n")
	}
	if !pc.plain {
		p.out.WriteString("EMC\n")
	}
}

// wide is the width of a line.
func (p *printer) wide(text string, st style) int {
	return p.set.measure(text, st.weight) * st.size / em
}

// start draws a line from x that is no wider than room: it gets smaller before
// it would touch its neighbour.
func (p *printer) start(x, y int, text string, st style, room int) {
	small := p.fit(text, st, room)
	p.text(x, y+(st.lead()-small.lead())/2, text, small)
}

// end draws a line that ends at x, and is no wider than room either.
func (p *printer) end(x, y int, text string, st style, room int) {
	small := p.fit(text, st, room)
	p.text(x-p.wide(text, small), y+(st.lead()-small.lead())/2, text, small)
}

func (p *printer) fit(text string, st style, room int) style {
	if w := p.wide(text, st); w > room {
		st.size = st.size * room / w
	}
	return st
}

// wrap breaks text to a width.
func (p *printer) wrap(text string, st style, room int) []string {
	return p.set.wrap(text, st.weight, room*em/st.size)
}

// turn begins a page.
func (p *printer) turn() {
	p.out = &bytes.Buffer{}
	p.pages = append(p.pages, p.out)
	p.y = margin
	if len(p.pages) == 1 {
		return
	}
	st := style{9_000, bold, accent}
	p.text(margin, p.y, p.m.title, st)
	p.end(right, p.y, p.m.number+" ("+p.m.more+")", style{9_000, regular, faint}, inner/2)
	p.y += st.lead() + 4_000
	p.box(margin, p.y, inner, 800, accent)
	p.y += 12_000
}

// room turns the page unless height is left on this one.
func (p *printer) room(height int) bool {
	if p.y+height <= bottom {
		return false
	}
	p.turn()
	return true
}

// feet goes over the pages once their number is known.
func (p *printer) feet() {
	st := style{7_000, regular, faint}
	for i, page := range p.pages {
		p.out = page
		y := bottom + 8_000
		p.box(margin, y, inner, 500, rule)
		y += 5_000
		count := p.m.page(i+1, len(p.pages))
		p.end(right, y, count, st, inner/4)
		for _, l := range p.m.small {
			p.start(margin, y, l, st, inner*4/5)
			y += st.lead()
		}
	}
}
