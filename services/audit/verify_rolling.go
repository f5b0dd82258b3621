package audit

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/services/audit/merkle"
)

const (
	verifyEvery = 10 * time.Second // between the beginnings of two rounds over a short log
	// Seconds of reading spent on the newest events before as many are spent on
	// older ones: what is new is read again within a minute, however long the log.
	freshSeconds = 25
)

// broken keeps a finding and tells about it once.
func (s *Service) broken(ctx context.Context, f finding) error {
	f.At = s.now()
	if s.health.found(f) {
		zerolog.Ctx(ctx).Error().Int64("seq", f.Seq).Str("finding", f.What).Msg("audit log is not as it was written")
	}
	return errBroken
}

// keepVerifying reads the whole log again and again, newest events first, at
// most rate events a second; a short log no more often than every.
func (s *Service) keepVerifying(ctx context.Context, rate int, every time.Duration) error {
	var (
		older int64 // the round stands here; 0: a new one begins
		since = s.now()
	)
	for {
		began := s.now()
		done, err := s.verifyRound(ctx, rate, &older)
		if err != nil {
			return err // at the end too: who started us knows whether it was asked for
		}
		if done > 0 {
			s.health.passed(done, s.now().Sub(since))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(0, every-s.now().Sub(began))):
		}
		if done > 0 {
			since = s.now() // the pause is not part of the next pass
		}
	}
}

// verifyRound reads the newest events, then some of the older ones from where
// the last round stopped. It answers the size of the log when a whole pass
// has ended.
func (s *Service) verifyRound(ctx context.Context, rate int, older *int64) (passed int64, err error) {
	v := s.verifier(ctx)
	g, err := v.ground(ctx)
	if err != nil || g == nil {
		return 0, err
	}
	p := &pace{now: s.now, began: s.now(), rate: rate}
	size, budget := g.head.Edge.Size(), int64(rate)*freshSeconds
	at, err := s.down(ctx, v, g, p, size, budget)
	if err != nil {
		return 0, err
	}
	if *older == 0 || *older > at {
		*older = at
	}
	if *older, err = s.down(ctx, v, g, p, *older, budget); err != nil {
		return 0, err
	}
	if *older > 0 {
		return 0, nil
	}
	return max(size, 1), nil
}

func (s *Service) verifier(ctx context.Context) *verifier {
	v := &verifier{q: s.db.Pool, origin: s.signer.origin, log: s.signer.verifier, found: func(f finding) { _ = s.broken(ctx, f) }}
	if s.witness != nil {
		v.witness, _, _ = s.witness.key() // without its key only the log's own signature is checked
	}
	return v
}

// down verifies some events below a place, and answers where it stopped.
func (s *Service) down(ctx context.Context, v *verifier, g *ground, p *pace, from, budget int64) (int64, error) {
	at := from
	for at > 0 && from-at < budget {
		after := max(0, (at-1)/merkle.Width*merkle.Width-spanEvents+merkle.Width)
		if err := v.span(ctx, g, after, at); err != nil {
			return at, err
		}
		s.health.verified(int(at-after), after)
		if err := p.wait(ctx, at-after); err != nil {
			return at, err
		}
		at = after
	}
	return at, nil
}

// pace keeps reading below a rate.
type pace struct {
	now   func() time.Time
	began time.Time
	rate  int
	done  int64
}

func (p *pace) wait(ctx context.Context, n int64) error {
	p.done += n
	due := p.began.Add(time.Duration(float64(p.done) / float64(p.rate) * float64(time.Second)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(due.Sub(p.now())):
		return nil
	}
}
