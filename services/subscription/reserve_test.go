package subscription

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func (s *stand) hold(t *testing.T, userID uuid.UUID, feature string, amount int64, ttl int32) (*subscriptionv1.Reservation, error) {
	t.Helper()
	r, err := s.holds.CreateReservation(as(t.Context(), userID), &subscriptionv1.CreateReservationRequest{Feature: feature, Amount: amount, TtlSeconds: &ttl})
	return r.GetReservation(), err
}

func (s *stand) commit(t *testing.T, userID uuid.UUID, rsv string, amount *int64) (*subscriptionv1.Reservation, error) {
	t.Helper()
	r, err := s.holds.CommitReservation(as(t.Context(), userID), &subscriptionv1.CommitReservationRequest{Id: rsv, Amount: amount})
	return r.GetReservation(), err
}

func (s *stand) release(t *testing.T, userID uuid.UUID, rsv string) (*subscriptionv1.Reservation, error) {
	t.Helper()
	r, err := s.holds.ReleaseReservation(as(t.Context(), userID), &subscriptionv1.ReleaseReservationRequest{Id: rsv})
	return r.GetReservation(), err
}

// used is how many ai_messages GET /entitlements says are used.
func (s *stand) used(t *testing.T, userID uuid.UUID) int64 {
	t.Helper()
	for _, l := range s.entitled(t, userID).GetLimits() {
		if l.GetFeature() == "ai_messages" {
			return l.GetUsed()
		}
	}
	t.Fatal("no limit of messages")
	return 0
}

func TestReserveCommitRelease(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	r, err := s.hold(t, userID, "ai_messages", 7, 60)
	if err != nil {
		t.Fatal(err)
	}
	if r.GetState() != subscriptionv1.Reservation_HELD || r.GetLimit().GetUsed() != 7 || r.GetLimit().GetRemaining() != 3 ||
		!r.GetExpiresAt().AsTime().Equal(s.clock.now().Add(time.Minute)) {
		t.Errorf("reserved %v", r)
	}
	if got := s.used(t, userID); got != 7 {
		t.Errorf("used %d while 7 are held", got)
	}
	_, err = s.use(t, userID, "ai_messages", 4)
	if e := refused(t, err, fail.QuotaExceeded); e.Meta["used"] != "7" || e.Meta["remaining"] != "3" {
		t.Errorf("4 more: %v", e.Meta)
	}
	if c, err := s.use(t, userID, "ai_messages", 3); err != nil || c.GetLimit().GetUsed() != 10 {
		t.Errorf("3 more: %v, %v", c, err)
	}
	_, err = s.hold(t, userID, "ai_messages", 1, 60)
	_ = refused(t, err, fail.QuotaExceeded)

	over, part := int64(8), int64(5)
	_, err = s.commit(t, userID, r.GetId(), &over)
	_ = refused(t, err, fail.InvalidArgument)
	done, err := s.commit(t, userID, r.GetId(), &part)
	if err != nil || done.GetState() != subscriptionv1.Reservation_COMMITTED || done.GetAmount() != 5 {
		t.Fatalf("committed: %v, %v", done, err)
	}
	s.clock.move(time.Hour)                       // also after its time
	for _, amount := range []*int64{nil, &part} { // a repeat is the same answer
		again, err := s.commit(t, userID, r.GetId(), amount)
		if diff := cmp.Diff(done, again, protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("again: %v\n%s", err, diff)
		}
	}
	_, err = s.commit(t, userID, r.GetId(), &over)
	_ = refused(t, err, fail.Conflict)
	_, err = s.release(t, userID, r.GetId())
	_ = refused(t, err, fail.Conflict)
	if got := s.used(t, userID); got != 8 {
		t.Errorf("used %d, want 5 + 3", got)
	}

	r, err = s.hold(t, userID, "ai_messages", 2, 60)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := s.release(t, userID, r.GetId()); err != nil || got.GetState() != subscriptionv1.Reservation_RELEASED {
			t.Errorf("release: %v, %v", got, err)
		}
	}
	_, err = s.commit(t, userID, r.GetId(), nil)
	_ = refused(t, err, fail.Conflict)
	if c, err := s.use(t, userID, "ai_messages", 2); err != nil || c.GetLimit().GetUsed() != 10 {
		t.Errorf("what was released is free: %v, %v", c, err)
	}
}

