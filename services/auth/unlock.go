package auth

import "context"

// forgetFailures takes away the counters and locks of an account's own
// attempts. Those of addresses, and of devices it is known on, stay.
func (s *Service) forgetFailures(ctx context.Context, acc account) error {
	for _, kind := range []string{kindLogin, kindPasskey, "mfa", "reauth"} {
		if err := s.throttle.forget(ctx, kind, acc.ID.String()); err != nil {
			return err
		}
	}
	return nil
}
