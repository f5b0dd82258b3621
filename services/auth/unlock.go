package auth

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/manas360/platform/pkg/fail"
)

// forgetFailures takes away the counters and locks of an account's own
// attempts. Those of addresses stay.
func (s *Service) forgetFailures(ctx context.Context, acc account) error {
	var keys []string
	for kind, subject := range map[string]string{"login": acc.Email, "mfa": acc.ID.String(), "reauth": acc.ID.String()} {
		keys = append(keys, s.throttle.prefix+kind+":"+hex.EncodeToString(mac(s.throttle.key, kind, subject)[:16]))
	}
	for _, key := range keys { // one by one: they may lie in different slots of a cluster
		if err := s.throttle.redis.Del(ctx, key).Err(); err != nil {
			return fail.New(fail.Unavailable, "the lock could not be taken away just now").RetryAfter(time.Second).Wrap(fmt.Errorf("delete counters: %w", err))
		}
	}
	return nil
}
