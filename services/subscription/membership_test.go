package subscription

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// in is user's event of a membership.
func in(t *testing.T, orgID, payer, userID uuid.UUID, member bool, version int64) *eventv1.Event {
	t.Helper()
	return event(t, &userv1.OrganizationMembershipChanged{
		OrganizationId: orgID[:], PayerId: payer[:], UserId: userID[:], Member: member, Version: version,
	})
}

// has reports whether somebody has a feature by every way of asking.
func (s *stand) has(t *testing.T, userID uuid.UUID, feature string) bool {
	t.Helper()
	_, err := s.use(t, userID, feature, 1)
	listed := slices.Contains(s.entitled(t, userID).GetFeatures(), feature)
	if (err == nil) != listed {
		t.Errorf("%s is listed: %t, used: %v", feature, listed, err)
	}
	return listed
}

func (s *stand) worker(t *testing.T) {
	t.Helper()
	if err := s.refoldDue(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMembersHaveThePayersPlan(t *testing.T) {
	s := newStand(t)
	payer, member, orgID := s.member(t), s.member(t), uuid.New()
	deliver(t, s.user, in(t, orgID, payer, payer, true, 1))
	deliver(t, s.user, in(t, orgID, payer, member, true, 2))
	if s.has(t, member, "data_export") {
		t.Error("a free payer gives something")
	}
	s.buy(t, payer, "basic", subscriptionv1.Price_MONTHLY) // for one user
	if s.has(t, member, "data_export") {
		t.Error("a plan for one gives others something")
	}
	s.buy(t, payer, "premium", subscriptionv1.Price_MONTHLY)
	if !s.has(t, member, "premium_themed_rooms") { // at once, before the worker
		t.Error("premium does not reach the member")
	}
	if got := s.limitOf(t, member, "storage_gb"); got != 100 {
		t.Errorf("storage of the member: %d", got)
	}
	if got := s.limitOf(t, member, "users"); got != 1 {
		t.Errorf("seats of the member: %d, they are the payer's", got)
	}
	// Each is counted alone.
	if _, err := s.use(t, payer, "api_calls", 100000); err != nil {
		t.Errorf("the payer's: %v", err)
	}
	if r, err := s.use(t, member, "api_calls", 100000); err != nil || r.GetLimit().GetUsed() != 100000 {
		t.Errorf("the member's: %v, %v", r, err)
	}
	if e := s.entitled(t, member); e.GetPlan() != "free" || !e.GetEndsAt().AsTime().Equal(s.entitled(t, payer).GetEndsAt().AsTime()) {
		t.Errorf("entitlements of the member = %v", e)
	}
	late := uuid.New() // joins before AccountActivated comes
	deliver(t, s.user, in(t, orgID, payer, late, true, 3))
	deliver(t, s.auth, activated(t, late))
	if !s.has(t, late, "premium_themed_rooms") {
		t.Error("premium does not reach who came late")
	}

	deliver(t, s.user, in(t, orgID, payer, member, false, 4)) // leaves
	if s.has(t, member, "premium_themed_rooms") {
		t.Error("who left still has premium")
	}
	other := s.member(t)
	deliver(t, s.user, in(t, orgID, other, late, true, 5)) // another pays
	if s.has(t, late, "premium_themed_rooms") {
		t.Error("the plan of who no longer pays still counts")
	}
}

// TestPayersPlanEnds takes it from everybody at that instant, whoever has been
// there: nothing is served past its end (money.md B53).
func TestPayersPlanEnds(t *testing.T) {
	for name, end := range map[string]func(s *stand, payer uuid.UUID, o *subscriptionv1.CheckoutResponse){
		"refund": func(s *stand, payer uuid.UUID, o *subscriptionv1.CheckoutResponse) {
			deliver(t, s.payment, s.paid(t, payer, o, paymentv1.Payment_REFUNDED))
		},
		"by time": func(s *stand, _ uuid.UUID, _ *subscriptionv1.CheckoutResponse) { s.clock.move(30 * 24 * time.Hour) },
		"by time, worker came": func(s *stand, _ uuid.UUID, _ *subscriptionv1.CheckoutResponse) {
			s.clock.move(30 * 24 * time.Hour)
			s.worker(t)
		},
		"by time, sweeper came": func(s *stand, _ uuid.UUID, _ *subscriptionv1.CheckoutResponse) {
			s.clock.move(30 * 24 * time.Hour)
			if err := s.sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			payer, member, orgID := s.member(t), s.member(t), uuid.New()
			o := s.order(t, payer, "premium", subscriptionv1.Price_MONTHLY)
			deliver(t, s.payment, s.paid(t, payer, o, paymentv1.Payment_SUCCEEDED))
			deliver(t, s.user, in(t, orgID, payer, member, true, 1))
			if !s.has(t, member, "premium_themed_rooms") {
				t.Fatal("premium does not reach the member")
			}
			epoch := s.entitled(t, member).GetEpoch()
			s.clock.move(-1)
			end(s, payer, o) // November has 30 days: a nanosecond before it
			if name != "refund" {
				if !s.has(t, member, "premium_themed_rooms") {
					t.Error("gone a nanosecond before the end")
				}
				s.clock.move(1)
			}
			if s.has(t, member, "premium_themed_rooms") {
				t.Error("still there")
			}
			s.worker(t)
			news := s.news(t)
			i := slices.IndexFunc(news, func(e *subscriptionv1.EntitlementChanged) bool {
				return uuid.UUID(e.GetUserId()) == member && e.GetEpoch() > epoch && !slices.Contains(e.GetFeatures(), "premium_themed_rooms")
			})
			if i < 0 {
				t.Error("auth was not told")
			}
			if _, err := s.use(t, member, "ai_messages", 11); !fail.Is(err, fail.QuotaExceeded) {
				t.Errorf("11 messages: %v", err)
			}
		})
	}
}

// TestUpgradeReachesEveryMember has five hundred of them told by one pass of
// the worker.
func TestUpgradeReachesEveryMember(t *testing.T) {
	s := newStand(t)
	payer, orgID := s.member(t), uuid.New()
	const members = 500
	var news, joins []*eventv1.Event
	for i := range members {
		u := uuid.New()
		news = append(news, activated(t, u))
		joins = append(joins, in(t, orgID, payer, u, true, int64(i+1)))
	}
	for some := range slices.Chunk(news, 100) {
		deliver(t, s.auth, some...)
	}
	for some := range slices.Chunk(joins, 100) {
		deliver(t, s.user, some...)
	}
	before := len(s.news(t))
	s.buy(t, payer, "enterprise", subscriptionv1.Price_YEARLY)
	began := time.Now()
	s.worker(t)
	t.Logf("%d members in %s", members, time.Since(began))
	reached := map[uuid.UUID]bool{}
	for _, e := range s.news(t)[before:] {
		if uuid.UUID(e.GetUserId()) != payer && slices.Contains(e.GetFeatures(), "white_label") && e.GetEpoch() == 2 {
			reached[uuid.UUID(e.GetUserId())] = true
		}
	}
	if len(reached) != members {
		t.Errorf("reached %d", len(reached))
	}
	again := len(s.news(t))
	s.worker(t)
	if got := len(s.news(t)); got != again {
		t.Errorf("another pass told %d more", got-again)
	}
}

// TestJoinRacesUpgrade has both at once, many times: neither misses the other.
func TestJoinRacesUpgrade(t *testing.T) {
	s := newStand(t)
	for range 8 {
		payer, member, orgID := s.member(t), s.member(t), uuid.New()
		o := s.order(t, payer, "premium", subscriptionv1.Price_MONTHLY)
		paid, joined := s.paid(t, payer, o, paymentv1.Payment_SUCCEEDED), in(t, orgID, payer, member, true, 1)
		done := make(chan struct{})
		go func() { defer close(done); deliver(t, s.payment, paid) }()
		deliver(t, s.user, joined)
		<-done
		s.worker(t)
		if !s.has(t, member, "premium_themed_rooms") {
			t.Fatal("the member was missed")
		}
	}
}

// TestMembershipConverges delivers the same news in any order, some twice: what
// holds is the newest.
func TestMembershipConverges(t *testing.T) {
	s := newStand(t)
	rich, poor := s.member(t), s.member(t)
	s.buy(t, rich, "premium", subscriptionv1.Price_YEARLY)
	rapid.Check(t, func(rt *rapid.T) {
		member, orgID := s.member(t), uuid.New()
		type word struct {
			payer  uuid.UUID
			member bool
		}
		words := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) word {
			return word{rapid.SampledFrom([]uuid.UUID{rich, poor}).Draw(rt, "payer"), rapid.Bool().Draw(rt, "member")}
		}), 1, 5).Draw(rt, "words")
		var events []*eventv1.Event
		for i, w := range words {
			ev := in(t, orgID, w.payer, member, w.member, int64(i+1))
			events = append(events, ev)
			switch rapid.SampledFrom([]string{"once", "same event twice", "two events"}).Draw(rt, "delivered") {
			case "same event twice":
				events = append(events, ev)
			case "two events":
				events = append(events, in(t, orgID, w.payer, member, w.member, int64(i+1)))
			}
		}
		for _, ev := range rapid.Permutation(events).Draw(rt, "order") {
			deliver(t, s.user, ev)
		}
		last := words[len(words)-1]
		if got, want := s.has(t, member, "premium_themed_rooms"), last.member && last.payer == rich; got != want {
			rt.Fatalf("has premium: %t, the last word is %v", got, last)
		}
	})
}

func TestMembershipIsUsersToTell(t *testing.T) {
	s := newStand(t)
	if got := deliver(t, s.payment, in(t, uuid.New(), uuid.New(), uuid.New(), true, 1)); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("from payment: %s", got)
	}
	if got := deliver(t, s.user, event(t, &userv1.OrganizationMembershipChanged{})); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("without ids: %s", got)
	}
}
