package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/services/subscription/period"
)

const (
	freePlan = "free"
	noPlan   = "none" // what the contract calls having nothing live
)

// entitlements is what a user may use.
type entitlements struct {
	Epoch       int64
	PlanCode    string
	PlanVersion int32
	Features    []string
	EndsAt      *time.Time // nil: never
}

// ended reports whether the set is worth nothing any more, whether or not the
// sweeper has been here.
func (e entitlements) ended(now time.Time) bool { return e.EndsAt != nil && !now.Before(*e.EndsAt) }

// limit is a counted feature and its use.
type limit struct {
	Feature    string
	Kind       string
	LimitValue *int64 // nil: unlimited
	Period     string
	Used       int64
	ResetsAt   *time.Time `db:"-"` // nil for quantities
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
	e, err := s.entitlements(ctx, userID)
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

// counted gives the limits of a set and their use now.
func (s *Service) counted(ctx context.Context, userID uuid.UUID, e entitlements, now time.Time) ([]limit, error) {
	day, tomorrow := period.Day(now, s.zone)
	month, next := period.Month(now, s.zone)
	list, err := s.limits(ctx, userID, e, day, month, now)
	if err != nil {
		return nil, err
	}
	for i := range list {
		switch list[i].Period {
		case "day":
			list[i].ResetsAt = &tomorrow
		case "month":
			list[i].ResetsAt = &next
		}
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
	created := audit(ctx, "subscription.created", by, sub, now, change{"state", "", sub.State}, change{"planCode", "", sub.PlanCode})
	return s.outbox.Append(ctx, tx, append([]outbox.Event{created}, granted...)...) // cause before effect, for who reads the trail
}

// grant makes sub's plan the user's entitlements and gives the events that tell
// of it, for the caller to append.
func (s *Service) grant(ctx context.Context, tx txn, sub subscription, by actor, now time.Time) ([]outbox.Event, error) {
	e, err := s.putEntitlements(ctx, tx, sub, now)
	if err != nil {
		return nil, err
	}
	limits, err := s.planLimits(ctx, tx, e)
	if err != nil {
		return nil, err
	}
	return []outbox.Event{
		s.entitlementChanged(sub.UserID, e, limits, now),
		audit(ctx, "entitlement.changed", by, sub, now, change{"plan", "", e.PlanCode}, change{"epoch", "", e.Epoch}),
	}, nil
}
