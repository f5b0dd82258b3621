package subscription

import (
	"testing"
	"time"

	"github.com/manas360/platform/pkg/pgtest"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// TestCurrentIsOneTrip: whoever looks at a running subscription costs one
// statement; only when time has changed it, or there is none yet, more is asked.
func TestCurrentIsOneTrip(t *testing.T) {
	s := newStand(t)
	free, paid := s.member(t), s.member(t)
	s.buy(t, paid, "premium", subscriptionv1.Price_MONTHLY)
	var trips *pgtest.Trips
	s.db, trips = pgtest.Counted(t, s.db)
	for _, tt := range []struct {
		name string
		who  func() (*subscriptionv1.GetCurrentSubscriptionResponse, error)
		plan string
	}{
		{"free", func() (*subscriptionv1.GetCurrentSubscriptionResponse, error) {
			return s.public.GetCurrentSubscription(as(t.Context(), free), &subscriptionv1.GetCurrentSubscriptionRequest{})
		}, "free"},
		{"paid", func() (*subscriptionv1.GetCurrentSubscriptionResponse, error) {
			return s.public.GetCurrentSubscription(as(t.Context(), paid), &subscriptionv1.GetCurrentSubscriptionRequest{})
		}, "premium"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trips.Take()
			r, err := tt.who()
			if err != nil || r.GetSubscription().GetPlanCode() != tt.plan {
				t.Fatalf("current: got %v, %v", r, err)
			}
			if sent := trips.Take(); len(sent) != 1 {
				t.Errorf("%d statements, want 1: %q", len(sent), sent)
			}
		})
	}
	s.clock.move(40 * 24 * time.Hour)
	if _, err := s.public.GetCurrentSubscription(as(t.Context(), free), &subscriptionv1.GetCurrentSubscriptionRequest{}); err != nil {
		t.Errorf("a month later: %v", err)
	}
}
