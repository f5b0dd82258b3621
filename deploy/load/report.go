package load

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Report is what a run found.
type Report struct {
	Began   time.Time
	Took    time.Duration
	Short   bool
	Routes  []Route
	Mixed   []Route
	Rivals  []Rival
	Ratios  []Ratio
	Flood   [2]float64 // p99 of reads in ms: alone, beside a flood of logins
	RSS     map[string]int64
	Start   map[string]time.Duration
	Without []string // yardsticks that this machine has not
	Verdict []Verdict
}

// Route is a load at a fixed rate and what each request cost.
type Route struct {
	Name string
	Rate int
	sample
	cost
}

// Rival is what one of those that took turns can do.
type Rival struct {
	Name string
	Rate float64
	CPU  time.Duration // a request's, over its processes
}

// Ratio is ours by a yardstick's, over the turns.
type Ratio struct {
	Name              string
	Median, Low, High float64
}

// Verdict is a floor and what was measured. Failed: by more than a quarter.
type Verdict struct {
	Name         string
	Value, Floor float64
	Least        bool // the floor is the least that is good, else the most
	Met, Failed  bool
}

// slack is how much of a floor a run on a noisy machine must still show.
const slack = 0.75

func (r *Report) judge(name string, value, floor float64, least bool) {
	v := Verdict{Name: name, Value: value, Floor: floor, Least: least}
	if least {
		v.Met, v.Failed = value >= floor, value < slack*floor
	} else {
		v.Met, v.Failed = value <= floor, value > floor/slack
	}
	r.Verdict = append(r.Verdict, v)
}

// Failed names the floors that were missed by more than a quarter, nil if none.
func (r *Report) Failed() (err error) {
	for _, v := range r.Verdict {
		if v.Failed {
			err = errors.Join(err, fmt.Errorf("%s is %.3g, the floor is %.3g", v.Name, v.Value, v.Floor))
		}
	}
	return err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Write gives the report as Markdown.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	form := "full"
	if r.Short {
		form = "short"
	}
	p("# Cost of a request\n\n`make bench`, %s form, %s, %.0f s. Compare ratios: a single absolute figure depends on what else the machine does.\n", form, r.Began.UTC().Format("2006-01-02 15:04"), r.Took.Seconds())
	p("![latency by percentile](bench.svg)\n\n## Floors\n\n| | measured | floor | |\n|---|---|---|---|")
	for _, v := range r.Verdict {
		sign, word := "≤", "met"
		if v.Least {
			sign = "≥"
		}
		switch {
		case v.Failed:
			word = "**failed**"
		case !v.Met:
			word = "missed"
		}
		p("| %s | %.3g | %s %.3g | %s |", v.Name, v.Value, sign, v.Floor, word)
	}
	p("\n## Beside yardsticks, taking turns\n\n| | median | lowest | highest |\n|---|---|---|---|")
	for _, x := range r.Ratios {
		p("| %s | %.2f | %.2f | %.2f |", x.Name, x.Median, x.Low, x.High)
	}
	p("\n| | requests/s | CPU µs a request |\n|---|---|---|")
	for _, x := range r.Rivals {
		p("| %s | %.0f | %d |", x.Name, x.Rate, x.CPU.Microseconds())
	}
	if len(r.Without) > 0 {
		p("\nNot on this machine: %s.", strings.Join(r.Without, ", "))
	}
	r.loads(p)
	p("\nReads' p99 alone %.1f ms, beside a flood of logins %.1f ms (%.2f).", r.Flood[0], r.Flood[1], r.Flood[1]/max(r.Flood[0], 0.001))
	p("\n## Processes\n\n| | RSS at rest, MiB | ms from exec to an answer (looked at each 20 ms) |\n|---|---|---|")
	for _, n := range names(r.RSS) {
		started := ""
		if d, ok := r.Start[n]; ok {
			started = strconv.FormatInt(d.Milliseconds(), 10)
		}
		p("| %s | %d | %s |", n, r.RSS[n]>>20, started)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r *Report) loads(p func(format string, args ...any)) {
	p("\n## At a fixed rate\n\nLatency from the time a request was meant to leave. CPU, allocations and statements are a request's share over all processes, less what the stack does when nobody asks.\n")
	p("| | rate/s | errors | p50 | p90 | p95 | p99 | p99.9 ms | CPU µs | of the gateway | statements | allocations of the gateway | of all |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, x := range r.all() {
		all := int64(0)
		for _, n := range x.Mallocs {
			all += n
		}
		p("| %s | %d | %d | %.1f | %.1f | %.1f | %.1f | %.1f | %d | %d | %.2f | %d | %d |", x.Name, x.Rate, x.Errors,
			ms(x.quantile(50)), ms(x.quantile(90)), ms(x.quantile(95)), ms(x.quantile(99)), ms(x.quantile(99.9)),
			x.cpu().Microseconds(), x.CPU["gateway"].Microseconds(), x.Statements, x.Mallocs["gateway"], all)
	}
}

func (r *Report) all() []Route { return append(append([]Route{}, r.Routes...), r.Mixed...) }

const (
	plotWidth, plotHeight, plotMargin = 900, 420, 60
	plotLow, plotHigh                 = -1.0, 4.0 // decades of a millisecond
)

var colors = []string{"#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#0a7ea4", "#57606a"}

// Plot draws latency by percentile as SVG, both axes logarithmic.
func (r *Report) Plot() []byte {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="#fff"/>`,
		plotWidth+2*plotMargin+220, plotHeight+2*plotMargin)
	y := func(v float64) float64 {
		return plotMargin + plotHeight*(1-(math.Log10(max(v, 0.1))-plotLow)/(plotHigh-plotLow))
	}
	x := func(q float64) float64 { return plotMargin + plotWidth*math.Log10(100/(100-q))/4 }
	for d := plotLow; d <= plotHigh; d++ {
		v := math.Pow(10, d)
		p(`<line x1="%d" x2="%d" y1="%.0f" y2="%.0f" stroke="#ddd"/><text x="8" y="%.0f">%g ms</text>`, plotMargin, plotMargin+plotWidth, y(v), y(v), y(v)+4, v)
	}
	for _, q := range []float64{50, 90, 99, 99.9} {
		p(`<line x1="%.0f" x2="%.0f" y1="%d" y2="%d" stroke="#ddd"/><text x="%.0f" y="%d">p%g</text>`, x(q), x(q), plotMargin, plotMargin+plotHeight, x(q)-10, plotMargin+plotHeight+18, q)
	}
	for i, l := range r.all() {
		color := colors[i%len(colors)]
		var points strings.Builder
		for at := 0.0; at <= 3.3; at += 0.05 {
			q := 100 - 100/math.Pow(10, at)
			_, _ = fmt.Fprintf(&points, "%.1f,%.1f ", x(q), y(ms(l.quantile(q))))
		}
		p(`<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/><text x="%d" y="%d" fill="%s">%s</text>`,
			color, points.String(), plotMargin+plotWidth+10, plotMargin+18*i, color, l.Name)
	}
	p("</svg>")
	return []byte(b.String())
}
