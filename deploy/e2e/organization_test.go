package e2e_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

var inviteToken = regexp.MustCompile(`#token=([A-Za-z0-9_-]{43})`)

// invitationTo reads the token from the mail.
func invitationTo(t *testing.T, email string) (token string) {
	t.Helper()
	eventually(t, patience, "an invitation to "+email, func() (bool, string) {
		mail, err := suite.messages.To(email)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mail {
			if found := inviteToken.FindStringSubmatch(m.Text); found != nil {
				token = found[1]
			}
		}
		return token != "", "no letter"
	})
	return token
}

func send(p *person, method, path string, b body) api.Call {
	return api.Call{Method: method, URL: path, Token: p.token, Body: b}
}

// fresh sends a call as a client does: a stale token is renewed once.
func (p *person) fresh(status int, code, method, path string, b body) api.Answer {
	p.t.Helper()
	if a := p.do(send(p, method, path, b)); a.Str("code") == "TOKEN_STALE" {
		p.renew()
	} else if a.Status == status && (code == "" || a.Str("code") == code) {
		return a
	}
	return p.want(status, code, send(p, method, path, b))
}

// TestOrganization brings two people together: a plan with seats, an invitation
// by mail, roles, and the wall to everybody else.
func TestOrganization(t *testing.T) {
	owner, stranger := join(t), join(t)
	org := owner.want(201, "", send(owner, "POST", "/organizations", body{"name": "Acme Care", "type": "CORPORATE"}))
	at := "/organizations/" + org.Str("id")
	if !strings.HasPrefix(org.Str("id"), "org_") || org.Str("role") != "OWNER" || org.Str("seats") != "1" || org.Str("etag") == "" {
		t.Errorf("created %s", org.Raw)
	}
	owner.want(400, "INVALID_ARGUMENT", send(owner, "POST", "/organizations", body{"name": "x", "type": "CLUB"}))
	guestAddress := "e2e-" + unique() + "@example.com"
	full := owner.want(429, "QUOTA_EXCEEDED", send(owner, "POST", at+"/invitations", body{"email": guestAddress}))
	if full.Str("limit") != "1" {
		t.Errorf("what the plan allows is not said: %s", full.Raw)
	}
	owner.buy().complete("SUCCESS")
	eventually(t, patience, "the plan's seats", func() (bool, string) {
		a := owner.get(at)
		return a.Str("seats") == "10", a.Str("seats")
	})
	i := owner.fresh(201, "", "POST", at+"/invitations", body{"email": strings.ToUpper(guestAddress), "role": "ADMIN", "locale": "hi"})
	if i.Str("email") != guestAddress || i.Str("state") != "OPEN" || strings.Contains(string(i.Raw), "token") {
		t.Errorf("invitation %s", i.Raw)
	}
	owner.fresh(409, "CONFLICT", "POST", at+"/invitations", body{"email": guestAddress})
	bulk := owner.fresh(200, "", "POST", at+"/invitations/bulk", body{"emails": []string{guestAddress, "nobody", "e2e-" + unique() + "@example.com"}})
	if len(bulk.List("results")) != 3 || bulk.Dig("invited") != float64(1) {
		t.Errorf("bulk %s", bulk.Raw)
	}
	token := invitationTo(t, guestAddress)
	stranger.want(404, "NOT_FOUND", send(stranger, "POST", "/invitations/accept", body{"token": token}))

	guest := &person{caller: newCaller(t), email: guestAddress, password: "correct horse " + unique()}
	reg := guest.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(guest.email, guest.password)})
	guest.take(guest.want(200, "", api.Call{Method: "POST", URL: "/auth/verify", Body: body{"challengeId": reg.Str("challengeId"), "code": guest.code()}}))
	mine := guest.get("/invitations").List("invitations")
	if len(mine) != 1 || mine[0]["organizationName"] != "Acme Care" {
		t.Errorf("my invitations %v", mine)
	}
	guest.fresh(200, "", "POST", "/invitations/accept", body{"token": token})
	guest.fresh(404, "NOT_FOUND", "POST", "/invitations/accept", body{"token": token})
	if members := guest.get(at + "/members").List("members"); len(members) != 2 || members[0]["role"] != "OWNER" || members[1]["userId"] != guest.id {
		t.Errorf("members %v", members)
	}
	guest.fresh(403, "PERMISSION_DENIED", "DELETE", at+"/members/"+owner.id, nil)
	owner.fresh(409, "CONFLICT", "DELETE", at+"/members/"+owner.id, nil)
	for _, c := range []api.Call{
		send(stranger, "GET", at, nil), send(stranger, "GET", at+"/members", nil), send(stranger, "DELETE", at, nil),
		send(stranger, "POST", at+"/invitations", body{"email": "a@example.com"}), send(stranger, "PATCH", at, body{"name": "Mine"}),
		send(stranger, "GET", at+"/invitations", nil), send(stranger, "GET", "/organizations/org_x", nil),
	} {
		stranger.want(404, "NOT_FOUND", c)
	}
	owner.fresh(200, "", "PATCH", at+"/members/"+guest.id, body{"role": "MEMBER"})
	guest.fresh(403, "PERMISSION_DENIED", "POST", at+"/invitations", body{"email": "a@example.com"})
	renamed := owner.fresh(200, "", "PATCH", at, body{"name": "Acme"})
	if renamed.Str("name") != "Acme" {
		t.Errorf("renamed %s", renamed.Raw)
	}
	guest.fresh(204, "", "DELETE", at+"/members/"+guest.id, nil)
	owner.fresh(204, "", "DELETE", at, nil)
	owner.fresh(404, "NOT_FOUND", "GET", at, nil)
}

