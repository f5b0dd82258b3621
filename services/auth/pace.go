package auth

import (
	"context"
	"time"
)

// beat is what answers that must not tell anything by their time are released
// on. It holds the slowest of what may lie behind one: a hash of the old system
// takes twice as long as ours.
const beat = 100 * time.Millisecond

// onBeat waits until a whole number of beats has passed since began. Hashing
// and the database take what they take; what is left to see is the beat.
func (s *Service) onBeat(ctx context.Context, began time.Time) {
	s.rest(ctx, beat-s.now().Sub(began)%beat)
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
