package user

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	maxOwned   = 20  // organizations of one owner: nobody fills the table
	maxOrgName = 120 // characters: in any script it fits a notice
)

// organization is a row, as one of its members sees it.
type organization struct {
	ID        uuid.UUID
	Name      string
	Type      string
	PayerID   uuid.UUID
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	Role      string    // of the one who asks
	JoinedAt  time.Time // likewise
	Seats     int64     `db:"-"`
	Used      int64     `db:"-"`
}

func (o organization) at() cursor { return cursor{Time: o.JoinedAt, ID: o.ID} }

// noOrg is the one answer to everybody outside, so that it tells nothing.
func noOrg() error { return fail.New(fail.NotFound, "there is no such organization") }

// orgName gives a name as it is kept. It stands in mail to strangers: nothing
// invisible in it, and nothing a mail program makes a link of.
func orgName(s string) (string, error) {
	s = strings.Join(strings.Fields(s), " ")
	low := strings.ToLower(s)
	switch {
	case s == "" || len([]rune(s)) > maxOrgName:
		return "", badField("name", "must have 1 to 120 characters")
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", badField("name", "must not hold invisible characters")
	case strings.Contains(low, "://") || strings.Contains(low, "www."):
		return "", badField("name", "must not be a link")
	}
	return s, nil
}

func badField(path, text string) error {
	return fail.New(fail.InvalidArgument, "some fields are not valid").Field(path, text)
}

// createOrg makes one that its maker owns and pays for.
func (s *Service) createOrg(ctx context.Context, caller *token.Caller, name, kind string) (o organization, err error) {
	if name, err = orgName(name); err != nil {
		return o, err
	}
	if _, err := s.read(ctx, caller.UserID); err != nil { // members are shown with their profiles
		return o, err
	}
	id := s.ids.New()
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		if _, err := s.lockSeats(ctx, tx, caller.UserID); err != nil { // the number owned is counted under it
			return err
		}
		n, err := s.owned(ctx, tx, caller.UserID)
		if err != nil {
			return err
		}
		if n >= maxOwned {
			return fail.New(fail.QuotaExceeded, "one person owns at most %d organizations", maxOwned)
		}
		if err := s.insertOrg(ctx, tx, id, name, kind, caller.UserID); err != nil {
			return err
		}
		if err := s.insertMember(ctx, tx, id, caller.UserID, orgOwner); err != nil {
			return err
		}
		if err := s.tellMember(ctx, tx, id, caller.UserID, caller.UserID, true); err != nil {
			return err
		}
		if o, err = s.org(ctx, tx, caller.UserID, id); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{
			Action: trail.OrganizationCreated, Targets: []target{orgTarget(id), userTarget(caller.UserID)},
			Changes: []change{{Path: "name", After: name}, {Path: "type", After: kind}},
		})
	})
	if err != nil {
		return organization{}, err
	}
	s.outbox.Wake()
	return s.counted(ctx, o)
}

// counted adds the seats of an organization.
func (s *Service) counted(ctx context.Context, o organization) (organization, error) {
	list, err := s.countedAll(ctx, []organization{o})
	if err != nil {
		return organization{}, err
	}
	return list[0], nil
}

// countedAll does so for a page; most of one have the same payer.
func (s *Service) countedAll(ctx context.Context, list []organization) ([]organization, error) {
	type seen struct{ seats, used int64 }
	by := map[uuid.UUID]seen{}
	for i, o := range list {
		got, ok := by[o.PayerID]
		if !ok {
			l, err := s.seats(ctx, s.db.Pool, o.PayerID)
			if err != nil {
				return nil, err
			}
			got.seats = l.inForce(s.now())
			if got.used, err = s.seatsUsed(ctx, s.db.Pool, o.PayerID, s.now()); err != nil {
				return nil, err
			}
			by[o.PayerID] = got
		}
		list[i].Seats, list[i].Used = got.seats, got.used
	}
	return list, nil
}

// enter locks an organization for a change by one of its members. NOT_FOUND for
// everybody else, who never get to hold the lock.
func (s *Service) enter(ctx context.Context, tx pg.Tx, userID, orgID uuid.UUID) (organization, error) {
	if _, err := s.org(ctx, tx, userID, orgID); err != nil {
		return organization{}, err
	}
	if err := s.lockOrg(ctx, tx, orgID); err != nil {
		return organization{}, err
	}
	return s.org(ctx, tx, userID, orgID) // again: what was read before the lock may have changed
}

// inOrg runs a change that owners and admins may make.
func (s *Service) inOrg(ctx context.Context, caller *token.Caller, orgID uuid.UUID, do func(ctx context.Context, tx pg.Tx, o organization) error) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		o, err := s.enter(ctx, tx, caller.UserID, orgID)
		if err != nil {
			return err
		}
		if !mayRun(o.Role) {
			return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
		}
		return do(ctx, tx, o)
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}

// updateOrg changes the masked fields.
func (s *Service) updateOrg(ctx context.Context, caller *token.Caller, orgID uuid.UUID, mask []string, name, kind, ifMatch string) (o organization, err error) {
	if _, err := s.org(ctx, s.db.Pool, caller.UserID, orgID); err != nil { // first of all, whether there is one
		return o, err
	}
	if name, err = checkOrg(mask, name, kind); err != nil {
		return o, err
	}
	err = s.inOrg(ctx, caller, orgID, func(ctx context.Context, tx pg.Tx, was organization) error {
		if err := unchanged(ifMatch, was.Version, "organization"); err != nil {
			return err
		}
		o = was
		var changed []change
		if slices.Contains(mask, "name") && name != was.Name {
			o.Name, changed = name, append(changed, change{"name", was.Name, name})
		}
		if slices.Contains(mask, "type") && kind != was.Type {
			o.Type, changed = kind, append(changed, change{"type", was.Type, kind})
		}
		if len(changed) == 0 {
			return nil
		}
		if err := s.saveOrg(ctx, tx, o); err != nil {
			return err
		}
		if o, err = s.org(ctx, tx, caller.UserID, orgID); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{Action: trail.OrganizationUpdated, Targets: []target{orgTarget(orgID)}, Changes: changed})
	})
	if err != nil {
		return organization{}, err
	}
	return s.counted(ctx, o)
}

