package subscription

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/services/subscription/lifecycle"
	"github.com/manas360/platform/services/subscription/period"
)

// years is a subscriber whose renewals are paid, some before the end and some
// in grace, while the sweeper comes when it comes.
type years struct {
	t     *testing.T
	sub   subscription
	zone  *time.Location
	now   time.Time
	paid  [][2]time.Time // periods in the order they were charged
	begun int            // of them
}

// Ten thousand subscriptions in six zones live for five years, which is M5, with
// nobody sweeping for up to 90 days. money.md B4, B5, B9
func TestFiveYears(t *testing.T) {
	subscribers := 10_000
	if testing.Short() {
		subscribers = 500
	}
	zones := []string{"Asia/Kolkata", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"}
	chance := rand.New(rand.NewPCG(5, 20261123))
	s := &Service{}
	total := 0
	for i := range subscribers {
		y := &years{t: t}
		var err error
		if y.zone, err = time.LoadLocation(zones[i%len(zones)]); err != nil {
			t.Fatal(err)
		}
		y.begin(s, chance)
		y.walk(s, chance)
		total += len(y.paid)
	}
	t.Logf("%d subscribers, %d periods", subscribers, total)
}

func (y *years) begin(s *Service, chance *rand.Rand) {
	cycles := []string{"MONTHLY", "MONTHLY", "MONTHLY", "QUARTERLY", "YEARLY"}
	start := time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(chance.Int64N(int64(366 * day)))).Truncate(time.Microsecond)
	y.now = start
	y.sub = subscription{
		ID: uuid.Max, State: pendingState, PlanCode: "premium", Cycle: cycles[chance.IntN(len(cycles))], AnchorZone: y.zone.String(),
		Anchor: &start, CurrentPeriodStart: &start, AutoRenew: true,
	}
	end := y.end(s, 0)
	y.sub.CurrentPeriodEnd, y.sub.PaidUntil = &end, &end
	y.fact(s, lifecycle.Captured)
	y.paid = append(y.paid, [2]time.Time{start, end})
}

func (y *years) end(s *Service, n int) time.Time {
	end, err := s.nextEnd(y.sub, y.sub.months(), n)
	if err != nil {
		y.t.Fatal(err)
	}
	return end
}

// fact does to the row what apply does, without the database.
func (y *years) fact(s *Service, f lifecycle.Fact) {
	before := y.sub
	after, effects, ok := lifecycle.Next(y.sub.life(), f, y.now)
	if !ok {
		y.t.Fatalf("%s refused in %s", f, before.State)
	}
	y.sub = y.sub.with(after)
	for _, e := range effects {
		if e == lifecycle.GiveBack {
			y.t.Fatalf("money was given back in %s", before.State)
		}
		if e == lifecycle.Advance && before.State != pendingState {
			s.advance(&y.sub, before)
			y.begun++
		}
	}
}

// walk lets five years pass in strides of up to 90 days; whoever is late still
// pays in grace, and nobody pays twice for a period.
func (y *years) walk(s *Service, chance *rand.Rand) {
	stop := y.now.AddDate(5, 0, 0)
	for y.now.Before(stop) {
		ends := y.sub.life().Ends
		pays := ends.Add(time.Duration(chance.Int64N(int64(9*day))) - 5*day) // 5 days before to 4 after
		sweeps := y.now.Add(time.Duration(chance.Int64N(int64(90 * day))))
		for pays.Before(y.now) {
			pays = y.now
		}
		for sweeps.Before(pays) {
			y.pass(s, sweeps)
			sweeps = sweeps.Add(time.Duration(1 + chance.Int64N(int64(90*day))))
		}
		y.pass(s, pays)
		n := len(y.paid)
		start, end := y.sub.life().PaidUntil, y.end(s, n)
		y.sub.PaidUntil = &end
		y.fact(s, lifecycle.Renewal)
		y.check(n, start, end)
		y.paid = append(y.paid, [2]time.Time{start, end})
		y.pass(s, end.Add(-1))
		if y.sub.CurrentPeriodEnd == nil || !y.sub.CurrentPeriodEnd.Equal(end) || !y.sub.CurrentPeriodStart.Equal(start) {
			y.t.Fatalf("in period %d the subscription stands in %v to %v", n, y.sub.CurrentPeriodStart, y.sub.CurrentPeriodEnd)
		}
	}
}

// pass is time alone, turn by turn.
func (y *years) pass(s *Service, until time.Time) {
	for {
		at := lifecycle.Due(y.sub.life())
		if at.IsZero() || until.Before(at) {
			break
		}
		y.now = at
		y.fact(s, lifecycle.Tick)
	}
	y.now = until
	if !lifecycle.State(y.sub.State).Live() {
		y.t.Fatalf("%s at %v with %d periods paid", y.sub.State, until, len(y.paid))
	}
}

// check holds a period against its neighbour and the calendar on the wall.
func (y *years) check(n int, start, end time.Time) {
	last := y.paid[n-1]
	if !start.Equal(last[1]) {
		y.t.Fatalf("period %d starts %v, the one before ended %v", n, start, last[1])
	}
	anchor, local := y.sub.Anchor.In(y.zone), start.In(y.zone)
	month := int(anchor.Month()) - 1 + n*y.sub.months()
	wantDay := min(anchor.Day(), time.Date(anchor.Year(), time.Month(month+2), 0, 0, 0, 0, 0, time.UTC).Day())
	ah, am, as := anchor.Clock()
	lh, lm, ls := local.Clock()
	sameClock := ah == lh && am == lm && as == ls
	if moved := start.Sub(period.Start(*y.sub.Anchor, y.zone, y.sub.months(), n)); moved != 0 || local.Day() != wantDay && sameClock || !end.After(start) {
		y.t.Fatalf("period %d of %v starts %v (moved %v), want day %d", n, anchor, local, moved, wantDay)
	}
}

