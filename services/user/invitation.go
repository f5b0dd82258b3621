package user

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	invitationTTL   = 7 * 24 * time.Hour
	invitationBytes = 32 // of randomness: the token is only ever compared by hash
	resendGap       = time.Minute
	mailWindow      = 24 * time.Hour
	mailsToOne      = 5   // in mailWindow: an address is not flooded by inviting it again and again
	mailsOfOrg      = 500 // in mailWindow: nobody sends bulk mail with our name on it
	longestAddress  = 254
)

// invitation is a row.
type invitation struct {
	ID         uuid.UUID
	OrgID      uuid.UUID
	OrgName    string
	Email      string
	Role       string
	Locale     string
	InvitedBy  uuid.UUID
	CreatedAt  time.Time
	SentAt     time.Time
	ExpiresAt  time.Time
	AcceptedAt *time.Time
	RevokedAt  *time.Time
}

func (i invitation) at() cursor { return cursor{Time: i.CreatedAt, ID: i.ID} }

// state is where it stands.
func (i invitation) state(now time.Time) string {
	switch {
	case i.AcceptedAt != nil:
		return "ACCEPTED"
	case i.RevokedAt != nil:
		return "REVOKED"
	case !now.Before(i.ExpiresAt):
		return "EXPIRED"
	default:
		return "OPEN"
	}
}

// noInvitation is the one answer to a token that is wrong, used, late, revoked
// or somebody else's.
func noInvitation() error { return fail.New(fail.NotFound, "there is no such invitation") }

// canonicalEmail gives the one spelling an address is compared in, the same as
// auth's. "" for what cannot be one.
func canonicalEmail(s string) string {
	s = strings.ToLower(norm.NFKC.String(strings.TrimSpace(s)))
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > longestAddress || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return ""
	}
	return s
}

// newToken draws a token and what is kept of it.
func (s *Service) newToken() (tok string, hash []byte, err error) {
	b := make([]byte, invitationBytes)
	if _, err := io.ReadFull(s.rand, b); err != nil {
		return "", nil, fmt.Errorf("read randomness: %w", err)
	}
	tok = base64.RawURLEncoding.EncodeToString(b)
	return tok, hashToken(tok), nil
}

// hashToken binds the hash to its purpose; 256 random bits need no slow one.
func hashToken(tok string) []byte {
	sum := sha256.Sum256([]byte("manas360 invitation\x00" + tok))
	return sum[:]
}

// ask is one line of inviting.
type ask struct{ Email, Role, Locale string }

// invite mails an invitation to one address.
func (s *Service) invite(ctx context.Context, caller *token.Caller, orgID uuid.UUID, a ask) (i invitation, err error) {
	tok, hash, err := s.newToken()
	if err != nil {
		return i, err
	}
	id := s.ids.New()
	err = s.inOrg(ctx, caller, orgID, func(ctx context.Context, tx pg.Tx, o organization) error {
		if !mayGrant(o.Role, a.Role) {
			return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
		}
		email := canonicalEmail(a.Email)
		if email == "" {
			return badField("email", "is not an address")
		}
		now := s.now()
		if err := s.askable(ctx, tx, orgID, email, now); err != nil {
			return err
		}
		seats, err := s.lockSeats(ctx, tx, o.PayerID)
		if err != nil {
			return err
		}
		i = invitation{
			ID: id, OrgID: orgID, OrgName: o.Name, Email: email, Role: a.Role, Locale: cmp.Or(a.Locale, caller.Locale, "en"),
			InvitedBy: caller.UserID, CreatedAt: now, SentAt: now, ExpiresAt: now.Add(invitationTTL),
		}
		if err := s.insertInvitation(ctx, tx, i, hash); err != nil {
			return err
		}
		if err := s.checkSeats(ctx, tx, o.PayerID, seats); err != nil {
			return err
		}
		if err := s.outbox.Append(ctx, tx, s.invited(i, o.Name, tok)); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{
			Action: trail.InvitationCreated, Targets: []target{orgTarget(orgID), invitationTarget(id)}, Changes: []change{{Path: "role", After: a.Role}},
		})
	})
	return i, err
}

