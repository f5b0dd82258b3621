package auth

import (
	"context"
	"crypto/hmac"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// clientID is who asks for tokens on a person's behalf: our own front end.
const clientID = "manas360"

const (
	saltBytes    = 32
	refreshGrace = 10 * time.Second // two tabs, or a lost answer

	longestSession = 30 * 24 * time.Hour
	adminSession   = 12 * time.Hour
	adminIdle      = 30 * time.Minute
)

// grant is a session just opened or renewed.
type grant struct {
	Access     string
	AccessTTL  time.Duration
	Refresh    string
	RefreshTTL time.Duration
	Account    account
	InForce    []string // permissions of this session
	Device     string   // of a session just opened: what makes the device known
}

// openSession writes a session and its audit event.
func (s *Service) openSession(ctx context.Context, tx pg.Tx, acc account, amr []string, c *token.Caller, now time.Time) (session, error) {
	salt, err := randomBytes(s.rand, saltBytes)
	if err != nil {
		return session{}, err
	}
	idle, longest := s.c.RefreshTTL.Std(), longestSession
	if acc.NeedsMFA {
		idle, longest = min(idle, adminIdle), adminSession
	}
	x := session{
		ID: s.ids.New(), AccountID: acc.ID, Salt: salt, Counter: 1, RotatedAt: now, AMR: amr, AuthTime: now,
		UserAgent: plain(c.UserAgent, 256), IP: plain(c.ClientIP, 64), CreatedAt: now, LastSeenAt: now,
		IdleSeconds: int(idle / time.Second), ExpiresAt: now.Add(longest),
	}
	x.IdleUntil = earlier(now.Add(idle), x.ExpiresAt)
	device, err := s.noteDevice(ctx, tx, acc, c, now)
	if err != nil {
		return session{}, err
	}
	x.DeviceID = &device
	if err := s.insertSession(ctx, tx, x); err != nil {
		return session{}, err
	}
	if err := s.noteActive(ctx, tx, acc.ID, now); err != nil {
		return session{}, err
	}
	return x, s.record(ctx, tx, c, now, act{
		Action: trail.SessionOpened, Actor: userActor(acc.ID, x.ID), Targets: []target{userTarget(acc.ID), sessionTarget(x.ID)}, Outcome: success,
	})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// grant mints the tokens of a session as it is now.
func (s *Service) grant(x session, acc account, now time.Time) (grant, error) {
	g := grant{
		AccessTTL: s.c.AccessTTL.Std(), Refresh: s.refreshText(x),
		RefreshTTL: x.IdleUntil.Sub(now).Round(time.Second), // minting takes a moment; the client is told the whole life
		Account:    acc, InForce: acc.inForce(x.AMR),
	}
	if x.DeviceID != nil && x.Counter == 1 {
		g.Device = s.deviceToken(*x.DeviceID)
	}
	var err error
	g.Access, err = s.keys.sign(token.Claims{
		Issuer: s.c.Issuer, Audience: s.c.Audience, ClientID: clientID, Subject: id.Format("usr", acc.ID), SessionID: id.Format("ses", x.ID),
		JTI: s.ids.New().String(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(g.AccessTTL).Unix(),
		Roles: acc.Roles, Permissions: g.InForce, Plan: acc.Plan, Features: acc.Features, EntitledUntil: acc.entitledUntil(), Epoch: acc.Epoch,
		AMR: x.AMR, AuthTime: x.AuthTime.Unix(), MFAPending: acc.owesFactor(x.AMR), LegalPending: s.owesLegal(acc), RolesEpoch: acc.RolesEpoch,
	})
	return g, err
}

// refresh rotates the token of a session. Fails with INVALID_REFRESH_TOKEN, or
// with REFRESH_REUSED after ending the session.
func (s *Service) refresh(ctx context.Context, raw string, c *token.Caller) (grant, error) {
	t, ok := parseRefresh(raw)
	if !ok {
		return grant{}, badRefresh()
	}
	now := s.now()
	what, err := s.outbox.Row(ctx, auditEvent(act{
		Action: trail.SessionRefreshed, Actor: userActor(t.Account, t.Session), Targets: []target{userTarget(t.Account), sessionTarget(t.Session)}, Outcome: success,
	}, c, now))
	if err != nil {
		return grant{}, err
	}
	r, rotated, err := s.rotate(ctx, t, s.refreshKey(t), what, now)
	if err != nil {
		return grant{}, err
	}
	if !rotated {
		return s.repeat(ctx, t, c, now)
	}
	if err := s.cameBack(ctx, session{LastSeenAt: r.SeenBefore}, session{AccountID: t.Account, LastSeenAt: now}); err != nil {
		return grant{}, err
	}
	return s.grant(session{
		ID: t.Session, AccountID: t.Account, Salt: r.Salt, Counter: t.Counter + 1, AMR: r.AMR, AuthTime: r.AuthTime, IdleUntil: r.IdleUntil,
	}, r.account, now)
}

// repeat answers a token that could not be rotated: forged, ended, or not the
// current one.
func (s *Service) repeat(ctx context.Context, t refreshToken, c *token.Caller, now time.Time) (grant, error) {
	x, found, err := s.session(ctx, s.db.Pool, t.Session)
	if err != nil {
		return grant{}, err
	}
	// A forged or damaged token touches nothing: else anyone could end
	// sessions by guessing.
	if !found || x.AccountID != t.Account || !hmac.Equal(t.Tag[:], refreshTag(x.Salt, s.refreshKey(t))) {
		return grant{}, badRefresh()
	}
	if err := s.explain(ctx, x, t.Counter, c, now); err != nil {
		return grant{}, err
	}
	acc, found, err := s.account(ctx, s.db.Pool, x.AccountID)
	if err != nil {
		return grant{}, err
	}
	if !found || acc.State != stateActive {
		return grant{}, badRefresh()
	}
	return s.grant(x, acc, now)
}

func badRefresh() error {
	return fail.New(fail.InvalidRefreshToken, "the session has ended, sign in again")
}

// explain decides about a genuine token that is not the current one: nil for its
// successor again within the grace, the end of the session after it.
func (s *Service) explain(ctx context.Context, x session, counter int64, c *token.Caller, now time.Time) error {
	switch {
	case !x.live(now) || counter >= x.Counter:
		return badRefresh()
	case counter == x.Counter-1 && now.Sub(x.RotatedAt) <= refreshGrace:
		return nil
	}
	return s.reused(ctx, x, c, now)
}

// reused ends a session whose old token came back: it was copied.
func (s *Service) reused(ctx context.Context, x session, c *token.Caller, now time.Time) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		ended, revoked, err := s.end(ctx, tx, x.AccountID, x.ID, "refresh token reused", now)
		if err != nil || !ended {
			return err
		}
		news = revoked
		acc, found, err := s.account(ctx, tx, x.AccountID)
		if err != nil {
			return err
		}
		if found {
			m := mail{To: acc.Email, Template: "session_reuse", Locale: acc.Locale, Name: acc.FirstName}
			if err := s.queueMail(ctx, tx, m, now); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.SessionReuseDetected, Actor: anonymous, Targets: []target{userTarget(x.AccountID), sessionTarget(x.ID)}, Outcome: denied,
		})
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return fail.New(fail.RefreshReused, "this session was ended because its token was used twice")
}
