package subscription

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/grant"
)

const maxGrants = 100 // in force or to come, of one person: a fold stays small

// override is what an operator gave somebody besides the plan, or took away.
type override struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	Source     string
	Feature    string
	Kind       string
	LimitValue *int64 // nil: unlimited
	Period     string
	Priority   int32
	ValidFrom  time.Time
	ValidUntil *time.Time // nil: never ends
	GrantedBy  string
	Reason     string
	CreatedAt  time.Time
	RevokedAt  *time.Time
}

// counted reports whether it has a limit.
func (o override) counted() bool { return o.Kind != boolean && o.Source != string(grant.Removal) }

// grantOverride gives or takes a feature. limit is nil for none said, -1 for
// unlimited; a zero ValidFrom is now.
func (s *Service) grantOverride(ctx context.Context, o override, limit *int64) (override, error) {
	if err := s.shape(ctx, &o, limit); err != nil {
		return o, err
	}
	now := s.now().Truncate(time.Microsecond) // as the table keeps it
	if o.ValidFrom.IsZero() {
		o.ValidFrom = now
	}
	switch {
	case o.ValidFrom.Before(now):
		return o, badField("validFrom", "must not be in the past")
	case o.ValidUntil != nil && !o.ValidUntil.After(o.ValidFrom):
		return o, badField("validUntil", "must be after the beginning")
	}
	by := operatorOf(ctx)
	o.ID, o.GrantedBy, o.CreatedAt = s.ids.New(), by.id, now
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, o.UserID); err != nil {
			return err
		}
		n, err := s.countGrants(ctx, tx, o.UserID, now)
		if err != nil {
			return err
		}
		if n >= maxGrants {
			return fail.New(fail.Conflict, "one person has at most %d grants", maxGrants)
		}
		if err := s.insertGrant(ctx, tx, o); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, auditGrant(ctx, trail.EntitlementGranted, by, o, o.Reason, now)); err != nil {
			return err
		}
		return s.refoldIn(ctx, tx, o.UserID, by)
	})
	if err == nil {
		s.outbox.Wake()
	}
	return o, err
}

// shape gives an override the kind its feature has in the catalogue, and its
// limit.
func (s *Service) shape(ctx context.Context, o *override, limit *int64) error {
	plans, err := s.catalog.all(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		i := slices.IndexFunc(p.Features, func(f feature) bool { return f.Feature == o.Feature })
		if i < 0 {
			continue
		}
		o.Kind, o.Period = p.Features[i].Kind, p.Features[i].Period
		counted := o.counted()
		switch {
		case counted && limit == nil:
			return badField("limit", "must be said of a counted feature")
		case !counted && limit != nil:
			return badField("limit", "there is nothing to count")
		case counted && *limit >= 0:
			o.LimitValue = limit
		}
		return nil
	}
	return badField("feature", "is in no plan")
}

func badField(path, text string) error {
	return fail.New(fail.InvalidArgument, "check the fields").Field(path, text)
}

// revokeOverride ends a grant now. Safe to repeat.
func (s *Service) revokeOverride(ctx context.Context, grantID uuid.UUID, reason string) (override, error) {
	missing := fail.New(fail.NotFound, "there is no such grant")
	o, err := s.override(ctx, s.db.Pool, grantID)
	if errors.Is(err, errNone) {
		return o, missing
	}
	if err != nil {
		return o, err
	}
	by := operatorOf(ctx)
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, o.UserID); err != nil {
			return err
		}
		if o, err = s.override(ctx, tx, grantID); err != nil || o.RevokedAt != nil {
			return err
		}
		now := s.now()
		o.RevokedAt = &now
		if err := s.revokeGrant(ctx, tx, grantID, now); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, auditGrant(ctx, trail.EntitlementRevoked, by, o, reason, now)); err != nil {
			return err
		}
		return s.refoldIn(ctx, tx, o.UserID, by)
	})
	if err == nil {
		s.outbox.Wake()
	}
	return o, err
}
