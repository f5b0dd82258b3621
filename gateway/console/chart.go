package console

import (
	"strconv"

	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// chart is a series of bars, drawn on the server, with its table.
type chart struct {
	ID, Title, Unit string
	Bars            []bar
	Total           string
}

type bar struct {
	Label, Text string
	Value       int64
}

const (
	chartWide = 720
	chartHigh = 180
	chartFoot = 20
)

func (c chart) most() int64 {
	var most int64 = 1
	for _, b := range c.Bars {
		most = max(most, b.Value)
	}
	return most
}

// place is where bar i stands, in units of the drawing.
func (c chart) place(i int) (x, y, w, h string) {
	slot := float64(chartWide) / float64(max(len(c.Bars), 1))
	high := float64(max(c.Bars[i].Value, 0)) / float64(c.most()) * (chartHigh - chartFoot)
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	return f(float64(i)*slot + slot*.15), f(chartHigh - chartFoot - high), f(slot * .7), f(high)
}

func signupChart(m *adminv1.GetUserMetricsResponse) chart {
	c := chart{ID: "signups", Title: "New users by day", Unit: "New users"}
	var sum int64
	for _, p := range m.GetPoints() {
		c.Bars = append(c.Bars, bar{Label: p.GetDate(), Value: int64(p.GetNew()), Text: count(p.GetNew())})
		sum += int64(p.GetNew())
	}
	c.Total = count(sum)
	return c
}

func revenueChart(m *adminv1.GetRevenueResponse) chart {
	c := chart{ID: "revenue", Title: "Revenue by day, after refunds and tax", Unit: "Net revenue", Total: money(m.GetRevenue().GetNet())}
	for _, p := range m.GetPoints() {
		c.Bars = append(c.Bars, bar{Label: p.GetDate(), Value: p.GetNet().GetAmountMinor(), Text: money(p.GetNet())})
	}
	return c
}