// askable refuses an address that is in or asked already, or has had enough
// mail. An invitation that has run out makes way.
func (s *Service) askable(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string, now time.Time) error {
	in, err := s.emailIn(ctx, tx, orgID, email)
	if err != nil {
		return err
	}
	if in {
		return fail.New(fail.Conflict, "this person is in the organization already")
	}
	if err := s.revokeExpired(ctx, tx, orgID, email, now); err != nil {
		return err
	}
	open, err := s.openTo(ctx, tx, orgID, email)
	if err != nil {
		return err
	}
	if open {
		return fail.New(fail.Conflict, "this address is invited already")
	}
	return s.checkMails(ctx, tx, orgID, email, now)
}

func (s *Service) checkMails(ctx context.Context, tx pg.Tx, orgID uuid.UUID, email string, now time.Time) error {
	m, err := s.mails(ctx, tx, orgID, email, now.Add(-mailWindow))
	if err != nil {
		return err
	}
	if m.ToOne >= mailsToOne || m.All >= mailsOfOrg {
		return fail.New(fail.RateLimited, "too many invitations today").RetryAfter(time.Hour)
	}
	return nil
}

// line is what became of one address of many.
type line struct {
	Email      string
	Invitation *invitation
	Err        *fail.Error
}

// inviteAll invites addresses one by one: a bad line spoils no other. What
// refuses them all is the error.
func (s *Service) inviteAll(ctx context.Context, caller *token.Caller, orgID uuid.UUID, emails []string, role, locale string) ([]line, error) {
	err := s.inOrg(ctx, caller, orgID, func(_ context.Context, _ pg.Tx, o organization) error {
		if !mayGrant(o.Role, role) {
			return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]line, 0, len(emails))
	for _, email := range emails {
		i, err := s.invite(ctx, caller, orgID, ask{Email: email, Role: role, Locale: locale})
		refusal, refused := fail.As(err)
		switch {
		case err == nil:
			out = append(out, line{Email: email, Invitation: &i})
		case refused && ctx.Err() == nil:
			out = append(out, line{Email: email, Err: refusal})
		default:
			return nil, err // those sent stand; a repetition answers CONFLICT for them
		}
	}
	return out, nil
}

// resend mails a new token and kills the old one.
func (s *Service) resend(ctx context.Context, caller *token.Caller, orgID, id uuid.UUID) (i invitation, err error) {
	tok, hash, err := s.newToken()
	if err != nil {
		return i, err
	}
	err = s.inOrg(ctx, caller, orgID, func(ctx context.Context, tx pg.Tx, o organization) error {
		was, found, err := s.invitation(ctx, tx, orgID, id)
		if err != nil {
			return err
		}
		now := s.now()
		switch {
		case !found:
			return noInvitation()
		case was.AcceptedAt != nil || was.RevokedAt != nil:
			return fail.New(fail.Conflict, "the invitation is no longer open")
		case !mayGrant(o.Role, was.Role):
			return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
		case now.Before(was.SentAt.Add(resendGap)):
			return fail.New(fail.RateLimited, "it was sent a moment ago").RetryAfter(was.SentAt.Add(resendGap).Sub(now))
		}
		if err := s.checkMails(ctx, tx, orgID, was.Email, now); err != nil {
			return err
		}
		seats, err := s.lockSeats(ctx, tx, o.PayerID)
		if err != nil {
			return err
		}
		i = was
		i.InvitedBy, i.SentAt, i.ExpiresAt = caller.UserID, now, now.Add(invitationTTL) // who sends it answers for it
		if err := s.renewInvitation(ctx, tx, i, hash); err != nil {
			return err
		}
		if was.state(now) == "EXPIRED" { // it takes a seat again
			if err := s.checkSeats(ctx, tx, o.PayerID, seats); err != nil {
				return err
			}
		}
		if err := s.outbox.Append(ctx, tx, s.invited(i, o.Name, tok)); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{Action: trail.InvitationResent, Targets: []target{orgTarget(orgID), invitationTarget(id)}})
	})
	return i, err
}

