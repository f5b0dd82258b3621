package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	impersonateLife   = 15 * time.Minute
	mayImpersonate    = "users.impersonate"
	impersonatorAgent = "Manas360 support" // what the person's own list of sessions says
)

// impersonate opens a session in the name of an account below the operator's.
// It proves nothing about the person: no authentication method, no recent
// sign-in, and a second factor that the person's roles ask for stays owed. There
// is no way to renew it. It ends with the operator's own session.
func (s *Service) impersonate(ctx context.Context, c *token.Caller, userID uuid.UUID, reason string) (grant, error) {
	var x session
	acc, err := s.operate(ctx, c, userID, mayImpersonate, act{Action: trail.ImpersonationStarted, Reason: reason},
		func(ctx context.Context, tx pg.Tx, u upon) (effect, error) {
			if u.Before.State != stateActive {
				return effect{}, suspended()
			}
			if err := s.holdRoles(ctx, tx); err != nil { // what he may is still so when this commits
				return effect{}, err
			}
			live, err := s.holdSession(ctx, tx, c.UserID, c.SessionID, u.Now)
			if err != nil {
				return effect{}, err
			}
			if !live {
				return effect{}, ended()
			}
			if x, err = s.openImpersonation(ctx, tx, c, userID, u.Now); err != nil {
				return effect{}, err
			}
			if err := s.tell(ctx, tx, u.Before, "impersonated", u.Now); err != nil {
				return effect{}, err
			}
			return effect{After: u.Before, Targets: []target{sessionTarget(x.ID)}}, nil
		})
	if err != nil {
		return grant{}, err
	}
	return s.grantImpersonation(x, acc, c.UserID, s.now())
}

func (s *Service) openImpersonation(ctx context.Context, tx pg.Tx, c *token.Caller, userID uuid.UUID, now time.Time) (session, error) {
	salt, err := randomBytes(s.rand, saltBytes)
	if err != nil {
		return session{}, err
	}
	life := min(impersonateLife, s.c.AccessTTL.Std()) // authz events outlive no longer token
	x := session{
		ID: s.ids.New(), AccountID: userID, Salt: salt, UserAgent: impersonatorAgent, CreatedAt: now,
		IdleSeconds: int(life / time.Second), ExpiresAt: now.Add(life),
	}
	return x, s.insertImpersonation(ctx, tx, x, c.UserID, c.SessionID)
}

func (s *Service) grantImpersonation(x session, acc account, operator uuid.UUID, now time.Time) (grant, error) {
	none := []string{}
	g := grant{AccessTTL: x.ExpiresAt.Sub(now).Round(time.Second), Account: acc, InForce: acc.inForce(none)}
	var err error
	g.Access, err = s.keys.sign(token.Claims{
		Issuer: s.c.Issuer, Audience: s.c.Audience, ClientID: clientID, Subject: id.Format("usr", acc.ID), SessionID: sessionName(x.ID),
		JTI: s.ids.New().String(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: x.ExpiresAt.Unix(),
		Roles: acc.Roles, Permissions: g.InForce, Plan: acc.Plan, Features: acc.Features, EntitledUntil: acc.entitledUntil(), Epoch: acc.Epoch,
		AMR: none, MFAPending: acc.owesFactor(none), LegalPending: s.owesLegal(acc), RolesEpoch: acc.RolesEpoch, Actor: &token.Actor{Subject: id.Format("usr", operator)},
	})
	return g, err
}

// endImpersonations ends what an operator opened from one of his sessions; from
// all but keep when from is nil.
func (s *Service) endImpersonations(ctx context.Context, tx pg.Tx, operator, from, keep uuid.UUID, c *token.Caller, now time.Time) ([]authzEvent, error) {
	list, err := s.revokeImpersonations(ctx, tx, operator, from, keep, "the operator's session ended", now)
	if err != nil {
		return nil, err
	}
	return s.impersonationsEnded(ctx, tx, list, c, now)
}

// endUnentitled ends what was opened by operators who may not any more.
func (s *Service) endUnentitled(ctx context.Context, tx pg.Tx, c *token.Caller, now time.Time) ([]authzEvent, error) {
	list, err := s.revokeUnentitled(ctx, tx, mayImpersonate, now)
	if err != nil {
		return nil, err
	}
	return s.impersonationsEnded(ctx, tx, list, c, now)
}

func (s *Service) impersonationsEnded(ctx context.Context, tx pg.Tx, list []acted, c *token.Caller, now time.Time) ([]authzEvent, error) {
	ids, acts := make([]uuid.UUID, 0, len(list)), make([]act, 0, len(list))
	for _, x := range list {
		ids = append(ids, x.ID)
		operator := userActor(x.ImpersonatorID, uuid.Nil)
		operator.Type = "admin"
		acts = append(acts, act{
			Action: trail.ImpersonationEnded, Actor: operator, Targets: []target{userTarget(x.AccountID), sessionTarget(x.ID)}, Outcome: success,
		})
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if err := s.record(ctx, tx, c, now, acts...); err != nil {
		return nil, err
	}
	return s.recordAuthz(ctx, tx, sessionRevoked, 0, now, ids...)
}
