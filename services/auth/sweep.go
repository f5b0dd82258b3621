package auth

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

const (
	sweepEvery   = 10 * time.Minute
	sweepTimeout = 30 * time.Second
)

// sweep deletes what nobody will ask for again, until ctx ends.
func (s *Service) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		bounded, cancel := context.WithTimeout(ctx, sweepTimeout)
		if err := s.sweepOnce(bounded, s.now()); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("old rows not deleted")
		}
		cancel()
	}
}
