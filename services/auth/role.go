package auth

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	roleSuperadmin = "superadmin"
	rolesChanged   = "ROLES_CHANGED" // kind of authzEvent
	manageRoles    = "roles.manage"
)

func count(n int) string { return strconv.Itoa(n) }

// listed is a set of names as the audit trail shows one.
func listed(names []string) string { return strings.Join(names, " ") }

// updateRole redefines a role: a superadmin's business, with what he holds
// himself, and never the superadmin's own role, so that nobody raises himself
// and the last superadmin always can put things right.
func (s *Service) updateRole(ctx context.Context, c *token.Caller, name string, permissions []string, reason string) (role, error) {
	permissions = slices.Compact(slices.Sorted(slices.Values(permissions)))
	var after role
	var news []authzEvent
	var refusal error // told after the commit: the attempt is on record
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		news, refusal = nil, nil
		if err := s.lockRoles(ctx, tx); err != nil {
			return err
		}
		before, epoch, err := s.findRole(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := s.knownPermissions(ctx, tx, permissions); err != nil {
			return err
		}
		actor, _, err := s.account(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		now := s.now()
		what := act{
			Action: trail.RoleChanged, Actor: adminActor(c), Targets: []target{{"role", name}}, Outcome: success, Reason: reason,
			Changes: []change{{Path: "permissions", Before: listed(before.Permissions), After: listed(permissions)}},
		}
		if refusal = mayRedefine(actor, name, permissions); refusal != nil {
			what.Outcome = denied
			return s.record(ctx, tx, c, now, what)
		}
		if after = before; slices.Equal(before.Permissions, permissions) {
			return nil
		}
		after.Permissions, after.Epoch = permissions, epoch+1
		if err := s.redefine(ctx, tx, name, permissions, after.Epoch); err != nil {
			return err
		}
		if news, err = s.recordAuthz(ctx, tx, rolesChanged, after.Epoch, now, uuid.Nil); err != nil {
			return err
		}
		more, err := s.endUnentitled(ctx, tx, c, now)
		if err != nil {
			return err
		}
		news = append(news, more...)
		return s.record(ctx, tx, c, now, what)
	})
	if err != nil {
		return role{}, err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	if refusal != nil {
		return role{}, refusal
	}
	return after, s.loadRoles(ctx)
}

// findRole gives a role, and the epoch of all.
func (s *Service) findRole(ctx context.Context, tx pg.Tx, name string) (found role, epoch int64, err error) {
	list, err := s.roles(ctx, tx)
	if err != nil {
		return role{}, 0, err
	}
	i := slices.IndexFunc(list, func(r role) bool { return r.Name == name })
	if i < 0 {
		return role{}, 0, fail.New(fail.NotFound, "there is no such role")
	}
	return list[i], epochOf(list), nil
}

func epochOf(list []role) (epoch int64) {
	for _, r := range list {
		epoch = max(epoch, r.Epoch)
	}
	return epoch
}

func (s *Service) knownPermissions(ctx context.Context, tx pg.Tx, permissions []string) error {
	known, err := s.permissions(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range permissions {
		if !slices.Contains(known, p) {
			return badField("permissions", "there is no permission "+strconv.Quote(plain(p, 64)))
		}
	}
	return nil
}

// mayRedefine refuses whoever is no superadmin, the superadmin's own role, and
// permissions the actor does not hold.
func mayRedefine(actor account, name string, permissions []string) error {
	switch {
	case actor.State != stateActive || !slices.Contains(actor.Roles, roleSuperadmin) || !slices.Contains(actor.Permissions, manageRoles):
		return fail.New(fail.PermissionDenied, "only a superadmin may redefine a role")
	case name == roleSuperadmin:
		return fail.New(fail.PermissionDenied, "the superadmin's role cannot be changed")
	}
	for _, p := range permissions {
		if !slices.Contains(actor.Permissions, p) {
			return fail.New(fail.PermissionDenied, "you cannot give a permission that you do not hold")
		}
	}
	return nil
}

// setRoles replaces the roles of an account below the caller's, with roles below
// the caller's. Nobody stands below himself, above a superadmin, or gives that
// role: so nobody raises himself, and superadmins are neither made nor lost here.
func (s *Service) setRoles(ctx context.Context, c *token.Caller, userID uuid.UUID, roles []string, reason string) (account, error) {
	return s.operate(ctx, c, userID, manageRoles, act{Action: trail.AccountRolesChanged, Reason: reason},
		func(ctx context.Context, tx pg.Tx, u upon) (effect, error) {
			known, err := s.roles(ctx, tx)
			if err != nil {
				return effect{}, err
			}
			if err := mayGrant(u.Actor, known, roles); err != nil {
				return effect{}, err
			}
			if slices.Equal(slices.Sorted(slices.Values(u.Before.Roles)), slices.Sorted(slices.Values(roles))) {
				return effect{After: u.Before, Nothing: true}, nil
			}
			if err := s.putRoles(ctx, tx, userID, roles, u.Now); err != nil {
				return effect{}, err
			}
			return s.rolesPut(ctx, tx, c, u)
		})
}

// mayGrant refuses roles that nobody knows, and those not below the actor's own.
func mayGrant(actor account, known []role, roles []string) error {
	for _, name := range roles {
		i := slices.IndexFunc(known, func(r role) bool { return r.Name == name })
		if i < 0 {
			return badField("roles", "there is no role "+strconv.Quote(plain(name, 64)))
		}
		if known[i].Level >= actor.Level {
			return fail.New(fail.PermissionDenied, "you may only give roles below your own")
		}
	}
	return nil
}

// rolesPut tells everyone of an account's new roles.
func (s *Service) rolesPut(ctx context.Context, tx pg.Tx, c *token.Caller, u upon) (effect, error) {
	acc, _, err := s.account(ctx, tx, u.Before.ID)
	if err != nil {
		return effect{}, err
	}
	if acc.NeedsMFA && !u.Before.NeedsMFA {
		if err := s.shortenSessions(ctx, tx, acc.ID, u.Now); err != nil {
			return effect{}, err
		}
	}
	news, err := s.recordAuthz(ctx, tx, accountStale, acc.Epoch, u.Now, acc.ID)
	if err != nil {
		return effect{}, err
	}
	more, err := s.endUnentitled(ctx, tx, c, u.Now)
	if err != nil {
		return effect{}, err
	}
	if err := s.outbox.Append(ctx, tx, accountChanged(acc, u.Now)); err != nil {
		return effect{}, err
	}
	if err := s.tell(ctx, tx, acc, "roles_changed", u.Now); err != nil {
		return effect{}, err
	}
	return effect{
		After: acc, News: append(news, more...), Changes: []change{{Path: "roles", Before: listed(u.Before.Roles), After: listed(acc.Roles)}},
	}, nil
}

const rolesReload = time.Minute // when nobody has asked for newer ones

// watchRoles keeps the table of this process's own verifier.
func (s *Service) watchRoles(ctx context.Context) error {
	tick := time.NewTicker(rolesReload)
	defer tick.Stop()
	for {
		if err := s.loadRoles(ctx); err != nil && ctx.Err() == nil {
			return err // started again after a pause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// loadTrust brings keys and roles up to date, for a token of a key or an epoch
// that another replica knows.
func (s *Service) loadTrust(ctx context.Context) error {
	if err := s.loadKeys(ctx); err != nil {
		return err
	}
	return s.loadRoles(ctx)
}

// loadRoles tells this process's own verifier what roles give by now.
func (s *Service) loadRoles(ctx context.Context) error {
	list, err := s.roles(ctx, s.db.Pool)
	if err != nil {
		return err
	}
	table := make([]token.Role, 0, len(list))
	for _, r := range list {
		table = append(table, token.Role{Name: r.Name, Permissions: r.Permissions, NeedsMFA: r.NeedsMFA, Epoch: r.Epoch})
	}
	s.keys.verifier.SetRoles(epochOf(list), table)
	return nil
}
