package audit

import (
	"context"
	"errors"

	"github.com/rs/zerolog"
)

// errBroken is a log that is not as it was written.
var errBroken = errors.New("the log is not as it was written")

// broken keeps a finding and tells about it once.
func (s *Service) broken(ctx context.Context, f finding) error {
	f.At = s.now()
	if s.health.found(f) {
		zerolog.Ctx(ctx).Error().Int64("seq", f.Seq).Str("finding", f.What).Msg("audit log is not as it was written")
	}
	return errBroken
}

func (s *Service) keepVerifying(ctx context.Context, rate int) error { <-ctx.Done(); return nil }