// The policy of every pair of plans is one table: money.md B11.
func TestDirection(t *testing.T) {
	now := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	end := now.Add(20 * day)
	soon := now.Add(13 * day)
	live := func(tier int32, code, cycle string, ends *time.Time) subscription {
		return subscription{State: activeState, PlanCode: code, Tier: tier, Cycle: cycle, CurrentPeriodEnd: ends, PaidUntil: ends}
	}
	with := func(s subscription, edit func(*subscription)) subscription {
		edit(&s)
		return s
	}
	paid := end.Add(30 * day)
	for name, tt := range map[string]struct {
		live subscription
		tier int32
		code string
		to   string
		want string // empty: refused
	}{
		"a higher tier":                 {live(10, "basic", "MONTHLY", &end), 50, "premium", "MONTHLY", asUpgrade},
		"a higher tier, shorter":        {live(10, "basic", "YEARLY", &end), 50, "premium", "MONTHLY", asUpgrade},
		"a lower tier":                  {live(50, "premium", "MONTHLY", &end), 10, "basic", "MONTHLY", asDowngrade},
		"a lower tier, longer":          {live(50, "premium", "MONTHLY", &end), 10, "basic", "YEARLY", asDowngrade},
		"longer":                        {live(50, "premium", "MONTHLY", &end), 50, "premium", "YEARLY", asUpgrade},
		"for life":                      {live(50, "premium", "MONTHLY", &end), 50, "lifetime", "LIFETIME", asUpgrade},
		"shorter":                       {live(50, "premium", "YEARLY", &end), 50, "premium", "MONTHLY", asDowngrade},
		"the same tier by another name": {live(50, "premium", "MONTHLY", &end), 50, "premium_monthly", "MONTHLY", asDowngrade},
		"the same":                      {live(50, "premium", "MONTHLY", &end), 50, "premium", "MONTHLY", ""},
		"the same, near its end":        {live(50, "premium", "MONTHLY", &soon), 50, "premium", "MONTHLY", asRenewal},
		"the same, paid ahead":          {with(live(50, "premium", "MONTHLY", &soon), func(s *subscription) { s.PaidUntil = &paid }), 50, "premium", "MONTHLY", ""},
		"the same, which renews itself": {with(live(50, "premium", "MONTHLY", &soon), func(s *subscription) { s.AutoRenew = true }), 50, "premium", "MONTHLY", ""},
		"the same, cancelled":           {with(live(50, "premium", "MONTHLY", &soon), func(s *subscription) { s.CancelAtPeriodEnd = true }), 50, "premium", "MONTHLY", ""},
		"from life":                     {live(50, "lifetime", "LIFETIME", nil), 100, "enterprise", "YEARLY", ""},
		"while paused":                  {with(live(10, "basic", "MONTHLY", &end), func(s *subscription) { s.State = pausedState }), 50, "premium", "MONTHLY", ""},
		"from a trial":                  {with(live(50, "premium", "MONTHLY", &end), func(s *subscription) { s.State = trialingState }), 50, "premium", "MONTHLY", asPurchase},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := direction(tt.live, plan{Code: tt.code, Tier: tt.tier}, price{Cycle: tt.to}, now)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("direction = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// A sweep that comes a hundred times does what one does: money.md B10. And the
// database itself refuses two periods for one instant: money.md B6.
func TestSweepAgain(t *testing.T) {
	s := newStand(t)
	userID := s.member(t)
	s.buy(t, userID, "premium", monthly)
	s.clock.move(s.current(t, userID).GetCurrentPeriodEnd().AsTime().Sub(s.clock.now()) - day)
	s.settleUp(t, userID, s.order(t, userID, "premium", monthly).GetPayment(), succeeded)
	s.clock.move(day)
	for range 100 {
		s.exec(t, `UPDATE subscription.subscription SET due_at = $1 WHERE state = 'ACTIVE'`, s.clock.now())
		s.sweepNow(t)
	}
	counts := texts(t, s.db, `SELECT (SELECT count(*) FROM subscription.subscription_period) || ' ' || (SELECT count(*) FROM subscription.invoice) || ' ' ||
	  (SELECT count(*) FROM subscription.subscription_event AS e JOIN subscription.subscription AS s ON s.id = e.subscription_id WHERE s.plan_code = 'premium')`)
	if counts[0] != "2 2 4" {
		t.Errorf("periods, invoices, events = %s", counts[0])
	}
	subID, err := id.Parse("sub", s.current(t, userID).GetId())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Pool.Exec(t.Context(), `INSERT INTO subscription.subscription_period (subscription_id, n, during, invoice_id)
	  SELECT subscription_id, 9, tstzrange(lower(during) + '1 day', upper(during) + '1 day'), NULL FROM subscription.subscription_period WHERE subscription_id = $1 AND n = 0`, subID); err == nil {
		t.Error("an instant is paid twice")
	}
}
