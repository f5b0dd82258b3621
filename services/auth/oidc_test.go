package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

// TestSignInAtProvider goes the whole way through a real provider, twice.
func TestSignInAtProvider(t *testing.T) {
	for _, mode := range []string{"", "plain"} { // e-mail in the token, or asked for
		t.Run("mode "+mode, func(t *testing.T) {
			b := newOIDCBench(t, startProvider(t, mode))
			g := b.signInAs("ravi-1|Ravi@Example.com|true")
			c, err := b.keys.verifier.Verify(g.GetAccessToken())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"fed"}, c.AMR); diff != "" || !c.LegalPending || g.GetUser().GetEmail() != "ravi@example.com" || !g.GetUser().GetEmailVerified() {
				t.Errorf("session of %v: %+v", g.GetUser(), c)
			}
			acc, _, err := b.accountByEmail(t.Context(), b.db.Pool, "ravi@example.com")
			if err != nil || acc.FirstName != "Ravi" || acc.LastName != "Iyer" || acc.Locale != "kn" {
				t.Errorf("account: %+v, %v", acc, err)
			}
			if again := b.signInAs("ravi-1|moved@example.com|true"); again.GetUser().GetId() != g.GetUser().GetId() {
				t.Error("the same person got another account")
			}
			for sql, want := range map[string]int{
				`SELECT count(*) FROM auth.account`:       1,
				`SELECT count(*) FROM auth.oidc_identity`: 1,
				`SELECT count(*) FROM auth.credential`:    0,
				`SELECT count(*) FROM auth.outbox WHERE type = 'manas.auth.v1.AccountActivated' AND destination = 'user'`: 1,
			} {
				if got := b.count(sql); got != want {
					t.Errorf("%s: got %d, want %d", sql, got, want)
				}
			}
			var notices []string
			for _, l := range b.letters() {
				notices = append(notices, l.Template+" "+l.To)
			}
			if diff := cmp.Diff([]string{"oidc_linked ravi@example.com"}, notices); diff != "" {
				t.Errorf("notices (-want +got):\n%s", diff)
			}
			_, err = b.tryLogin("ravi@example.com", goodPassword)
			wantKind(t, "a password it never had", err, fail.InvalidCredentials)
		})
	}
}

// TestSecondArrival uses one state again and again: at once, and later. No
// session. identity.md rows 6 and 12
func TestSecondArrival(t *testing.T) {
	b := newOIDCBench(t, startProvider(t, ""))
	r := b.fetch("ravi-1|ravi@example.com|true")
	got := together(16, func(int) error { _, err := b.finish(proto.CloneOf(r)); return err })
	if diff := cmp.Diff(map[string]int{"": 1, "INVALID_ARGUMENT": 15}, got); diff != "" {
		t.Errorf("sixteen arrivals (-want +got):\n%s", diff)
	}
	_, err := b.finish(r)
	wantKind(t, "replay", err, fail.InvalidArgument)
	if n := b.count(`SELECT count(*) FROM auth.session`); n != 1 {
		t.Errorf("sessions: got %d, want 1", n)
	}
}

