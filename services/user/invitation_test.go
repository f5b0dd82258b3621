package user

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// TestInvitationRefused tries every token that must not open the door.
// identity.md row 48
func TestInvitationRefused(t *testing.T) {
	r := newRig(t)
	owner := r.join("owner@example.com")
	r.plan(owner, 2, -1)
	org := r.org(owner, "Acme").GetId()
	n := 0
	// asked makes an admin who invites somebody, and gives all three.
	asked := func() (admin, guest human, i *userv1.Invitation, tok string) {
		n++
		admin, guest = r.join(fmt.Sprintf("admin%d@example.com", n)), r.join(fmt.Sprintf("guest%d@example.com", n))
		r.bring(owner, org, admin, userv1.Member_ADMIN)
		i = must[*userv1.Invitation](t)(r.invite(admin, org, guest.GetEmail(), userv1.Member_ADMIN))
		return admin, guest, i, r.token(guest.GetEmail())
	}
	role := func(of human, to userv1.Member_Role) {
		must[*userv1.UpdateMemberResponse](t)(r.orgs.UpdateMember(owner.ctx(), &userv1.UpdateMemberRequest{Id: org, UserId: of.name(), Role: to}))
	}
	sql := func(query string, args ...any) {
		if _, err := r.db.Pool.Exec(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(admin, guest human, i *userv1.Invitation, tok *string) human{
		"by another account":     func(admin, _ human, _ *userv1.Invitation, _ *string) human { return r.join("thief@example.com") },
		"by the inviter":         func(admin, _ human, _ *userv1.Invitation, _ *string) human { return admin },
		"by an unproved address": func(_, guest human, _ *userv1.Invitation, _ *string) human { guest.EmailVerified = false; return guest },
		"after the address changed": func(_, guest human, _ *userv1.Invitation, _ *string) human {
			guest.Email = new("elsewhere@example.com") // auth knows; our copy does not yet
			return guest
		},
		"by a suspended account": func(_, guest human, _ *userv1.Invitation, _ *string) human {
			guest.State = authv1.Account_SUSPENDED
			return guest
		},
		"revoked": func(_, guest human, i *userv1.Invitation, _ *string) human {
			must[*userv1.RevokeInvitationResponse](t)(r.orgs.RevokeInvitation(owner.ctx(), &userv1.RevokeInvitationRequest{Id: org, InvitationId: i.GetId()}))
			return guest
		},
		"the old one after a resend": func(admin, guest human, i *userv1.Invitation, _ *string) human {
			r.clock.move(resendGap)
			must[*userv1.ResendInvitationResponse](t)(r.orgs.ResendInvitation(admin.ctx(), &userv1.ResendInvitationRequest{Id: org, InvitationId: i.GetId()}))
			return guest
		},
		"its inviter was removed": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			must[*userv1.RemoveMemberResponse](t)(r.orgs.RemoveMember(owner.ctx(), &userv1.RemoveMemberRequest{Id: org, UserId: admin.name()}))
			return guest
		},
		"its inviter was lowered": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			role(admin, userv1.Member_MEMBER)
			return guest
		},
		"its inviter was lowered behind our back": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			sql(`UPDATE users.org_member SET role = 'MEMBER' WHERE user_id = $1`, admin.id())
			return guest
		},
		"its inviter is gone behind our back": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			sql(`DELETE FROM users.org_member WHERE user_id = $1`, admin.id())
			return guest
		},
		"its inviter was suspended": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			admin.State = authv1.Account_SUSPENDED
			r.deliver("auth", &authv1.AccountChanged{Account: admin.Account, Version: 9})
			return guest
		},
		"to be an owner, by one who is no longer": func(admin, guest human, _ *userv1.Invitation, _ *string) human {
			sql(`UPDATE users.invitation SET role = 'OWNER' WHERE invited_by = $1`, admin.id())
			return guest
		},
		"expired by 1 ms": func(_, guest human, i *userv1.Invitation, _ *string) human {
			r.clock.move(i.GetExpiresAt().AsTime().Add(time.Millisecond).Sub(r.now()))
			return guest
		},
		"at its very end": func(_, guest human, i *userv1.Invitation, _ *string) human {
			r.clock.move(i.GetExpiresAt().AsTime().Sub(r.now()))
			return guest
		},
		"cut short":   func(_, guest human, _ *userv1.Invitation, tok *string) human { *tok = (*tok)[:42]; return guest },
		"made longer": func(_, guest human, _ *userv1.Invitation, tok *string) human { *tok += "A"; return guest },
		"one bit off": func(_, guest human, _ *userv1.Invitation, tok *string) human {
			b, err := base64.RawURLEncoding.DecodeString(*tok)
			if err != nil {
				t.Fatal(err)
			}
			b[7] ^= 1
			*tok = base64.RawURLEncoding.EncodeToString(b)
			return guest
		},
		"the id instead": func(_, guest human, i *userv1.Invitation, tok *string) human { *tok = i.GetId(); return guest },
	} {
		t.Run(name, func(t *testing.T) {
			admin, guest, i, tok := asked()
			who := spoil(admin, guest, i, &tok)
			wantKind(t, name, r.accept(who, tok), fail.NotFound)
			out, err := r.orgs.GetOrganization(guest.ctx(), &userv1.GetOrganizationRequest{Id: org})
			wantKind(t, fmt.Sprintf("and yet in: %v", out), err, fail.NotFound)
		})
	}
	t.Run("reused", func(t *testing.T) {
		_, guest, _, tok := asked()
		if err := r.accept(guest, tok); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "reused", r.accept(guest, tok), fail.NotFound)
		must[*userv1.RemoveMemberResponse](t)(r.orgs.RemoveMember(guest.ctx(), &userv1.RemoveMemberRequest{Id: org, UserId: guest.name()}))
		wantKind(t, "reused after leaving", r.accept(guest, tok), fail.NotFound)
	})
	t.Run("1 ms before its end", func(t *testing.T) {
		_, guest, i, tok := asked()
		r.clock.move(i.GetExpiresAt().AsTime().Add(-time.Millisecond).Sub(r.now()))
		if err := r.accept(guest, tok); err != nil {
			t.Error(err)
		}
	})
	t.Run("the new one after a resend", func(t *testing.T) {
		admin, guest, i, old := asked()
		_, err := r.orgs.ResendInvitation(admin.ctx(), &userv1.ResendInvitationRequest{Id: org, InvitationId: i.GetId()})
		wantKind(t, "resent at once", err, fail.RateLimited)
		r.clock.move(invitationTTL + time.Hour) // it has run out meanwhile
		must[*userv1.ResendInvitationResponse](t)(r.orgs.ResendInvitation(admin.ctx(), &userv1.ResendInvitationRequest{Id: org, InvitationId: i.GetId()}))
		if n := len(r.audited("invitation.resent")); n == 0 {
			t.Error("sent again without an event")
		}
		tok := r.token(guest.GetEmail())
		if tok == old {
			t.Fatal("the same token again")
		}
		if err := r.accept(guest, tok); err != nil {
			t.Error(err)
		}
	})
}