func TestReserveRefusals(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	for feature, want := range map[string]fail.Kind{
		"storage_gb": fail.InvalidArgument, "api_access": fail.InvalidArgument, "white_label": fail.FeatureNotAvailable, "time_travel": fail.NotFound,
	} {
		_, err := s.hold(t, userID, feature, 1, 60)
		_ = refused(t, err, want)
	}
	_, err := s.hold(t, userID, "ai_messages", 11, 60)
	_ = refused(t, err, fail.QuotaExceeded)
	_, err = s.hold(t, userID, "ai_messages", 1, 3601)
	_ = refused(t, err, fail.InvalidArgument)
	r, err := s.hold(t, userID, "ai_messages", 1, 60)
	if err != nil {
		t.Fatal(err)
	}
	stranger := s.member(t)
	for _, rsv := range []string{r.GetId(), "rsv_00000000000000000000000000", "nonsense"} {
		_, err := s.commit(t, stranger, rsv, nil)
		_ = refused(t, err, fail.NotFound)
		_, err = s.release(t, stranger, rsv)
		_ = refused(t, err, fail.NotFound)
	}
	s.buy(t, userID, "basic", subscriptionv1.Price_MONTHLY) // unlimited messages
	s.clock.move(32 * 24 * time.Hour)
	_, err = s.hold(t, userID, "api_calls", 1, 60)
	_ = refused(t, err, fail.SubscriptionRequired)
}

// TestReservationEnds is money.md B51: at the end itself it holds no longer, a
// nanosecond before it does.
func TestReservationEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		holds bool
	}{
		{"start", 0, true},
		{"a nanosecond after the start", 1, true},
		{"a nanosecond before the end", time.Minute - 1, true},
		{"end", time.Minute, false},
		{"a nanosecond after the end", time.Minute + 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t)
			one, two := s.member(t), s.member(t)
			held, err := s.hold(t, one, "ai_messages", 10, 60)
			if err != nil {
				t.Fatal(err)
			}
			other, err := s.hold(t, two, "ai_messages", 10, 60)
			if err != nil {
				t.Fatal(err)
			}
			s.clock.move(tt.after)
			if got := s.used(t, one) == 10; got != tt.holds {
				t.Errorf("counts as used: %t", got)
			}
			_, err = s.commit(t, two, other.GetId(), nil)
			if tt.holds && err != nil {
				t.Errorf("commit: %v", err)
			}
			if !tt.holds {
				_ = refused(t, err, fail.Conflict)
			}
			_, err = s.use(t, one, "ai_messages", 1)
			if !tt.holds && err != nil {
				t.Errorf("use of what was held: %v", err)
			}
			if tt.holds {
				_ = refused(t, err, fail.QuotaExceeded)
			}
			if r, err := s.release(t, one, held.GetId()); err != nil || (r.GetState() == subscriptionv1.Reservation_EXPIRED) == tt.holds {
				t.Errorf("release: %v, %v", r, err)
			}
		})
	}
}

