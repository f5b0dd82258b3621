package payment

import (
	"context"
	"time"
)

const (
	firstLook   = time.Second // an answer under way takes no longer
	longestLook = time.Hour
	looksEnd    = 8 * 24 * time.Hour // Stripe repeats for 3 days, Razorpay can be made to for 7
	looksAtOnce = 50
	looksApart  = 14 // then the pause is the longest

	repeatWithin = 30 * time.Second // a repeat this early is the delivery's, not the customer's
)

// look is the worker that finds what orphans are about, once that is here: a
// callback may overtake the answer to the call that opened its order.
func (s *Service) look(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, storeLimit)
		defer cancel()
		found, looked, err := s.lookAtOrphans(ctx)
		if found > 0 {
			s.wake()
		}
		return looked, err
	})
}

// lookAgainAfter doubles from a second to an hour.
func lookAgainAfter(looks int) time.Duration {
	return min(firstLook<<min(looks, looksApart), longestLook)
}
