package document

// draw puts the whole model on pages.
func (p *printer) draw(m model) {
	p.m = m
	p.turn()
	p.head()
	p.parties()
	p.table()
	p.sums()
	p.notes()
	p.feet()
}

// head is the title, with the state at its right.
func (p *printer) head() {
	title := style{20_000, bold, accent}
	p.text(margin, p.y-4_000, p.m.title, title)
	if p.m.subtitle != "" {
		x := margin + p.wide(p.m.title, title) + 10_000
		p.text(x, p.y+4_500, p.m.subtitle, style{10_000, bold, faint})
	}
	if p.m.state != "" {
		st := style{9_000, bold, white}
		w := min(p.wide(p.m.state, st), inner/4) + 18_000
		p.box(right-w, p.y, w, 19_000, accent)
		p.end(right-9_000, p.y+3_200, p.m.state, st, inner/4)
	}
	p.y += 30_000
	p.box(margin, p.y, inner, 1_200, accent)
	p.y += 14_000
}

// drawn is a line of a column, with what stands beside its label.
type drawn struct {
	text  string
	st    style
	value string // of a fact; text is its label
}

// parties are two columns: who sold and who bought at the left, the facts of
// the paper at the right. They break over pages line by line, for an address
// may be long.
func (p *printer) parties() {
	const x2 = right - sumsWide + pad
	const left = x2 - margin - 20_000
	const labels = 92_000
	var column []drawn
	for i, b := range []block{p.m.supplier, p.m.customer} {
		if i > 0 {
			column = append(column, drawn{st: style{6_000, regular, ink}})
		}
		column = append(column, drawn{text: b.title, st: style{7_500, bold, accent}})
		for j, l := range b.lines {
			st := style{8_500, regular, ink}
			if j == 0 {
				st = style{10_500, bold, ink}
			}
			for _, line := range p.wrap(l, st, left) {
				column = append(column, drawn{text: line, st: st})
			}
		}
	}
	var facts []drawn
	for i, f := range p.m.facts {
		st := style{8_500, regular, ink}
		if i == 0 {
			st.weight = bold
		}
		label := f.label
		for _, line := range p.wrap(f.value, st, right-x2-labels) {
			facts = append(facts, drawn{text: label, st: st, value: line})
			label = ""
		}
	}
	p.columns(column, facts, x2, labels)
	p.y += 12_000
}

func (p *printer) columns(a, b []drawn, x2, labels int) {
	ya, yb := p.y, p.y
	for len(a) > 0 || len(b) > 0 {
		if (len(a) == 0 || ya+a[0].st.lead() > bottom) && (len(b) == 0 || yb+b[0].st.lead() > bottom) {
			p.turn()
			ya, yb = p.y, p.y
		}
		for len(a) > 0 && ya+a[0].st.lead() <= bottom {
			p.text(margin, ya, a[0].text, a[0].st)
			ya += a[0].st.lead()
			a = a[1:]
		}
		for len(b) > 0 && yb+b[0].st.lead() <= bottom {
			label := b[0].st
			label.weight, label.colour = regular, faint
			p.start(x2, yb, b[0].text, label, labels-pad)
			p.text(x2+labels, yb, b[0].value, b[0].st)
			yb += b[0].st.lead() + 1_500
			b = b[1:]
		}
	}
	p.y = max(ya, yb)
}

const (
	pad      = 4_000   // of a cell
	sumsWide = 236_000 // of the totals, and of the facts above them
)

// table draws the lines sold; every page of it begins with its head.
func (p *printer) table() {
	st := style{8_200, regular, ink}
	first := st.lead() + 2*pad
	p.room(p.tableHeight() + first)
	p.tableHead()
	for _, row := range p.m.rows {
		cells := make([][]string, len(row))
		height := 0
		for i, c := range p.m.columns {
			cells[i] = []string{row[i]}
			if !c.right {
				cells[i] = p.wrap(row[i], st, c.width*inner/515-2*pad)
			}
			height = max(height, len(cells[i])*st.lead())
		}
		if p.room(height + 2*pad) {
			p.tableHead()
		}
		x := margin
		for i, c := range p.m.columns {
			w := c.width * inner / 515
			for n, line := range cells[i] {
				y := p.y + pad + n*st.lead()
				if c.right {
					p.end(x+w-pad, y, line, st, w-2*pad)
				} else {
					p.text(x+pad, y, line, st)
				}
			}
			x += w
		}
		p.y += height + 2*pad
		p.box(margin, p.y-250, inner, 500, rule)
	}
	p.y += 8_000
}

func headStyle() style { return style{7_800, bold, accent} }

func (p *printer) tableHeight() int {
	lines := 1
	for _, c := range p.m.columns {
		lines = max(lines, len(p.wrap(c.title, headStyle(), c.width*inner/515-2*pad)))
	}
	return lines*headStyle().lead() + 2*pad
}

func (p *printer) tableHead() {
	st := headStyle()
	height := p.tableHeight()
	p.box(margin, p.y, inner, height, band)
	x := margin
	for _, c := range p.m.columns {
		w := c.width * inner / 515
		lines := p.wrap(c.title, st, w-2*pad)
		top := p.y + (height-len(lines)*st.lead())/2
		for n, line := range lines {
			if y := top + n*st.lead(); c.right {
				p.end(x+w-pad, y, line, st, w-2*pad)
			} else {
				p.text(x+pad, y, line, st)
			}
		}
		x += w
	}
	p.y += height
}

// sums are the totals at the right and the words at the left; they stay on
// one page.
func (p *printer) sums() {
	const wide, gap = sumsWide, 20_000
	st := style{8_800, regular, ink}
	big := style{11_000, bold, accent}
	label := style{7_500, bold, accent}
	row := st.lead() + 4_000
	words := p.wrap(p.m.words.value, st, inner-wide-gap)
	height := max((len(p.m.totals)-1)*row+big.lead()+10_000, label.lead()+2_000+len(words)*st.lead())
	p.room(height)
	top := p.y
	p.text(margin, top, p.m.words.label, label)
	for n, line := range words {
		p.text(margin, top+label.lead()+2_000+n*st.lead(), line, st)
	}
	x, y := right-wide, top
	for i, f := range p.m.totals {
		if i == len(p.m.totals)-1 {
			y += 3_000
			p.box(x, y, wide, big.lead()+7_000, band)
			p.text(x+pad, y+3_500, f.label, big)
			p.end(right-pad, y+3_500, f.value, big, wide-2*pad-p.wide(f.label, big)-gap)
			continue
		}
		quiet := st
		quiet.colour = faint
		p.start(x+pad, y, f.label, quiet, wide/2)
		p.end(right-pad, y, f.value, st, wide-2*pad-p.wide(f.label, st)-gap/2)
		y += row
	}
	p.y = top + height + 14_000
}

func (p *printer) notes() {
	st := style{8_500, regular, ink}
	for _, n := range p.m.notes {
		lines := p.wrap(n, st, inner-10_000)
		p.room(len(lines) * st.lead())
		p.box(margin, p.y, 2_000, len(lines)*st.lead(), accent)
		for _, line := range lines {
			p.text(margin+10_000, p.y, line, st)
			p.y += st.lead()
		}
		p.y += 8_000
	}
}
