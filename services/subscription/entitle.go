package subscription

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/grant"
	"github.com/manas360/platform/services/subscription/period"
)

const (
	freePlan = "free"
	noPlan   = "none" // what the contract calls having nothing live
)

// entitlements is what a user may use: the fold of the plan, the grants and the
// plans of those who pay for an organization the user is in.
type entitlements struct {
	Epoch          int64
	SubscriptionID uuid.UUID
	PlanCode       string
	PlanVersion    int32
	PlanEndsAt     *time.Time // nil: never
	Features       []string
	Limits         []grant.Feature
	EndsAt         *time.Time // the next instant at which the fold may be another; nil: none
	Folded         bool       // false: written by a program that knew the plan alone
	Stale          bool       // something has changed under it
	ClockAt        *time.Time // what the test clock of its subscription shows
}

// at is the time the set lives in.
func (e entitlements) at(wall time.Time) time.Time {
	if e.ClockAt != nil {
		return *e.ClockAt
	}
	return wall
}

// planOver reports whether the plan is worth nothing any more, whether or not
// the sweeper has been here.
func (e entitlements) planOver(now time.Time) bool {
	return e.PlanEndsAt != nil && !e.at(now).Before(*e.PlanEndsAt)
}

// plan is the plan's code, none when it is over.
func (e entitlements) plan(now time.Time) string {
	if e.planOver(now) {
		return noPlan
	}
	return e.PlanCode
}

// ended reports whether an up-to-date set gives nothing: its plan is over and
// nothing else holds.
func (e entitlements) ended(now time.Time) bool {
	return e.planOver(now) && len(e.Features) == 0 && len(e.Limits) == 0
}

// due reports whether the set has to be folded again before it is believed.
func (e entitlements) due(now time.Time) bool {
	return e.Stale || (e.EndsAt != nil && !e.at(now).Before(*e.EndsAt))
}

// numbers gives the limits as events have them; -1 is no limit.
func (e entitlements) numbers() map[string]int64 {
	out := make(map[string]int64, len(e.Limits))
	for _, f := range e.Limits {
		out[f.Feature] = limit{LimitValue: f.Limit}.most()
	}
	return out
}

// feature finds one by its code.
func (e entitlements) feature(code string) (limit, bool) {
	if slices.Contains(e.Features, code) {
		return limit{Feature: code, Kind: boolean}, true
	}
	i := slices.IndexFunc(e.Limits, func(f grant.Feature) bool { return f.Feature == code })
	if i < 0 {
		return limit{}, false
	}
	return limitOf(e.Limits[i]), true
}

func limitOf(f grant.Feature) limit {
	return limit{Feature: f.Feature, Kind: f.Kind, LimitValue: f.Limit, Period: f.Period}
}

// limit is a counted feature and its use.
type limit struct {
	Feature    string
	Kind       string
	LimitValue *int64 // nil: unlimited
	Period     string
	Used       int64
	ResetsAt   *time.Time // nil for quantities
}

// most is the limit as the wire has it.
func (l limit) most() int64 {
	if l.LimitValue == nil {
		return -1
	}
	return *l.LimitValue
}

// remaining is what is left, -1 for no end. A smaller plan may leave less than
// was used already.
func (l limit) remaining() int64 {
	if l.LimitValue == nil {
		return -1
	}
	return max(0, *l.LimitValue-l.Used)
}

// window gives the running period of a counter.
func (s *Service) window(l limit, now time.Time) (start, end time.Time) {
	if l.Period == "day" {
		return period.Day(now, s.zone)
	}
	return period.Month(now, s.zone)
}

// current gives the caller's set. A caller whose AccountActivated is still on
// its way gets the Free subscription here: the token proves the account.
func (s *Service) current(ctx context.Context, userID uuid.UUID) (entitlements, error) {
	e, err := s.fresh(ctx, userID)
	if !errors.Is(err, errNone) {
		return e, err
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.giveFree(ctx, tx, userID, actorOf(ctx))
	})
	if err != nil {
		return entitlements{}, err
	}
	s.outbox.Wake()
	return s.entitlements(ctx, userID)
}

// continued looks again at a set whose time is over: where another paid period
// has begun, its set is written now, not when the sweeper comes.
func (s *Service) continued(ctx context.Context, userID uuid.UUID, over entitlements) (entitlements, error) {
	sub, err := s.live(ctx, s.db.Pool, userID)
	if errors.Is(err, errNone) || err == nil && sub.ended(s.now()) {
		return over, nil
	}
	if err != nil {
		return over, err
	}
	if err := s.sweepOne(ctx, sub.ID); err != nil {
		return over, err
	}
	return s.entitlements(ctx, userID)
}

// counted gives the limits of a set and their use now.
func (s *Service) counted(ctx context.Context, userID uuid.UUID, e entitlements, now time.Time) ([]limit, error) {
	now = e.at(now)
	day, tomorrow := period.Day(now, s.zone)
	month, next := period.Month(now, s.zone)
	uses, err := s.uses(ctx, userID, day, month, now)
	if err != nil {
		return nil, err
	}
	list := make([]limit, 0, len(e.Limits))
	for _, f := range e.Limits {
		l, start := limitOf(f), time.Time{}
		switch l.Period {
		case "day":
			start, l.ResetsAt = day, &tomorrow
		case "month":
			start, l.ResetsAt = month, &next
		}
		for _, u := range uses {
			if u.Feature == l.Feature && u.PeriodStart.Equal(start) {
				l.Used = u.Used
			}
		}
		list = append(list, l)
	}
	return list, nil
}

// giveFree makes the Free subscription of a user who has nothing live. Safe to
// repeat.
func (s *Service) giveFree(ctx context.Context, tx txn, userID uuid.UUID, by actor) error {
	if err := s.lockUser(ctx, tx, userID); err != nil {
		return err
	}
	if _, err := s.live(ctx, tx, userID); !errors.Is(err, errNone) {
		return err
	}
	free, err := s.offerOf(ctx, tx, freePlan)
	if err != nil {
		return err
	}
	now := s.now()
	sub := subscription{
		ID: s.ids.New(), UserID: userID, State: activeState, PlanCode: freePlan, PlanVersion: free.Version,
		Cycle: free.Cycle, PriceID: free.ID, Anchor: &now, CurrentPeriodStart: &now, Version: 1, CreatedAt: now,
	}
	if err := s.insert(ctx, tx, sub, "account has nothing else"); err != nil {
		return err
	}
	granted, err := s.grant(ctx, tx, sub, by, now)
	if err != nil {
		return err
	}
	created := audit(ctx, trail.SubscriptionCreated, by, sub, now, change{"state", "", sub.State}, change{"planCode", "", sub.PlanCode})
	return s.outbox.Append(ctx, tx, append([]outbox.Event{created}, granted...)...) // cause before effect, for who reads the trail
}

// grant makes sub's plan the user's entitlements and gives the events that tell
// of it, for the caller to append.
func (s *Service) grant(ctx context.Context, tx txn, sub subscription, by actor, now time.Time) ([]outbox.Event, error) {
	e, err := s.putEntitlements(ctx, tx, sub, now)
	if err != nil {
		return nil, err
	}
	return []outbox.Event{
		s.entitlementChanged(sub.UserID, e, e.numbers(), now),
		audit(ctx, trail.EntitlementChanged, by, sub, now, change{"plan", "", e.plan(now)}, change{"epoch", "", e.Epoch}),
	}, nil
}
