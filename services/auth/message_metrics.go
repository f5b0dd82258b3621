package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// posted counts what this process did with messages.
type posted struct{ sentN, failedN, givenUpN *prometheus.CounterVec }

func newPosted() posted {
	count := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"channel"})
		for _, c := range channels {
			v.WithLabelValues(c) // 0 is told too: an alarm compares it with what follows
		}
		return v
	}
	return posted{
		sentN:    count("messages_sent_total", "Messages handed to their transport."),
		failedN:  count("messages_failed_total", "Tries to send a message that failed."),
		givenUpN: count("messages_given_up_total", "Messages that nobody will try to send again."),
	}
}

func (p posted) sent(channel string) { p.sentN.WithLabelValues(channel).Inc() }

func (p posted) failed(channel string, givenUp bool) {
	p.failedN.WithLabelValues(channel).Inc()
	if givenUp {
		p.givenUpN.WithLabelValues(channel).Inc()
	}
}

// messageMetrics registers the counts, and what waits: counted when scraped, and
// absent while the database is away.
func (s *Service) messageMetrics(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{s.posted.sentN, s.posted.failedN, s.posted.givenUpN, waitingCollector{s}} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the messages' metrics: %w", err)
		}
	}
	return nil
}

type waitingCollector struct{ *Service }

var (
	waitingDesc = prometheus.NewDesc("messages_waiting", "Messages not sent yet.", []string{"channel"}, nil)
	oldestDesc  = prometheus.NewDesc("messages_oldest_seconds", "Age of the oldest message not sent yet.", []string{"channel"}, nil)
)

// Describe implements prometheus.Collector.
func (c waitingCollector) Describe(out chan<- *prometheus.Desc) {
	out <- waitingDesc
	out <- oldestDesc
}

// Collect implements prometheus.Collector.
func (c waitingCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) //nolint:forbidigo // the interface gives no context
	defer cancel()
	list, err := c.waitingMessages(ctx)
	if err != nil {
		return
	}
	waiting, oldest := map[string]float64{}, map[string]float64{}
	for _, w := range list {
		waiting[w.Channel], oldest[w.Channel] = float64(w.N), max(0, c.now().Sub(w.Oldest).Seconds())
	}
	for _, channel := range channels {
		out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, waiting[channel], channel)
		out <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, oldest[channel], channel)
	}
}