// TestReservationOfYesterday counts in the window it was made in (money.md B51).
func TestReservationOfYesterday(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.clock.move(13*time.Hour + 30*time.Minute - 1) // a nanosecond before midnight in India
	r, err := s.hold(t, userID, "ai_messages", 10, 60)
	if err != nil || !r.GetLimit().GetResetsAt().AsTime().Equal(s.clock.now().Add(1)) {
		t.Fatalf("reserved %v, %v", r, err)
	}
	s.clock.move(1)
	if _, err := s.use(t, userID, "ai_messages", 4); err != nil {
		t.Errorf("a new day: %v", err)
	}
	if _, err := s.commit(t, userID, r.GetId(), nil); err != nil {
		t.Errorf("commit: %v", err)
	}
	if got := s.used(t, userID); got != 4 {
		t.Errorf("used %d today", got)
	}
	got := texts(t, s.db, `SELECT used::text FROM subscription.usage_counter WHERE user_id = $1 ORDER BY period_start`, userID)
	if diff := cmp.Diff([]string{"10", "4"}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// TestReserveRace has fifty ask for the last ten, in every way (money.md B45).
func TestReserveRace(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	var all sync.WaitGroup
	var got atomic.Int64
	for i := range 50 {
		all.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = s.hold(t, userID, "ai_messages", 1, 60)
			} else {
				_, err = s.use(t, userID, "ai_messages", 1)
			}
			if err == nil {
				got.Add(1)
			} else if !fail.Is(err, fail.QuotaExceeded) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	if got.Load() != 10 {
		t.Errorf("%d of 10 were given", got.Load())
	}
}

// TestCommitRacesTheEnd gives what ran out to others: never both.
func TestCommitRacesTheEnd(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	r, err := s.hold(t, userID, "ai_messages", 10, 60)
	if err != nil {
		t.Fatal(err)
	}
	s.clock.move(time.Minute - time.Microsecond)
	var all sync.WaitGroup
	var used atomic.Int64
	for i := range 20 {
		all.Go(func() {
			switch i % 4 {
			case 0:
				if _, err := s.commit(t, userID, r.GetId(), nil); err != nil && !fail.Is(err, fail.Conflict) {
					t.Errorf("commit: %v", err)
				}
			case 1:
				s.clock.move(time.Microsecond)
			default:
				if _, err := s.use(t, userID, "ai_messages", 1); err == nil {
					used.Add(1)
				} else if !fail.Is(err, fail.QuotaExceeded) {
					t.Errorf("use: %v", err)
				}
			}
		})
	}
	all.Wait()
	got := s.used(t, userID)
	if got > 10 || (got != used.Load() && got != 10) {
		t.Errorf("used %d of 10, of these %d one by one", got, used.Load())
	}
}

func TestReservationsAreTidied(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	for range 3 {
		if _, err := s.hold(t, userID, "api_calls", 1, 60); err != nil {
			t.Fatal(err)
		}
	}
	count := func(where string) string {
		return texts(t, s.db, `SELECT count(*)::text FROM subscription.reservation WHERE `+where)[0]
	}
	for _, step := range []struct {
		after         time.Duration
		held, expired string
	}{{time.Minute - time.Microsecond, "3", "0"}, {time.Microsecond, "0", "3"}, {keptSettled + time.Second, "0", "0"}} {
		s.clock.move(step.after)
		if err := s.tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if count(`state = 'HELD'`) != step.held || count(`state = 'EXPIRED'`) != step.expired {
			t.Errorf("after %s: %s held, %s expired", step.after, count(`state = 'HELD'`), count(`state = 'EXPIRED'`))
		}
	}
}

// held is a reservation as the model knows it.
type held struct {
	id     string
	day    time.Time
	amount int64
	until  time.Time
	state  string
	used   int64
}

// TestReservationMachine has people use, hold, commit, release and wait as they
// like, and compares every answer with a plain model.
func TestReservationMachine(t *testing.T) {
	s := newStand(t)
	const most = 10
	rapid.Check(t, func(rt *rapid.T) {
		userID := s.member(t)
		used := map[time.Time]int64{}
		var list []*held
		day := func() time.Time { start, _ := s.window(limit{Period: "day"}, s.clock.now()); return start }
		taken := func() int64 {
			n := used[day()]
			for _, h := range list {
				if h.state == heldState && h.day.Equal(day()) && s.clock.now().Before(h.until) {
					n += h.amount
				}
			}
			return n
		}
		expect := func(what string, err error, want *fail.Kind) {
			switch {
			case want == nil && err != nil:
				rt.Fatalf("%s: %v", what, err)
			case want != nil && !fail.Is(err, *want):
				rt.Fatalf("%s: %v, want %s", what, err, want.Reason)
			}
		}
		over := func(n int64) *fail.Kind {
			if taken()+n > most {
				return &fail.QuotaExceeded
			}
			return nil
		}
		steps := map[string]func(*rapid.T){
			"use": func(rt *rapid.T) {
				n := rapid.Int64Range(1, 6).Draw(rt, "amount")
				want := over(n)
				_, err := s.use(t, userID, "ai_messages", n)
				expect("use", err, want)
				if want == nil {
					used[day()] += n
				}
			},
			"hold": func(rt *rapid.T) {
				n, ttl := rapid.Int64Range(1, 6).Draw(rt, "amount"), rapid.Int32Range(1, 3).Draw(rt, "ttl")
				want := over(n)
				r, err := s.hold(t, userID, "ai_messages", n, ttl)
				expect("hold", err, want)
				if want == nil {
					list = append(list, &held{
						id: r.GetId(), day: day(), amount: n, state: heldState, until: s.clock.now().Add(time.Duration(ttl) * time.Second).Truncate(time.Microsecond),
					})
				}
			},
			"commit": func(rt *rapid.T) {
				if len(list) == 0 {
					rt.Skip("nothing is held")
				}
				h, n := rapid.SampledFrom(list).Draw(rt, "which"), rapid.Int64Range(1, 6).Draw(rt, "amount")
				_, err := s.commit(t, userID, h.id, &n)
				switch {
				case h.state == committedState && n == h.used:
					expect("repeat", err, nil)
				case h.state != heldState || !s.clock.now().Before(h.until):
					expect("late commit", err, &fail.Conflict)
				case n > h.amount:
					expect("commit of more", err, &fail.InvalidArgument)
				default:
					expect("commit", err, nil)
					h.state, h.used = committedState, n
					used[h.day] += n
				}
			},
			"release": func(rt *rapid.T) {
				if len(list) == 0 {
					rt.Skip("nothing is held")
				}
				h := rapid.SampledFrom(list).Draw(rt, "which")
				_, err := s.release(t, userID, h.id)
				if h.state == committedState {
					expect("release", err, &fail.Conflict)
					return
				}
				expect("release", err, nil)
				h.state = releasedState
			},
			"wait": func(rt *rapid.T) {
				s.clock.move(rapid.SampledFrom([]time.Duration{
					1, time.Second - 1, time.Second, time.Second + 1, 3 * time.Second, 9 * time.Hour,
				}).Draw(rt, "how long"))
			},
			"sweep": func(*rapid.T) { expect("tidy", s.tidy(t.Context()), nil) },
			"": func(rt *rapid.T) {
				if got, want := s.used(t, userID), taken(); got != want {
					rt.Fatalf("used %d, want %d", got, want)
				}
			},
		}
		rt.Repeat(steps)
	})
}
