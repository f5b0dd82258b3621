package subscription

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// november starts at midnight in India.
var november = time.Date(2026, 10, 31, 18, 30, 0, 0, time.UTC)

func calls(userID uuid.UUID, start time.Time, used int64) *subscriptionv1.Usage {
	return &subscriptionv1.Usage{UserId: userID[:], Feature: "api_calls", PeriodStart: timestamppb.New(start), Used: used}
}

func (s *stand) record(t *testing.T, list ...*subscriptionv1.Usage) []int64 {
	t.Helper()
	r, err := s.edge.RecordUsage(t.Context(), &subscriptionv1.RecordUsageRequest{Usage: list})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetUsed()
}

func usedCalls(e *subscriptionv1.Entitlements) int64 {
	i := slices.IndexFunc(e.GetLimits(), func(l *subscriptionv1.Entitlements_Limit) bool { return l.GetFeature() == "api_calls" })
	return e.GetLimits()[i].GetUsed()
}

// A counter only rises: what comes twice, late or from an edge that knows less
// changes nothing.
func TestRecordedUsageOnlyRises(t *testing.T) {
	s := newStand(t)
	a, b := s.member(t), s.member(t)
	for i, step := range []struct{ told, want []int64 }{
		{[]int64{0, 0}, []int64{0, 0}},
		{[]int64{7, 3}, []int64{7, 3}},
		{[]int64{7, 3}, []int64{7, 3}},
		{[]int64{5, 4}, []int64{7, 4}},
		{[]int64{0, 0}, []int64{7, 4}},
	} {
		got := s.record(t, calls(a, november, step.told[0]), calls(b, november, step.told[1]))
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	if got := s.record(t, calls(a, november, 8), calls(a, november, 9)); !slices.Equal(got, []int64{9, 9}) {
		t.Errorf("given twice: %v", got)
	}
	if n := usedCalls(s.entitled(t, a)); n != 9 {
		t.Errorf("the owner sees %d used, want 9", n)
	}
	// Asking leaves no trace.
	stranger := uuid.New()
	s.record(t, calls(stranger, november, 0))
	if rows := texts(t, s.db, `SELECT feature FROM subscription.usage_counter WHERE user_id = $1`, stranger); len(rows) != 0 {
		t.Errorf("a question was written down: %v", rows)
	}
}

// Last month's rest may still come; it is not this month's.
func TestRecordedUsageIsOfItsMonth(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	october := time.Date(2026, 9, 30, 18, 30, 0, 0, time.UTC)
	s.record(t, calls(userID, october, 99), calls(userID, november, 1))
	if n := usedCalls(s.entitled(t, userID)); n != 1 {
		t.Errorf("%d used in November, want 1", n)
	}
	for name, start := range map[string]time.Time{
		"UTC's month": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "a second late": november.Add(time.Second),
		"to come": time.Date(2026, 11, 30, 18, 30, 0, 0, time.UTC),
	} {
		_, err := s.edge.RecordUsage(t.Context(), &subscriptionv1.RecordUsageRequest{Usage: []*subscriptionv1.Usage{calls(userID, start, 1)}})
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		_ = refused(t, err, fail.InvalidArgument)
	}
}

// Edges tell of the same people at once, in any order, beside people's own use.
func TestRecordedUsageUnderRace(t *testing.T) {
	s := newStand(t)
	users := []uuid.UUID{s.member(t), s.member(t), s.member(t)}
	var all sync.WaitGroup
	for edge := range 4 {
		all.Go(func() {
			for n := range int64(25) {
				batch := make([]*subscriptionv1.Usage, len(users))
				for i := range users {
					at := (i + edge) % len(users)
					batch[i] = calls(users[at], november, n+int64(edge))
				}
				if _, err := s.edge.RecordUsage(t.Context(), &subscriptionv1.RecordUsageRequest{Usage: batch}); err != nil {
					t.Errorf("edge %d: %v", edge, err)
				}
			}
		})
	}
	all.Wait()
	for i, u := range users {
		if n := usedCalls(s.entitled(t, u)); n != 27 {
			t.Errorf("user %d: %d used, want 27", i, n)
		}
	}
}

func TestOffers(t *testing.T) {
	s := newStand(t)
	r, err := s.edge.GetOffers(t.Context(), &subscriptionv1.GetOffersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var upgrades []string
	limits := map[string]int64{}
	for _, o := range r.GetOffers() {
		if o.GetUpgrade() {
			upgrades = append(upgrades, o.GetCode())
		}
		limits[o.GetCode()] = o.GetLimits()["api_calls"]
	}
	if diff := cmp.Diff([]string{"free", "basic", "premium", "enterprise"}, upgrades); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
	if limits["free"] != 100 || limits["premium_monthly"] != 100000 || limits["enterprise"] != -1 {
		t.Errorf("limits = %v", limits)
	}
}