// TestArrivalRefused is every way to come back wrong. The text of a provider
// is never repeated.
func TestArrivalRefused(t *testing.T) {
	b := newOIDCBench(t, startProvider(t, ""))
	b.configure(
		b.providers["panva"].providerConfig,
		providerConfig{Name: "other", Issuer: b.issuer, ClientID: "another", ClientSecret: "another-secret-of-thirty-two-characters"},
	)
	attacker := b.fetch("eve|eve@example.com|true")
	for _, tt := range []struct {
		name string
		edit func(r *authv1.FinishOidcRequest)
		live bool // the right arrival still succeeds afterwards
	}{
		{"unknown provider", func(r *authv1.FinishOidcRequest) { r.Provider = "nobody" }, true},
		{"another provider", func(r *authv1.FinishOidcRequest) { r.Provider = "other" }, true},
		{"no state", func(r *authv1.FinishOidcRequest) { r.State = "" }, true},
		{"state cut", func(r *authv1.FinishOidcRequest) { r.State = r.GetState()[:len(r.GetState())-1] }, true},
		{"state of another", func(r *authv1.FinishOidcRequest) { r.State = attacker.GetState() }, true},
		{"no cookie", func(r *authv1.FinishOidcRequest) { r.Flow = "" }, true},
		{"another browser's cookie", func(r *authv1.FinishOidcRequest) { r.Flow = attacker.GetFlow() }, true},
		{"code of another", func(r *authv1.FinishOidcRequest) { r.Code = attacker.GetCode() }, false}, // code injection: PKCE
		{"code made up", func(r *authv1.FinishOidcRequest) { r.Code = "x" }, false},
		{"no code", func(r *authv1.FinishOidcRequest) { r.Code = "" }, false},
		{"provider's refusal", func(r *authv1.FinishOidcRequest) { r.Error = "<script>access_denied" }, false},
		{"another issuer", func(r *authv1.FinishOidcRequest) { r.Iss = "https://evil.example" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			right := b.fetch("ravi-1|ravi@example.com|true")
			wrong := proto.CloneOf(right)
			tt.edit(wrong)
			_, err := b.finish(wrong)
			wantKind(t, tt.name, err, fail.InvalidArgument)
			if e, _ := fail.As(err); e != nil && strings.Contains(e.Msg, "script") {
				t.Errorf("repeated: %s", e.Msg)
			}
			if _, err := b.finish(right); tt.live != (err == nil) {
				t.Errorf("the right arrival afterwards: %v", err)
			}
		})
	}
	late := b.fetch("ravi-1|ravi@example.com|true")
	b.clock.pass(flowLife)
	_, err := b.finish(late)
	wantKind(t, "too late", err, fail.InvalidArgument)
}

// TestProviderDoesNotReplaceTheFactor: another's word is one factor.
func TestProviderDoesNotReplaceTheFactor(t *testing.T) {
	b := newOIDCBench(t, startProvider(t, ""))
	b.mustSeed(SeedAccount{Email: "admin@example.com", Roles: []string{"admin"}, TOTPSecret: totpSecret})
	r := b.signInAs("boss|admin@example.com|true")
	if !r.GetMfaRequired() || r.GetMfaToken() == "" || r.AccessToken != nil || !slices.Equal(r.GetFactors(), []string{"TOTP"}) {
		t.Errorf("got %v, want a demand for the factor", r)
	}
	secret, err := totp.Decode(totpSecret)
	if err != nil {
		t.Fatal(err)
	}
	done, err := b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: r.GetMfaToken(), Code: totp.Code(secret, b.now())})
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.keys.verifier.Verify(done.GetSession().GetAccessToken())
	if err != nil || !slices.Equal(c.AMR, []string{"fed", "otp", "mfa"}) {
		t.Errorf("with the factor: %v, %v", c, err)
	}
	b.exec(`UPDATE auth.account SET state = 'SUSPENDED'`)
	_, err = b.finish(b.fetch("boss|admin@example.com|true"))
	wantKind(t, "suspended", err, fail.AccountSuspended)
}

func TestProviderAway(t *testing.T) {
	b := newOIDCBench(t, "http://127.0.0.1:1")
	_, err := b.srv.StartOidc(b.visitor(), &authv1.StartOidcRequest{Provider: "panva"})
	wantKind(t, "nobody there", err, fail.Unavailable)
	_, err = b.srv.StartOidc(b.visitor(), &authv1.StartOidcRequest{Provider: "nobody"})
	wantKind(t, "nobody of that name", err, fail.InvalidArgument)
}

func (b *bench) identity(email string, verified bool) identity {
	return identity{Issuer: "https://id.example", Subject: "victim", Email: email, EmailVerified: verified, FirstName: "Asha", ProviderName: "panva"}
}

