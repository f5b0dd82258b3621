package subscription

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/grant"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

const (
	refoldEvery   = 250 * time.Millisecond
	refoldBatch   = 500
	refoldAtOnce  = 4 // connections it may take of the pool
	refoldTimeout = 30 * time.Second
	tidyEvery     = 2 * time.Minute
)

// putEntitlements makes sub's plan the one that bites, with the user's grants,
// and gives the new set. Those who have the plan through an organization are
// folded again soon after. The caller holds the user's lock.
func (s *Service) putEntitlements(ctx context.Context, tx txn, sub subscription, now time.Time) (entitlements, error) {
	e, err := s.planOf(ctx, tx, sub)
	if err != nil {
		return e, err
	}
	dueAt, err := s.fold(ctx, tx, sub.UserID, &e, now)
	if err != nil {
		return e, err
	}
	if e.Epoch, err = s.put(ctx, tx, sub.UserID, e, dueAt, now); err != nil {
		return e, err
	}
	return e, s.markMembers(ctx, tx, sub.UserID, now)
}

// planOf is what a subscription by itself lets its user do, and until when:
// through grace, though nothing is paid, and never past the bound that holds
// without any job.
func (s *Service) planOf(ctx context.Context, tx txn, sub subscription) (entitlements, error) {
	e := entitlements{SubscriptionID: sub.ID, PlanCode: sub.PlanCode, PlanVersion: sub.PlanVersion, ClockAt: sub.ClockAt}
	until, forever := lifecycle.AccessUntil(sub.life())
	switch {
	case sub.State == pausedState: // who pauses has what everybody has
		free, err := s.offerOf(ctx, tx, freePlan)
		if err != nil {
			return e, err
		}
		e.PlanCode, e.PlanVersion = freePlan, free.Version
	case forever:
	case sub.PendingPriceID != nil && sub.State == activeState: // then another plan's begin
		e.PlanEndsAt = sub.CurrentPeriodEnd
	default:
		e.PlanEndsAt = &until
	}
	return e, nil
}

// fold makes e, whose plan is set, what its user may use now. dueAt is when that
// changes by itself; nil while there is only the plan, whose end its
// subscription's sweeper sees to.
func (s *Service) fold(ctx context.Context, q querier, userID uuid.UUID, e *entitlements, now time.Time) (dueAt *time.Time, err error) {
	rows, err := s.grants(ctx, q, userID, *e, now)
	if err != nil {
		return nil, err
	}
	list := make([]grant.Grant, 0, len(rows))
	alone := true
	for _, r := range rows {
		g := grant.Grant{
			Feature: grant.Feature{Feature: r.Feature, Kind: r.Kind, Limit: r.LimitValue, Period: r.Period},
			ID:      r.ID, Source: grant.Source(r.Source), Priority: r.Priority, Until: r.ValidUntil,
		}
		if r.ValidFrom != nil {
			g.From = *r.ValidFrom
		}
		if r.CreatedAt != nil {
			g.CreatedAt = *r.CreatedAt
		}
		alone = alone && g.Source == grant.Plan
		list = append(list, g)
	}
	set := grant.Fold(now, list)
	e.Features, e.Limits, e.EndsAt, e.Folded = slices.Concat([]string{}, set.Features), slices.Concat([]grant.Feature{}, set.Limits), set.Until, true
	if e.PlanEndsAt != nil && now.Before(*e.PlanEndsAt) && (e.EndsAt == nil || e.PlanEndsAt.Before(*e.EndsAt)) {
		e.EndsAt = e.PlanEndsAt // also of a plan without features
	}
	if !alone {
		dueAt = e.EndsAt
	}
	return dueAt, nil
}

// fresh gives a user's set as it is now, whether or not the worker has been
// here; errNone when there is none.
func (s *Service) fresh(ctx context.Context, userID uuid.UUID) (entitlements, error) {
	e, err := s.entitlements(ctx, userID)
	now := e.at(s.now())
	if err != nil || !e.due(now) {
		return e, err
	}
	if !e.Stale { // a plan that ran out, and nothing else, is its subscription's to end
		is := e
		if _, err := s.fold(ctx, s.db.Pool, userID, &is, now); err != nil {
			return e, err
		}
		if is.ended(now) {
			return s.continued(ctx, userID, is)
		}
	}
	if err := s.refold(ctx, userID); err != nil {
		return e, err
	}
	return s.entitlements(ctx, userID)
}

// refold folds a user's set again and tells of it if it is another. Safe to
// repeat, and in several processes at once.
func (s *Service) refold(ctx context.Context, userID uuid.UUID) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		return s.refoldIn(ctx, tx, userID, serviceActor(schema))
	})
	if err == nil {
		s.outbox.Wake()
	}
	return err
}

// refoldIn does so under the user's lock. A mark is read before what it is
// about, so one that comes later is another's.
func (s *Service) refoldIn(ctx context.Context, tx txn, userID uuid.UUID, by actor) error {
	marks, err := s.marks(ctx, tx, userID)
	if err != nil {
		return err
	}
	was, err := s.entitlementsIn(ctx, tx, userID)
	if errors.Is(err, errNone) { // the first set is folded like any other
		return s.unmark(ctx, tx, marks)
	}
	if err != nil {
		return err
	}
	now, is := was.at(s.now()), was
	dueAt, err := s.fold(ctx, tx, userID, &is, now)
	if err != nil {
		return err
	}
	if !was.same(is) {
		if is.Epoch, err = s.put(ctx, tx, userID, is, dueAt, now); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, s.entitlementChanged(userID, is, is.numbers(), now),
			audit(ctx, trail.EntitlementChanged, by, subscription{ID: is.SubscriptionID, UserID: userID}, now,
				change{"plan", was.PlanCode, is.plan(now)}, change{"epoch", was.Epoch, is.Epoch})); err != nil {
			return err
		}
	}
	return s.unmark(ctx, tx, marks)
}

// same reports whether another fold of the same plan is no other.
func (e entitlements) same(o entitlements) bool {
	return e.Folded && sameTime(e.EndsAt, o.EndsAt) && slices.Equal(e.Features, o.Features) &&
		slices.EqualFunc(e.Limits, o.Limits, func(a, b grant.Feature) bool {
			return a.Feature == b.Feature && a.Kind == b.Kind && a.Period == b.Period && limitOf(a).most() == limitOf(b).most()
		})
}

func sameTime(a, b *time.Time) bool {
	return a == b || (a != nil && b != nil && a.Equal(*b))
}

// refoldForever folds again what has become due, until ctx ends. Reads never
// wait for it; tokens follow it.
func (s *Service) refoldForever(ctx context.Context) error {
	tick, tidy := time.NewTicker(refoldEvery), time.NewTicker(tidyEvery)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		if err := s.refoldDue(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("entitlements not all folded again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tidy.C:
			if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("reservations not tidied")
			}
		case <-tick.C:
		}
	}
}

// refoldDue folds again every set that is marked or whose time has come.
func (s *Service) refoldDue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refoldTimeout)
	defer cancel()
	for {
		list, err := s.refolds(ctx, s.now(), refoldBatch)
		if err != nil {
			return err
		}
		errs := make([]error, len(list))
		var all errgroup.Group
		all.SetLimit(refoldAtOnce)
		for i, d := range list {
			all.Go(func() error { // one that cannot be done must not hold up the rest
				errs[i] = s.refold(ctx, d.ID)
				return nil
			})
		}
		_ = all.Wait() // they are in errs
		if err := errors.Join(errs...); err != nil || len(list) < refoldBatch {
			return err
		}
	}
}