// TestConsentsAndPreferences keeps what a person agreed to and wants.
func TestConsentsAndPreferences(t *testing.T) {
	p := join(t)
	list, _ := p.until(patience, 200, "", send(p, "GET", "/users/me/consents", nil))
	eventually(t, patience, "the consent of registration", func() (bool, string) {
		list = p.get("/users/me/consents")
		return len(list.List("consents")) == 1, string(list.Raw)
	})
	if c := list.List("consents")[0]; c["document"] != "TERMS" || c["version"] != "2026-01" || c["granted"] != true {
		t.Errorf("the first consent is %v", c)
	}
	p.fresh(201, "", "POST", "/users/me/consents", body{"document": "MARKETING", "version": "1", "granted": false})
	p.fresh(400, "INVALID_ARGUMENT", "POST", "/users/me/consents", body{"document": "MARKETING", "version": "1"})
	prefs := p.get("/users/me/preferences")
	if marketing, ok := prefs.Dig("marketingChannels").([]any); !ok || len(marketing) != 0 {
		t.Errorf("preferences %s", prefs.Raw)
	}
	now := p.fresh(200, "", "PATCH", "/users/me/preferences", body{"reducedMotion": true, "quietHours": body{"enabled": true}})
	if now.Dig("reducedMotion") != true || now.Dig("quietHours", "enabled") != true || now.Str("quietHours", "start") != "22:00" {
		t.Errorf("changed %s", now.Raw)
	}
}

// TestTherapist verifies a professional: the role comes with the next token and
// goes with the suspension.
func TestTherapist(t *testing.T) {
	p, admin := join(t), signInSuperadmin(t)
	p.fresh(404, "NOT_FOUND", "GET", "/users/me/therapist-profile", nil)
	p.fresh(200, "", "PUT", "/users/me/therapist-profile", body{
		"type": "PSYCHOLOGIST", "specializations": []string{"anxiety " + unique()}, "experienceYears": 7, "licenseNumber": "RCI A1", "languages": []string{"en"},
	})
	if got := p.fresh(200, "", "POST", "/users/me/therapist-profile/submit", body{}); got.Str("state") != "PENDING" {
		t.Errorf("submitted %s", got.Raw)
	}
	at := "/admin/therapists/" + p.id
	p.fresh(403, "PERMISSION_DENIED", "POST", at+"/verify", body{"reason": "I am good at it"})
	admin.want(400, "INVALID_ARGUMENT", send(admin, "POST", at+"/verify", body{"reason": "ok"}))
	roles := func(want bool) {
		t.Helper()
		eventually(t, patience, "the role therapist", func() (bool, string) {
			list, _ := p.renew().Dig("user", "roles").([]any)
			return slices.Contains(list, any("therapist")) == want, "roles"
		})
	}
	if got := admin.want(200, "", send(admin, "PATCH", at+"/verify", body{"verified": true, "notes": "the council lists the licence"})); got.Str("state") != "VERIFIED" {
		t.Errorf("verified %s", got.Raw)
	}
	roles(true)
	if got := p.get("/therapists/" + p.id); got.Str("displayName") != "Asha Rao" || got.Dig("licenseNumber") != nil {
		t.Errorf("shown %s", got.Raw)
	}
	admin.want(200, "", send(admin, "POST", at+"/suspend", body{"reason": "a complaint is looked at"}))
	roles(false)
	p.fresh(404, "NOT_FOUND", "GET", "/therapists/"+p.id, nil)
}
