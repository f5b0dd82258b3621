package subscription

import (
	"context"
)

const tidyBatch = 500

// tidy marks reservations that have run out and forgets old ones. Nothing
// depends on it: what has run out counts for nothing by time.
func (s *Service) tidy(ctx context.Context) error {
	for {
		now := s.now()
		n, err := s.tidyReservations(ctx, now, now.Add(-keptSettled), tidyBatch)
		if err != nil || n < tidyBatch {
			return err
		}
	}
}