// TestAcceptOnce lets 32 tabs accept one invitation: one of them does.
// identity.md row 48
func TestAcceptOnce(t *testing.T) {
	r := newRig(t)
	owner, guest := r.join("owner@example.com"), r.join("guest@example.com")
	r.plan(owner, 2, 2)
	org := r.org(owner, "Acme").GetId()
	must[*userv1.Invitation](t)(r.invite(owner, org, guest.GetEmail(), userv1.Member_MEMBER))
	tok := r.token(guest.GetEmail())
	errs := make([]error, 32)
	r.race(len(errs), func(i int) { errs[i] = r.accept(guest, tok) })
	accepted := 0
	for _, err := range errs {
		if err == nil {
			accepted++
		} else {
			wantKind(t, "a second acceptance", err, fail.NotFound)
		}
	}
	if n := len(r.audited("organization.member_added")); accepted != 1 || n != 1 {
		t.Errorf("%d accepted, %d on record, want 1", accepted, n)
	}
}

// TestInvitationIsKeptAsAHash looks for the token where it must not be, and for
// the link where it must.
func TestInvitationIsKeptAsAHash(t *testing.T) {
	r := newRig(t)
	owner := r.join("owner@example.com")
	r.plan(owner, 2, 3)
	org := r.org(owner, "Acme")
	i := must[*userv1.Invitation](t)(r.invite(owner, org.GetId(), " Ravi@Example.COM ", userv1.Member_MEMBER))
	if i.GetEmail() != "ravi@example.com" || i.GetState() != userv1.Invitation_OPEN {
		t.Errorf("invitation %v", i)
	}
	notices := events(r, "auth", func() *authv1.NoticeRequested { return &authv1.NoticeRequested{} })
	if len(notices) != 1 {
		t.Fatalf("%d notices, want 1", len(notices))
	}
	n := notices[0]
	link := n.GetParams()["link"]
	if n.GetTemplate() != "invitation" || n.GetEmail() != "ravi@example.com" || len(n.GetUserId()) != 0 || n.GetLocale() != "en" ||
		n.GetParams()["detail"] != "Acme" || !strings.HasPrefix(link, "/invitations#token=") {
		t.Errorf("notice %v", n)
	}
	tok := r.token("ravi@example.com")
	if b, err := base64.RawURLEncoding.DecodeString(tok); err != nil || len(b) != 32 {
		t.Errorf("token %q of %d bytes, %v", tok, len(b), err)
	}
	var kept int
	err := r.db.Pool.QueryRow(t.Context(), `
SELECT count(*) FROM users.invitation AS i WHERE strpos(row_to_json(i)::text, $1) > 0 OR token_hash = $2`, tok, []byte(tok)).Scan(&kept)
	if err != nil || kept != 0 {
		t.Errorf("%d rows hold the token, %v", kept, err)
	}
	for _, ev := range r.audited("invitation.created") {
		if s := ev.String(); strings.Contains(s, tok) || strings.Contains(s, "ravi") {
			t.Errorf("the record tells too much: %s", s)
		}
	}
}