// TestPreRegistered: an attacker holds an account with the victim's address that
// he never proved. The victim signs in at a provider: nothing of the attacker's
// works any more. identity.md row 38
func TestPreRegistered(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("victim@example.com")
	key := b.mustKey(g.GetAccessToken())
	attacker := someone(b.as(g.GetAccessToken())).UserID
	b.exec(`UPDATE auth.account SET email_verified_at = NULL, phone = '+919876543210'`)
	b.exec(`INSERT INTO auth.totp (account_id, secret, created_at, confirmed_at) VALUES ($1, 'x', now(), now())`, attacker)
	b.exec(`INSERT INTO auth.recovery_code (account_id, mac, created_at) VALUES ($1, 'x', now())`, attacker)
	b.exec(`INSERT INTO auth.oidc_identity (issuer, subject, account_id, created_at) VALUES ('https://evil.example', 'x', $1, now())`, attacker)
	handle, err := b.openHandle(t.Context(), attacker)
	if err != nil {
		t.Fatal(err)
	}

	acc, err := b.welcome(b.visitor(), b.identity("victim@example.com", true), someone(b.visitor()))
	if err != nil {
		t.Fatal(err)
	}
	if acc.ID != attacker || acc.HasFactor || acc.EmailVerifiedAt == nil || acc.Phone != nil || !b.owesLegal(acc) {
		t.Errorf("account after: %+v", acc)
	}
	_, err = b.tryLogin("victim@example.com", goodPassword)
	wantKind(t, "attacker's password", err, fail.InvalidCredentials)
	_, err = b.tryRefresh(g.GetRefreshToken())
	wantKind(t, "attacker's session", err, fail.InvalidRefreshToken)
	_, err = b.exchange(key.GetSecret())
	wantKind(t, "attacker's key", err, fail.TokenRevoked)
	_, err = b.pub.VerifyMfa(b.visitor(), &authv1.VerifyMfaRequest{MfaToken: handle, Code: "000000"})
	wantKind(t, "attacker's half sign-in", err, fail.InvalidCode)
	evil := identity{Issuer: "https://evil.example", Subject: "x"}
	if _, known, err := b.accountByIdentity(t.Context(), b.db.Pool, evil); known || err != nil {
		t.Errorf("attacker's identity is still linked: %v", err)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'ACCOUNT_REVOKED' AND min_epoch = 2`); n != 1 {
		t.Errorf("tokens already out: %d events, want 1", n)
	}
	var acts []string
	for _, ev := range b.audited() {
		acts = append(acts, ev.GetAction())
	}
	for _, want := range []string{"account.reclaimed", "oidc.linked"} {
		if !slices.Contains(acts, want) {
			t.Errorf("audit has %v, want %s", acts, want)
		}
	}
}

// TestReclaimEndsImpersonations: what the one before opened as others ends with
// his own sessions. identity.md row 38
func TestReclaimEndsImpersonations(t *testing.T) {
	s := newStaff(t)
	r, err := s.impersonate(s.by(s.root), s.asha)
	if err != nil {
		t.Fatal(err)
	}
	acting := someone(s.as(r.GetAccessToken())).SessionID
	s.exec(`UPDATE auth.account SET email_verified_at = NULL WHERE id = $1`, s.root)
	if _, err := s.welcome(s.visitor(), s.identity("root@example.com", true), someone(s.visitor())); err != nil {
		t.Fatal(err)
	}
	if x, _, err := s.session(t.Context(), s.db.Pool, acting); err != nil || x.RevokedAt == nil {
		t.Errorf("the session as another: %+v, %v", x, err)
	}
	if n := s.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'SESSION_REVOKED' AND key = $1`, acting); n != 1 {
		t.Errorf("%d events for the edges, want 1", n)
	}
	if acts := s.acts("impersonation.ended"); len(acts) != 1 {
		t.Errorf("recorded %v", acts)
	}
	if _, err := s.tryRefresh(s.refresh); err != nil {
		t.Errorf("the person's own session: %v", err)
	}
}

// TestLinking is who gets which account. identity.md rows 38 and 39
func TestLinking(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ours     bool // there is an account with the address
		proved   bool // and it has proved it
		linked   bool // the identity is linked to that account
		changed  bool // whose address has changed since
		verified bool // the provider has verified the address
		want     string
	}{
		{"new", false, false, false, false, true, "new"},
		{"new, not verified", false, false, false, false, false, "refused"},
		{"ours", true, true, false, false, true, "same"},
		{"ours, not verified by the provider", true, true, false, false, false, "refused"},
		{"never proved", true, false, false, false, true, "reclaimed"},
		{"never proved, not verified", true, false, false, false, false, "refused"},
		{"linked", true, true, true, false, true, "same"},
		{"linked, not verified any more", true, true, true, false, false, "same"},
		{"linked, address changed", true, true, true, true, true, "same"},
		{"linked, address changed and not proved", true, false, true, true, true, "same"},
		{"address changed away", true, true, false, true, true, "new"},
		{"address changed away and not proved", true, false, false, true, true, "new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			who := b.identity("asha@example.com", tt.verified)
			var id string
			if tt.ours {
				id = b.mustJoin("asha@example.com").GetUser().GetId()
			}
			if tt.linked {
				b.exec(`INSERT INTO auth.oidc_identity (issuer, subject, account_id, created_at) SELECT $1, $2, id, now() FROM auth.account`, who.Issuer, who.Subject)
			}
			if tt.changed {
				b.exec(`UPDATE auth.account SET email = 'elsewhere@example.com'`)
			}
			if !tt.proved {
				b.exec(`UPDATE auth.account SET email_verified_at = NULL`)
			}
			acc, err := b.welcome(b.visitor(), who, someone(b.visitor()))
			got := "refused"
			switch phc := b.count(`SELECT count(*) FROM auth.credential WHERE account_id = $1`, acc.ID); {
			case err != nil:
				wantKind(t, tt.name, err, fail.InvalidArgument)
			case userTarget(acc.ID).ID != id:
				got = "new"
			case phc == 0:
				got = "reclaimed"
			default:
				got = "same"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s (%v)", got, tt.want, err)
			}
		})
	}
}

