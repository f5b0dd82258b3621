package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const rosterBatch = 50 // organizations

// tellMember tells subscription that somebody is in an organization now, or no
// longer. The caller holds the organization's lock.
func (s *Service) tellMember(ctx context.Context, tx pg.Tx, orgID, payer, userID uuid.UUID, member bool) error {
	if !s.tellsRoster {
		return nil
	}
	version, err := s.raiseRoster(ctx, tx, orgID)
	if err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, membershipChanged(orgID, payer, userID, member, version, s.now()))
}

// tellMembers tells it of everybody in an organization: another pays, or it is
// closed.
func (s *Service) tellMembers(ctx context.Context, tx pg.Tx, orgID, payer uuid.UUID, member bool) error {
	if !s.tellsRoster {
		return nil
	}
	version, err := s.raiseRoster(ctx, tx, orgID)
	if err != nil {
		return err
	}
	list, err := s.roster(ctx, tx, orgID)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := s.outbox.Append(ctx, tx, membershipChanged(orgID, payer, m.UserID, member, version, s.now())); err != nil {
			return err
		}
	}
	return nil
}

// tellLeaving tells it that a person who is erased is in no organization any
// more, before the rows go.
func (s *Service) tellLeaving(ctx context.Context, tx pg.Tx, userID uuid.UUID) error {
	list, err := s.lockOrgsOf(ctx, tx, userID)
	if err != nil {
		return err
	}
	for _, o := range list {
		if err := s.tellMember(ctx, tx, o.ID, o.PayerID, userID, false); err != nil {
			return err
		}
	}
	return nil
}

// tellRosters tells it of the organizations that are older than the telling.
// Safe in several processes at once.
func (s *Service) tellRosters(ctx context.Context) error {
	for {
		list, err := s.untold(ctx, rosterBatch)
		if err != nil {
			return err
		}
		for _, o := range list {
			err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
				o, still, err := s.lockUntold(ctx, tx, o.ID)
				if err != nil || !still {
					return err
				}
				return s.tellMembers(ctx, tx, o.ID, o.PayerID, true)
			})
			if err != nil {
				return err
			}
		}
		if len(list) > 0 {
			s.outbox.Wake()
		}
		if len(list) < rosterBatch {
			return nil
		}
	}
}
