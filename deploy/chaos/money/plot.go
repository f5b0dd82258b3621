package money

import (
	"fmt"
	"html"
	"strings"
	"time"
)

const (
	plotWidth  = 960
	laneHeight = 180
	plotMargin = 60
)

// Plot draws the timeline as SVG: payments begun a second, what is open, and
// each death.
func (rep Report) Plot() []byte {
	t := rep.Timeline
	if t == nil {
		t = &timeline{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	end := time.Second
	for _, s := range t.samples {
		end = max(end, s.At)
	}
	x := func(at time.Duration) int64 { return plotMargin + int64(at)*plotWidth/int64(end) }
	var rate, open []point
	for i, s := range t.samples {
		open = append(open, point{x(s.At), s.Open})
		if i < 4 {
			continue
		}
		was := t.samples[i-4]
		if took := s.At - was.At; took > 0 {
			rate = append(rate, point{x(s.At), (s.Started - was.Started) * int64(time.Second) / int64(took)})
		}
	}
	var b strings.Builder
	height := 2*laneHeight + 4*plotMargin
	_, _ = fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="%d" y="24" font-size="15">seed %d: %d payments, %d kills, %d broken wires; terminal %v after the chaos</text>
`, plotWidth+2*plotMargin, height, plotMargin, rep.Seed, rep.Payments, rep.Kills, rep.Faults, rep.Settled.Round(100*time.Millisecond))
	bottom := plotMargin + laneHeight
	for _, m := range t.marks {
		color := colors[m.What]
		if color == "" {
			color = "#bbb"
		}
		_, _ = fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" opacity="0.5"><title>%v %s</title></line>
`, x(m.At), x(m.At), plotMargin, bottom+plotMargin+laneHeight, color, m.At.Round(time.Millisecond), html.EscapeString(m.What))
	}
	lane(&b, "payments begun a second", bottom, rate, "#1f6feb")
	lane(&b, "payments open", bottom+plotMargin+laneHeight, open, "#d1242f")
	at := plotMargin
	for _, v := range victims {
		color := colors[v.name]
		if color == "" {
			color = "#bbb"
		}
		_, _ = fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">▮ %s %d</text>
`, at, height-plotMargin, color, v.name, rep.Deaths[v.name])
		at += 100
	}
	_, _ = fmt.Fprintf(&b, `<text x="%d" y="%d">0 s to %d s</text>
</svg>
`, plotMargin, height-plotMargin/2, int64(end/time.Second))
	return []byte(b.String())
}

var colors = map[string]string{
	"payment": "#bf3989", "gateway": "#8250df", "sandbox": "#9a6700", "postgres": "#1a7f37", "redis": "#cf222e", "calm": "#000", "settled": "#000",
}

type point struct{ x, y int64 }

func lane(b *strings.Builder, title string, bottom int, line []point, color string) {
	top := int64(1)
	for _, p := range line {
		top = max(top, p.y)
	}
	_, _ = fmt.Fprintf(b, `<text x="%d" y="%d">%s, at most %d</text>
<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#999"/>
<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, plotMargin, bottom-laneHeight-4, title, top, plotMargin, plotMargin+plotWidth, bottom, bottom, color)
	for _, p := range line {
		_, _ = fmt.Fprintf(b, "%d,%d ", p.x, int64(bottom)-p.y*laneHeight/top)
	}
	b.WriteString("\"/>\n")
}
