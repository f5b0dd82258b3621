package subscription

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// consume uses amount of a feature: a boolean one is checked, a quantity is
// compared, a metered one is counted. Answers the counter after, nil for a
// boolean one.
func (s *Service) consume(ctx context.Context, userID uuid.UUID, code string, amount int64) (*limit, error) {
	now := s.now()
	e, l, err := s.entitledTo(ctx, userID, code, now)
	if err != nil {
		return nil, err
	}
	now = e.at(now)
	switch l.Kind {
	case boolean:
		return nil, nil //nolint:nilnil // a boolean feature that is there has no counter
	case quantity:
		if l.LimitValue != nil && amount > *l.LimitValue {
			return nil, s.exceeded(ctx, e, l, now)
		}
		return &l, nil
	}
	start, end := s.window(l, now)
	l.ResetsAt = &end
	used, fits, err := s.countUse(ctx, userID, l, start, amount)
	if err != nil {
		return nil, err
	}
	if fits {
		l.Used = used
		return &l, nil
	}
	// Refused, or something is held of it: decided under the counter's lock.
	fits, err = s.inCounter(ctx, counter{userID, l.Feature, start}, &l, amount, now, func(ctx context.Context, tx txn, held int64) error {
		return s.addUse(ctx, tx, counter{userID, l.Feature, start}, amount, held > 0)
	})
	if err != nil {
		return nil, err
	}
	if !fits {
		return nil, s.exceeded(ctx, e, l, now)
	}
	return &l, nil
}

// entitledTo gives the caller's set and one feature of it, or refuses.
func (s *Service) entitledTo(ctx context.Context, userID uuid.UUID, code string, now time.Time) (entitlements, limit, error) {
	e, err := s.current(ctx, userID)
	if err != nil {
		return e, limit{}, err
	}
	if e.ended(now) {
		return e, limit{}, s.required(ctx, code)
	}
	l, ok := e.feature(code)
	if !ok {
		return e, l, s.lacking(ctx, e.plan(now), code)
	}
	return e, l, nil
}

// required refuses one whose paid time is over.
func (s *Service) required(ctx context.Context, code string) error {
	to, known, err := s.catalog.upgrade(ctx, code, 0)
	if err != nil {
		return err
	}
	if !known {
		return unknownFeature(code)
	}
	return offer(fail.New(fail.SubscriptionRequired, "there is no live subscription").
		With("requiredFeature", code).With("currentPlan", noPlan), to)
}

// lacking refuses a feature that is not in the plan.
func (s *Service) lacking(ctx context.Context, planCode, code string) error {
	to, known, err := s.catalog.upgrade(ctx, code, 0)
	if err != nil {
		return err
	}
	if !known {
		return unknownFeature(code)
	}
	return offer(fail.New(fail.FeatureNotAvailable, "%s is not in the plan %s", code, planCode).
		With("requiredFeature", code).With("currentPlan", planCode), to)
}

// exceeded refuses what is over the limit.
func (s *Service) exceeded(ctx context.Context, e entitlements, l limit, now time.Time) error {
	to, _, err := s.catalog.upgrade(ctx, l.Feature, l.most())
	if err != nil {
		return err
	}
	refusal := fail.New(fail.QuotaExceeded, "the plan %s allows %d of %s", e.plan(now), l.most(), l.Feature).
		With("requiredFeature", l.Feature).With("currentPlan", e.plan(now)).
		With("limit", strconv.FormatInt(l.most(), 10)).With("used", strconv.FormatInt(l.Used, 10)).
		With("remaining", strconv.FormatInt(l.remaining(), 10))
	if l.ResetsAt != nil {
		refusal = refusal.With("resetsAt", l.ResetsAt.UTC().Format(time.RFC3339)).RetryAfter(l.ResetsAt.Sub(now))
	}
	return offer(refusal, to)
}

func unknownFeature(code string) error {
	return fail.New(fail.NotFound, "there is no feature %s", code)
}

// offer names the plan that would do, if there is one.
func offer(e *fail.Error, upgradeTo string) error {
	if upgradeTo != "" {
		return e.With("upgradeTo", upgradeTo)
	}
	return e
}