// TestAddressGivenAway: a provider gives an address to somebody else, who does
// not get the account with it.
func TestAddressGivenAway(t *testing.T) {
	b := newBench(t)
	who := b.identity("asha@example.com", true)
	if _, err := b.welcome(b.visitor(), who, someone(b.visitor())); err != nil {
		t.Fatal(err)
	}
	who.Subject = "the next holder"
	_, err := b.welcome(b.visitor(), who, someone(b.visitor()))
	wantKind(t, "another subject", err, fail.InvalidArgument)
	who.Issuer = "https://elsewhere.example"
	if _, err := b.welcome(b.visitor(), who, someone(b.visitor())); err != nil {
		t.Errorf("the same person at another provider: %v", err)
	}
}

// TestFirstArrivalsTogether: one person's first sign-in, from sixteen tabs.
func TestFirstArrivalsTogether(t *testing.T) {
	b := newBench(t)
	got := together(16, func(int) error {
		_, err := b.welcome(b.visitor(), b.identity("asha@example.com", true), someone(b.visitor()))
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 16}, got); diff != "" || b.count(`SELECT count(*) FROM auth.account`) != 1 {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestListOidcProviders(t *testing.T) {
	b := newOIDCBench(t, "https://id.example")
	b.configure(providerConfig{Name: "c"}, providerConfig{Name: "a"}, providerConfig{Name: "b"})
	var names []string
	for at := ""; len(names) < 10; {
		r, err := b.srv.ListOidcProviders(b.visitor(), &authv1.ListOidcProvidersRequest{PageSize: 2, PageToken: at})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.GetProviders() {
			names = append(names, p.GetName())
		}
		if at = r.GetNextPageToken(); at == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestConfigNeedsItsAudiences: no audience, no start. identity.md row 49
func TestConfigNeedsItsAudiences(t *testing.T) {
	good := newBench(t).c
	good.SMTP.TLS = "mandatory"
	const idp = `[{"name":"idp","issuer":"https://id.example","clientId":"c","clientSecret":"s"}]`
	for _, tt := range []struct {
		name string
		edit func(c *Config)
		ok   bool
	}{
		{"good", func(*Config) {}, true},
		{"no audience", func(c *Config) { c.Audience = "" }, false},
		{"no issuer", func(c *Config) { c.Issuer = "" }, false},
		{"provider", func(c *Config) { c.PublicURL, c.OIDCProviders = oidcHome, idp }, true},
		{"provider without our address", func(c *Config) { c.PublicURL, c.OIDCProviders = "", idp }, false},
		{"provider without clientId", func(c *Config) {
			c.PublicURL, c.OIDCProviders = oidcHome, strings.Replace(idp, `"c"`, `""`, 1)
		}, false},
		{"provider over http", func(c *Config) { c.PublicURL, c.OIDCProviders = oidcHome, strings.Replace(idp, "https", "http", 1) }, false},
		{"provider called nothing", func(c *Config) { c.PublicURL, c.OIDCProviders = oidcHome, strings.Replace(idp, "idp", "", 1) }, false},
		{"not JSON", func(c *Config) { c.PublicURL, c.OIDCProviders = oidcHome, "idp" }, false},
		{"twice", func(c *Config) {
			c.PublicURL, c.OIDCProviders = oidcHome, "["+strings.Trim(idp, "[]")+","+strings.Trim(idp, "[]")+"]"
		}, false},
	} {
		c := good
		tt.edit(&c)
		if err := c.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
