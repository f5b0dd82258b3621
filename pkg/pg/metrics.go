package pg

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics registers the pool's figures: how many connections it may hold, has,
// and uses, and how often a caller had to wait. Read when scraped, without a
// query.
func (db *DB) Metrics(r prometheus.Registerer) error {
	return r.Register(poolCollector{pool: db.Pool})
}

type poolCollector struct{ pool *pgxpool.Pool }

var (
	poolMax     = prometheus.NewDesc("pg_pool_connections_max", "Connections the pool may hold.", nil, nil)
	poolTotal   = prometheus.NewDesc("pg_pool_connections", "Connections the pool holds.", nil, nil)
	poolUsed    = prometheus.NewDesc("pg_pool_connections_used", "Connections in use.", nil, nil)
	poolWaits   = prometheus.NewDesc("pg_pool_waits_total", "Acquisitions that had to wait for a connection.", nil, nil)
	poolWaiting = prometheus.NewDesc("pg_pool_wait_seconds_total", "Time spent waiting for a connection.", nil, nil)
	poolGivenUp = prometheus.NewDesc("pg_pool_given_up_total", "Acquisitions that ended without a connection.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c poolCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolMax, poolTotal, poolUsed, poolWaits, poolWaiting, poolGivenUp} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c poolCollector) Collect(out chan<- prometheus.Metric) {
	s := c.pool.Stat()
	out <- prometheus.MustNewConstMetric(poolMax, prometheus.GaugeValue, float64(s.MaxConns()))
	out <- prometheus.MustNewConstMetric(poolTotal, prometheus.GaugeValue, float64(s.TotalConns()))
	out <- prometheus.MustNewConstMetric(poolUsed, prometheus.GaugeValue, float64(s.AcquiredConns()))
	out <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(s.EmptyAcquireCount()))
	out <- prometheus.MustNewConstMetric(poolWaiting, prometheus.CounterValue, s.EmptyAcquireWaitTime().Seconds())
	out <- prometheus.MustNewConstMetric(poolGivenUp, prometheus.CounterValue, float64(s.CanceledAcquireCount()))
}