// revoke ends an open invitation.
func (s *Service) revoke(ctx context.Context, caller *token.Caller, orgID, id uuid.UUID) error {
	return s.inOrg(ctx, caller, orgID, func(ctx context.Context, tx pg.Tx, o organization) error {
		was, found, err := s.invitation(ctx, tx, orgID, id)
		if err != nil {
			return err
		}
		if !found {
			return noInvitation()
		}
		if !mayGrant(o.Role, was.Role) {
			return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
		}
		ended, err := s.revokeInvitation(ctx, tx, orgID, id)
		if err != nil {
			return err
		}
		if !ended {
			return noInvitation()
		}
		return s.record(ctx, tx, caller, act{Action: trail.InvitationRevoked, Targets: []target{orgTarget(orgID), invitationTarget(id)}})
	})
}

// accept makes the caller a member by a token.
func (s *Service) accept(ctx context.Context, caller *token.Caller, tok string) (o organization, err error) {
	if _, err := s.read(ctx, caller.UserID); err != nil { // members are shown with their profiles
		return o, err
	}
	email, err := s.provedEmail(ctx, caller.UserID)
	if err != nil {
		return o, err
	}
	if email == "" {
		return o, noInvitation()
	}
	hash := hashToken(tok)
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		orgID, payer, err := s.lockInvited(ctx, tx, hash)
		if err != nil {
			return err
		}
		seats, err := s.lockSeats(ctx, tx, payer)
		if err != nil {
			return err
		}
		i, taken, err := s.takeInvitation(ctx, tx, hash, email, caller.UserID)
		if err != nil {
			return err
		}
		if !taken {
			return noInvitation()
		}
		may, err := s.inviterMay(ctx, tx, i)
		if err != nil {
			return err
		}
		if !may {
			return noInvitation()
		}
		if _, in, err := s.member(ctx, tx, orgID, caller.UserID); err != nil || in {
			return cmp.Or(err, error(fail.New(fail.Conflict, "you are in the organization already")))
		}
		if err := s.insertMember(ctx, tx, orgID, caller.UserID, i.Role); err != nil {
			return err
		}
		if err := s.tellMember(ctx, tx, orgID, payer, caller.UserID, true); err != nil {
			return err
		}
		if err := s.checkSeats(ctx, tx, payer, seats); err != nil { // the plan may have shrunk
			return err
		}
		if o, err = s.org(ctx, tx, caller.UserID, orgID); err != nil {
			return err
		}
		return s.record(ctx, tx, caller,
			act{Action: trail.InvitationAccepted, Targets: []target{orgTarget(orgID), invitationTarget(i.ID)}},
			act{
				Action: trail.OrganizationMemberAdded, Targets: []target{orgTarget(orgID), userTarget(caller.UserID)},
				Changes: []change{{Path: "role", After: i.Role}},
			})
	})
	if err != nil {
		return organization{}, err
	}
	s.outbox.Wake()
	return s.counted(ctx, o)
}

// inviterMay reports whether the inviter, at this moment, could invite so
// again (identity.md row 48).
func (s *Service) inviterMay(ctx context.Context, tx pg.Tx, i invitation) (bool, error) {
	p, err := s.activeProfile(ctx, tx, i.InvitedBy)
	if err != nil || !p {
		return false, err
	}
	m, in, err := s.member(ctx, tx, i.OrgID, i.InvitedBy)
	return in && mayRun(m.Role) && mayGrant(m.Role, i.Role), err
}

// provedEmail asks auth, not our copy: the address may have changed a moment
// ago. "" when none is proved.
func (s *Service) provedEmail(ctx context.Context, userID uuid.UUID) (string, error) {
	a, err := s.auth.account(ctx, userID)
	if err != nil {
		return "", err
	}
	if !a.EmailVerified || a.Email == nil || a.State != "ACTIVE" {
		return "", nil
	}
	return canonicalEmail(*a.Email), nil
}
