package payment

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	sweepEvery   = 30 * time.Second
	sweepLately  = 48 * time.Hour // what is looked at each time
	sweepFully   = 24 * time.Hour // between looks at everything, at most
	sweepShare   = 200            // a look at everything takes less of the time than one part in this
	sweepLimit   = 20 * time.Second
	mostFindings = 500 // of one invariant; the metric counts on
	neverOpened  = "NEVER_OPENED"
	lapseAfter   = orderLife + expiryMargin
)

// violation is one subject of which an invariant does not hold.
type violation struct {
	Subject string
	Detail  string
}

// finding is a violation as it is kept for a person.
type finding struct {
	ID             uuid.UUID
	Invariant      string
	Subject        string
	Detail         string
	FirstSeen      time.Time
	LastSeen       time.Time
	ResolvedAt     *time.Time
	AcknowledgedAt *time.Time
	AcknowledgedBy *uuid.UUID
	Note           string
}

type sweepMetrics struct {
	violations *prometheus.GaugeVec
	finished   prometheus.Gauge
}

func newSweepMetrics() sweepMetrics {
	return sweepMetrics{
		violations: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "payment_invariant_violations", Help: "Subjects of which an invariant does not hold, by the last sweep.",
		}, []string{"invariant"}),
		finished: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "payment_sweep_finished_timestamp_seconds", Help: "When the last whole sweep ended.",
		}),
	}
}

// sweep is the worker that states what must always be true, and keeps a row
// for an administrator of each thing that is not.
func (s *Service) sweep(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		if s.now().Before(s.nextSweep) {
			return 0, nil
		}
		s.nextSweep = s.now().Add(sweepEvery)
		return 0, s.sweepOnce(ctx)
	})
}

// sweepOnce looks at all invariants. One that cannot be looked at does not keep
// the others from it.
func (s *Service) sweepOnce(ctx context.Context) error {
	began := s.now()
	full := !began.Before(s.nextFull)
	since := began.Add(-sweepLately)
	if full {
		since = time.Time{}
	}
	if err := s.lapseUnopened(ctx); err != nil {
		return err
	}
	whole := true
	for _, inv := range invariants {
		ctx, cancel := context.WithTimeout(ctx, sweepLimit)
		n, fresh, err := s.inspect(ctx, inv, since)
		cancel()
		if err != nil {
			whole = false
			zerolog.Ctx(ctx).Warn().Err(err).Str("invariant", inv.name).Msg("invariant not looked at")
			continue
		}
		s.sweeps.violations.WithLabelValues(inv.name).Set(float64(n)) //nolint:forbidigo // a gauge is a float; it counts, it is not money
		if fresh > 0 {
			zerolog.Ctx(ctx).Error().Str("invariant", inv.name).Int("new", fresh).Int("all", n).Msg("an invariant of the money does not hold")
		}
	}
	if full && whole { // dear ones are rare: what is resolved may be told later, never what is broken lately
		s.nextFull = s.now().Add(min(s.now().Sub(began)*sweepShare, sweepFully))
	}
	if whole {
		s.sweeps.finished.Set(float64(s.now().Unix())) //nolint:forbidigo // seconds
	}
	return nil
}

// lapseUnopened ends payments whose order no provider has heard of, once nobody
// can be waiting for it any more.
func (s *Service) lapseUnopened(ctx context.Context) error {
	ids, err := s.unopened(ctx)
	if err != nil {
		return err
	}
	for _, paymentID := range ids {
		if err := s.lapse(ctx, paymentID); err != nil {
			return err
		}
	}
	return nil
}