// TestAddressesMeet spells one address in many ways, and another that looks
// alike.
// identity.md row 47
func TestAddressesMeet(t *testing.T) {
	for _, s := range []string{"asha@example.com", " ASHA@example.COM ", "ａｓｈａ@example.com", "asha@ｅxample.com", "\tasha@example.com\n"} {
		if got := canonicalEmail(s); got != "asha@example.com" {
			t.Errorf("canonicalEmail(%q) = %q", s, got)
		}
	}
	for _, s := range []string{
		"", "@example.com", "asha@", "asha", "as ha@example.com", "asha\u200b@example.com", "asha@exa\u202emple.com", "asha\u00ad@example.com",
		"asha\x00@example.com", "asha\u2060@example.com", "\ufeffasha@example.com", strings.Repeat("a", 250) + "@x.in",
	} {
		if got := canonicalEmail(s); got != "" {
			t.Errorf("canonicalEmail(%q) = %q, want a refusal", s, got)
		}
	}
	r := newRig(t)
	owner := r.join("owner@example.com")
	r.plan(owner, 2, -1)
	org := r.org(owner, "Acme").GetId()
	must[*userv1.Invitation](t)(r.invite(owner, org, "asha@example.com", userv1.Member_MEMBER))
	tok := r.token("asha@example.com")
	for _, twin := range []string{"аsha@example.com", "asha@exаmple.com", "asha@example.co", "asha+1@example.com", "аshа@еxаmplе.com"} { // Cyrillic letters among them
		wantKind(t, twin, r.accept(r.join(twin), tok), fail.NotFound)
	}
	if err := r.accept(r.join("Asha@Example.com"), tok); err != nil {
		t.Errorf("the one it was for: %v", err)
	}
	_, err := r.invite(owner, org, "ＡSHA@example.com", userv1.Member_MEMBER)
	if err == nil { // the copy of the profile holds auth's spelling, which is canonical there
		t.Log("a member with an address auth never writes")
	}
}

