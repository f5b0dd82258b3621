package subscription

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func TestConsumeBoolean(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	if r, err := s.use(t, userID, "api_access", 1); err != nil || !r.GetAllowed() || r.GetLimit() != nil {
		t.Errorf("api_access on free: %v, %v", r, err)
	}
	for feature, upgrade := range map[string]string{"data_export": "basic", "premium_themed_rooms": "premium", "white_label": "enterprise"} {
		_, err := s.use(t, userID, feature, 1)
		e := refused(t, err, fail.FeatureNotAvailable)
		want := map[string]string{"requiredFeature": feature, "currentPlan": "free", "upgradeTo": upgrade}
		if diff := cmp.Diff(want, e.Meta); diff != "" {
			t.Errorf("%s (-want +got):\n%s", feature, diff)
		}
	}
	_, err := s.use(t, userID, "time_travel", 1)
	_ = refused(t, err, fail.NotFound)

	s.buy(t, userID, "premium_monthly", subscriptionv1.Price_CYCLE_UNSPECIFIED)
	if _, err := s.use(t, userID, "premium_themed_rooms", 1); err != nil {
		t.Errorf("premium_themed_rooms on premium_monthly: %v", err)
	}
	_, err = s.use(t, userID, "white_label", 1)
	if e := refused(t, err, fail.FeatureNotAvailable); e.Meta["upgradeTo"] != "enterprise" {
		t.Errorf("white_label: %v", e.Meta)
	}
}

func TestConsumeQuantity(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	if _, err := s.use(t, userID, "storage_gb", 1); err != nil {
		t.Errorf("1 GB on free: %v", err)
	}
	_, err := s.use(t, userID, "storage_gb", 50)
	if e := refused(t, err, fail.QuotaExceeded); e.Meta["upgradeTo"] != "basic" || e.Meta["resetsAt"] != "" {
		t.Errorf("50 GB on free: %v", e.Meta)
	}
}

func TestConsumeResetsAtMidnightInIndia(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	r, err := s.use(t, userID, "ai_messages", 10)
	if err != nil || r.GetLimit().GetUsed() != 10 || r.GetLimit().GetRemaining() != 0 {
		t.Fatalf("10 messages: %v, %v", r, err)
	}
	_, err = s.use(t, userID, "ai_messages", 1)
	e := refused(t, err, fail.QuotaExceeded)
	want := map[string]string{
		"requiredFeature": "ai_messages", "currentPlan": "free", "upgradeTo": "basic", "limit": "10", "used": "10", "remaining": "0",
		"resetsAt": "2026-11-23T18:30:00Z",
	}
	if diff := cmp.Diff(want, e.Meta); diff != "" {
		t.Errorf("the eleventh (-want +got):\n%s", diff)
	}
	if e.Retry != 13*time.Hour+30*time.Minute {
		t.Errorf("retry after %s", e.Retry)
	}
	s.clock.move(13*time.Hour + 30*time.Minute - time.Second)
	_, err = s.use(t, userID, "ai_messages", 1)
	_ = refused(t, err, fail.QuotaExceeded)
	s.clock.move(time.Second)
	if r, err = s.use(t, userID, "ai_messages", 1); err != nil || r.GetLimit().GetUsed() != 1 {
		t.Errorf("after midnight: %v, %v", r, err)
	}
	for _, l := range s.entitled(t, userID).GetLimits() {
		if l.GetFeature() == "ai_messages" && (l.GetUsed() != 1 || l.GetRemaining() != 9 || l.GetLimit() != 10) {
			t.Errorf("limits say %v", l)
		}
	}
	s.buy(t, userID, "basic", subscriptionv1.Price_MONTHLY)
	if r, err = s.use(t, userID, "ai_messages", 1000); err != nil || r.GetLimit().GetLimit() != -1 || r.GetLimit().GetRemaining() != -1 {
		t.Errorf("unlimited: %v, %v", r, err)
	}
}

func TestConsumeRaceNeverPassesTheLimit(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	var all sync.WaitGroup
	var allowed atomic.Int64
	for range 16 {
		all.Go(func() {
			for range 5 {
				if _, err := s.use(t, userID, "api_calls", 3); err == nil {
					allowed.Add(3)
				} else if !fail.Is(err, fail.QuotaExceeded) {
					t.Errorf("consume: %v", err)
				}
			}
		})
	}
	all.Wait()
	if allowed.Load() != 99 { // 33 times 3; a 34th would pass 100
		t.Errorf("allowed %d of 100", allowed.Load())
	}
	if r, err := s.use(t, userID, "api_calls", 1); err != nil || r.GetLimit().GetUsed() != 100 {
		t.Errorf("the hundredth: %v, %v", r, err)
	}
	_, err := s.use(t, uuid.New(), "api_calls", 101)
	_ = refused(t, err, fail.QuotaExceeded)
}
