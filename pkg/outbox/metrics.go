package outbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/manas360/platform/pkg/pg"
)

const countDead = `SELECT count(*) FROM {schema}.outbox_dead`

// Metrics registers what an operator watches: how many events wait for each
// destination, how long the oldest has waited, and how many were refused for
// good. Counted when scraped; a database that is away shows no value rather
// than an old one.
func (o *Outbox) Metrics(r prometheus.Registerer, db *pg.DB, destinations ...string) error {
	return r.Register(&collector{outbox: o, db: db, destinations: destinations})
}

type collector struct {
	outbox       *Outbox
	db           *pg.DB
	destinations []string
}

var (
	pendingDesc = prometheus.NewDesc("outbox_pending_events", "Events waiting for a destination.", []string{"destination"}, nil)
	oldestDesc  = prometheus.NewDesc("outbox_oldest_seconds", "Age of the oldest waiting event.", []string{"destination"}, nil)
	deadDesc    = prometheus.NewDesc("outbox_dead_events", "Events a consumer refused for good.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- pendingDesc
	out <- oldestDesc
	out <- deadDesc
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // the interface gives no context
	defer cancel()
	for _, d := range c.destinations {
		n, oldest, err := c.outbox.Pending(ctx, c.db, d)
		if err != nil {
			return
		}
		age := 0.0
		if !oldest.IsZero() {
			age = max(0, c.outbox.now().Sub(oldest).Seconds())
		}
		out <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(n), d)
		out <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age, d)
	}
	var dead int64
	if err := c.db.Pool.QueryRow(ctx, table(c.outbox.schema, countDead)).Scan(&dead); err != nil {
		return
	}
	out <- prometheus.MustNewConstMetric(deadDesc, prometheus.GaugeValue, float64(dead))
}