// TestBulk invites a list with everything wrong in it: each line by itself.
func TestBulk(t *testing.T) {
	r := newRig(t)
	owner, in := r.join("owner@example.com"), r.join("in@example.com")
	r.plan(owner, 2, 4)
	org := r.org(owner, "Acme").GetId()
	r.bring(owner, org, in, userv1.Member_ADMIN)
	out := must[*userv1.BulkCreateInvitationsResponse](t)(r.orgs.BulkCreateInvitations(owner.ctx(), &userv1.BulkCreateInvitationsRequest{
		Id: org, Emails: []string{"a@example.com", "not an address", "A@example.com", "in@example.com", "b@example.com", "c@example.com"},
	}))
	var codes []string
	for _, res := range out.GetResults() {
		codes = append(codes, res.GetCode())
	}
	want := []string{"", "INVALID_ARGUMENT", "CONFLICT", "CONFLICT", "", "QUOTA_EXCEEDED"}
	if diff := cmp.Diff(want, codes); diff != "" || out.GetInvited() != 2 {
		t.Errorf("invited %d, codes (-want +got):\n%s", out.GetInvited(), diff)
	}
	_, err := r.orgs.BulkCreateInvitations(in.ctx(), &userv1.BulkCreateInvitationsRequest{Id: org, Emails: []string{"x@example.com"}, Role: userv1.Member_OWNER})
	wantKind(t, "an admin makes owners", err, fail.PermissionDenied)
}

// TestMailIsBounded keeps an organization from filling somebody's mailbox.
func TestMailIsBounded(t *testing.T) {
	r := newRig(t)
	owner := r.join("owner@example.com")
	r.plan(owner, 2, -1)
	org := r.org(owner, "Acme").GetId()
	ask := func() error {
		i, err := r.invite(owner, org, "victim@example.com", userv1.Member_MEMBER)
		if err == nil {
			must[*userv1.RevokeInvitationResponse](t)(r.orgs.RevokeInvitation(owner.ctx(), &userv1.RevokeInvitationRequest{Id: org, InvitationId: i.GetId()}))
		}
		return err
	}
	for range mailsToOne {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "one too many", ask(), fail.RateLimited)
	r.clock.move(mailWindow + time.Second)
	if err := ask(); err != nil {
		t.Errorf("a day later: %v", err)
	}
}

// TestMyInvitations shows the open ones to who proved the address, and no one
// who is in the organization.
func TestMyInvitations(t *testing.T) {
	r := newRig(t)
	owner, guest := r.join("owner@example.com"), r.join("guest@example.com")
	r.plan(owner, 2, 5)
	org := r.org(owner, "Acme")
	must[*userv1.Invitation](t)(r.invite(owner, org.GetId(), guest.GetEmail(), userv1.Member_ADMIN))
	mine := func() []*userv1.Invitation {
		return must[*userv1.ListMyInvitationsResponse](t)(r.orgs.ListMyInvitations(guest.ctx(), &userv1.ListMyInvitationsRequest{})).GetInvitations()
	}
	got := mine()
	if len(got) != 1 || got[0].GetOrganizationName() != "Acme" || got[0].GetInvitedBy() != "" || got[0].GetRole() != userv1.Member_ADMIN {
		t.Errorf("mine: %v", got)
	}
	guest.EmailVerified = false
	if got := mine(); len(got) != 0 {
		t.Errorf("shown to an unproved address: %v", got)
	}
	guest.EmailVerified = true
	r.clock.move(invitationTTL)
	if got := mine(); len(got) != 0 {
		t.Errorf("expired, yet shown: %v", got)
	}
}