// checkOrg refuses a mask or value and gives the name as it is kept.
func checkOrg(mask []string, name, kind string) (string, error) {
	if len(mask) == 0 {
		return "", badField("", "the body changes nothing")
	}
	for _, path := range mask {
		if path != "name" && path != "type" {
			return "", badField(path, "cannot be changed")
		}
	}
	if slices.Contains(mask, "type") && kind == "TYPE_UNSPECIFIED" {
		return "", badField("type", "must be said")
	}
	if !slices.Contains(mask, "name") {
		return "", nil
	}
	return orgName(name)
}

// deleteOrg closes one for everybody; its rows stay.
func (s *Service) deleteOrg(ctx context.Context, caller *token.Caller, orgID uuid.UUID, ifMatch string) error {
	return s.inOrg(ctx, caller, orgID, func(ctx context.Context, tx pg.Tx, o organization) error {
		if o.Role != orgOwner {
			return fail.New(fail.PermissionDenied, "only an owner may close the organization")
		}
		if err := unchanged(ifMatch, o.Version, "organization"); err != nil {
			return err
		}
		if err := s.closeOrg(ctx, tx, orgID); err != nil {
			return err
		}
		if err := s.tellMembers(ctx, tx, orgID, o.PayerID, false); err != nil {
			return err
		}
		if _, err := s.revokeAll(ctx, tx, orgID, uuid.Nil, orgMember); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{
			Action: trail.OrganizationDeleted, Targets: []target{orgTarget(orgID)}, Changes: []change{{Path: "name", Before: o.Name}},
		})
	})
}

// setMemberRole gives a member another role.
func (s *Service) setMemberRole(ctx context.Context, caller *token.Caller, orgID, userID uuid.UUID, to string) (m memberView, err error) {
	err = s.withMember(ctx, caller, orgID, userID, func(ctx context.Context, tx pg.Tx, o organization, actor, at member, owners int64) error {
		if err := checkRole(actor, at, to, owners); err != nil {
			return err
		}
		if at.Role == to {
			return nil
		}
		if err := s.saveMember(ctx, tx, orgID, userID, to); err != nil {
			return err
		}
		if err := s.lostRights(ctx, tx, o, userID, to); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{
			Action: trail.OrganizationMemberRoleChanged, Targets: []target{orgTarget(orgID), userTarget(userID)},
			Changes: []change{{"role", at.Role, to}},
		})
	})
	if err != nil {
		return m, err
	}
	s.outbox.Wake()
	m, found, err := s.memberView(ctx, orgID, userID)
	if err == nil && !found {
		return m, noMember() // gone since
	}
	return m, err
}

// removeMember takes a member out, or lets the caller leave.
func (s *Service) removeMember(ctx context.Context, caller *token.Caller, orgID, userID uuid.UUID) error {
	err := s.withMember(ctx, caller, orgID, userID, func(ctx context.Context, tx pg.Tx, o organization, actor, at member, owners int64) error {
		if err := checkRemoval(actor, at, owners); err != nil {
			return err
		}
		if err := s.deleteMember(ctx, tx, orgID, userID); err != nil {
			return err
		}
		if err := s.tellMember(ctx, tx, orgID, o.PayerID, userID, false); err != nil {
			return err
		}
		if err := s.lostRights(ctx, tx, o, userID, ""); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{
			Action: trail.OrganizationMemberRemoved, Targets: []target{orgTarget(orgID), userTarget(userID)},
			Changes: []change{{Path: "role", Before: at.Role}},
		})
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}

func noMember() error { return fail.New(fail.NotFound, "there is no such member") }

// withMember runs a change of a member under the organization's lock.
func (s *Service) withMember(ctx context.Context, caller *token.Caller, orgID, userID uuid.UUID,
	do func(ctx context.Context, tx pg.Tx, o organization, actor, at member, owners int64) error,
) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		o, err := s.enter(ctx, tx, caller.UserID, orgID)
		if err != nil {
			return err
		}
		at, found, err := s.member(ctx, tx, orgID, userID)
		if err != nil {
			return err
		}
		if !found {
			return noMember()
		}
		owners, err := s.owners(ctx, tx, orgID)
		if err != nil {
			return err
		}
		actor := member{UserID: caller.UserID, Role: o.Role, JoinedAt: o.JoinedAt}
		return do(ctx, tx, o, actor, at, int64(len(owners)))
	})
}

// lostRights ends what somebody can no longer answer for: open invitations to a
// role they may not give now, and the bill.
func (s *Service) lostRights(ctx context.Context, tx pg.Tx, o organization, userID uuid.UUID, now string) error {
	beyond := orgMember // out or a member: all of them
	if now == orgAdmin {
		beyond = orgOwner
	}
	if now != orgOwner {
		if _, err := s.revokeAll(ctx, tx, o.ID, userID, beyond); err != nil {
			return err
		}
	}
	if o.PayerID != userID || now == orgOwner {
		return nil
	}
	owners, err := s.owners(ctx, tx, o.ID)
	if err != nil {
		return err
	}
	payer := nextPayer(owners)
	if err := s.savePayer(ctx, tx, o.ID, payer); err != nil {
		return err
	}
	return s.tellMembers(ctx, tx, o.ID, payer, true)
}
