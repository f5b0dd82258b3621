package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/deploy/internal/judge"
)

// What a page of ours does with a passkey, in as many words.
const (
	enrolPasskey = `(async token => {
	const call = (path, body) => fetch('/api/v1' + path, {method: 'POST', body: JSON.stringify(body),
		headers: {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + token}}).then(r => r.json());
	const options = await call('/auth/passkeys/register/begin', {});
	const made = await navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)});
	return JSON.stringify(await call('/auth/passkeys/register/finish', made.toJSON()));
})`
	signInByPasskey = `(async () => {
	const call = (path, body) => fetch('/api/v1' + path, {method: 'POST', body: JSON.stringify(body),
		headers: {'Content-Type': 'application/json'}}).then(r => r.json());
	const options = await call('/auth/passkeys/login/begin', {});
	const shown = await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)});
	return JSON.stringify(await call('/auth/passkeys/login/finish', shown.toJSON()));
})`
	secondFactorByPasskey = `(async (email, password) => {
	const call = (path, body) => fetch('/api/v1' + path, {method: 'POST', body: JSON.stringify(body),
		headers: {'Content-Type': 'application/json'}}).then(r => r.json());
	const {mfaToken} = await call('/auth/login', {email, password});
	const {ceremonyId, publicKey} = await call('/auth/mfa/passkey/begin', {mfaToken});
	const shown = await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey)});
	return JSON.stringify(await call('/auth/mfa/passkey/finish', {mfaToken, ceremonyId, credential: shown.toJSON()}));
})`
)

// A real browser makes a passkey, signs in with it and answers with it for the
// second factor; only the key itself is a virtual one of Chromium's.
func TestPasskeyInChromium(t *testing.T) {
	p := join(t)
	ctx := browser(t)
	var made, alone, second string
	err := chromedp.Run(ctx,
		webauthn.Enable(),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			}).Do(ctx)
			return err
		}),
		page.SetBypassCSP(true), // the page is the API's own, which runs no scripts
		chromedp.Navigate("http://localhost:"+strconv.Itoa(suite.Port)+"/docs"),
		chromedp.Evaluate(enrolPasskey+`("`+p.token+`")`, &made, awaited),
	)
	if err != nil {
		t.Fatal(err)
	}
	var key struct {
		ID            string
		RecoveryCodes []string
	}
	if err := json.Unmarshal([]byte(made), &key); err != nil || key.ID == "" || len(key.RecoveryCodes) != 10 {
		t.Fatalf("registered %s, %v", made, err)
	}
	p.renew() // the first factor makes tokens stale
	p.want(204, "", api.Call{Method: "POST", URL: "/auth/logout", Token: p.token})
	p.until(atOnce, 401, "", p.me())
	err = chromedp.Run(ctx,
		chromedp.Evaluate(signInByPasskey+`()`, &alone, awaited),
		chromedp.Evaluate(secondFactorByPasskey+`("`+p.email+`", "`+p.password+`")`, &second, awaited),
	)
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[string][]any{alone: {"hwk", "user", "mfa"}, second: {"pwd", "hwk", "user", "mfa"}} {
		var grant struct {
			AccessToken string
			User        struct {
				ID         string
				MfaEnabled bool
			}
		}
		if err := json.Unmarshal([]byte(answer), &grant); err != nil || grant.User.ID != p.id || !grant.User.MfaEnabled {
			t.Fatalf("signed in as %s, %v", answer, err)
		}
		if amr, _ := claimsOf(t, grant.AccessToken, "amr").([]any); !slices.Equal(amr, want) {
			t.Errorf("amr %v, want %v", amr, want)
		}
		p.token = grant.AccessToken
		p.want(200, "", p.me())
	}
	list := p.get("/auth/passkeys").List("passkeys")
	if len(list) != 1 || list[0]["id"] != key.ID || list[0]["lastUsedAt"] == nil || list[0]["flagged"] != false {
		t.Errorf("listed %v", list)
	}
	p.want(204, "", api.Call{Method: "DELETE", URL: "/auth/passkeys/" + key.ID, Token: p.token})
	p.until(atOnce, 401, "TOKEN_STALE", p.me()) // what it has shown is gone
	p.login()
}

func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// profileDir is a folder that Chromium may still write to while it dies: its
// remains are nobody's business.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "manas-chromium-") //nolint:usetesting // t.TempDir fails the test over a remaining file
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// browser is a Chromium of the test's own.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(judge.Tool(t, "chromium", "chromium")), chromedp.UserDataDir(profileDir(t)), chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.DisableGPU)
	alloc, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	ctx, end := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(end)
	return ctx
}
