package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/deploy/internal/judge"
)

const consoleRoot = "/console/"

// desk is an administrator before a browser.
type desk struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the browser
	who  *person
	base string
}

func newDesk(t *testing.T, who *person) *desk {
	t.Helper()
	return &desk{t: t, ctx: browser(t), who: who, base: "http://localhost:" + strconv.Itoa(suite.Port) + consoleRoot}
}

func (d *desk) run(actions ...chromedp.Action) {
	d.t.Helper()
	if err := chromedp.Run(d.ctx, actions...); err != nil {
		var text, at string
		_ = chromedp.Run(d.ctx, chromedp.Location(&at), chromedp.Text("body", &text, chromedp.ByQuery))
		d.t.Fatalf("%v\nat %s:\n%s", err, at, text)
	}
}

// adopt gives the browser the session that the person has: a code of the
// authenticator is good once in 30 s, and signing in has a test of its own.
func (d *desk) adopt() {
	d.t.Helper()
	cookie := func(name, value string) chromedp.Action {
		return network.SetCookie(name, value).WithURL(d.base).WithPath(consoleRoot).WithHTTPOnly(true).WithSameSite(network.CookieSameSiteStrict)
	}
	d.run(cookie("console_access", d.who.token), cookie("console_refresh", d.who.refresh))
}

// page opens a page and waits for its menu.
func (d *desk) page(path string) {
	d.t.Helper()
	d.run(chromedp.Navigate(d.base+path), chromedp.WaitVisible("nav.menu", chromedp.ByQuery))
}

// form opens the form that is sent to action, fills it and sends it, and steps
// up when it is asked to. It answers what the page then says.
func (d *desk) form(action string, fields map[string]string) string {
	d.t.Helper()
	form := `form[action="` + action + `"]`
	open := `(f => { for (let e = f; e; e = e.parentElement) if (e.tagName === 'DETAILS') e.open = true })(document.querySelector(` + strconv.Quote(form) + `))`
	d.run(chromedp.WaitReady(form, chromedp.ByQuery), chromedp.Evaluate(open, nil))
	for name, value := range fields {
		d.run(chromedp.SendKeys(form+` [name="`+name+`"]`, value, chromedp.ByQuery))
	}
	d.run(chromedp.Evaluate(`window.left = true`, nil), chromedp.Click(form+` button[type="submit"]`, chromedp.ByQuery))
	var asked bool
	var said string
	d.settles(`document.querySelector('[name=_password]') !== null || document.querySelector('.note[role]') !== null`)
	d.run(chromedp.Evaluate(`document.querySelector('[name=_password]') !== null`, &asked))
	if asked {
		d.run(
			chromedp.SendKeys("[name=_password]", d.who.password, chromedp.ByQuery), chromedp.Evaluate(`window.left = true`, nil),
			chromedp.Click("main form button.main", chromedp.ByQuery),
		)
		d.settles(`document.querySelector('[name=_password]') === null && document.querySelector('.note[role]') !== null`)
	}
	d.run(chromedp.Text(".note[role]", &said, chromedp.ByQuery))
	return said
}

// settles waits until the next page is there and holds what is looked for. A
// question that a change of pages cuts off is asked again.
func (d *desk) settles(what string) {
	d.t.Helper()
	eventually(d.t, patience, what, func() (bool, string) {
		var there bool
		err := chromedp.Run(d.ctx, chromedp.Evaluate(`document.readyState === 'complete' && window.left !== true && (`+what+`)`, &there))
		return err == nil && there, fmt.Sprint(err)
	})
}

func (d *desk) says(want string) {
	d.t.Helper()
	var text string
	d.run(chromedp.Text("main", &text, chromedp.ByQuery))
	if !strings.Contains(text, want) {
		d.t.Errorf("the page does not say %q:\n%s", want, text)
	}
}

// eventIn waits until the audit log has an event about a thing.
func eventIn(t *testing.T, root *person, query string) map[string]any {
	t.Helper()
	var ev map[string]any
	eventually(t, patience, "recorded: "+query, func() (bool, string) {
		list := root.look("/audit/events?" + query).List("events")
		if len(list) == 0 {
			return false, ""
		}
		ev = list[0]
		return true, ""
	})
	return ev
}

// Two administrators give money back: one asks in the console, and cannot
// decide; the other approves.
func TestConsoleRefundByTwo(t *testing.T) {
	p := join(t)
	a := p.want(201, "", startPayment(p.token, "e2e-"+unique(), body{"purpose": "subscription", "productCode": "enterprise", "cycle": "YEARLY"}))
	o := &order{person: p, payment: a.Str("id"), redirect: a.Str("redirectUrl"), merchantOrder: a.Str("merchantOrderId"), amount: 4999000}
	o.complete("SUCCESS")
	o.paid()
	first, second := newDesk(t, withRole(t, "admin")), newDesk(t, withRole(t, "admin"))
	first.adopt()
	first.page("payments?userId=" + p.id)
	first.says("₹49,990.00")
	if said := first.form(consoleRoot+"payments/"+o.payment+"/refund", map[string]string{"reason": "the customer asked by mail"}); !strings.Contains(said, "Another administrator must approve") {
		t.Fatalf("the console said %q", said)
	}
	list := first.who.look("/admin/approvals").List("approvals")
	var approval string
	for _, w := range list {
		if refund, ok := w["refund"].(map[string]any); ok && refund["paymentId"] == o.payment {
			approval, _ = w["id"].(string)
		}
	}
	first.page("approvals")
	first.says("You asked for this: somebody else decides.")
	if n := o.back(); n != 0 {
		t.Fatalf("the bank gave %d back before anybody approved", n)
	}
	second.adopt()
	second.page("approvals")
	if said := second.form(consoleRoot+"approvals/"+approval+"/approve", map[string]string{"reason": "the mail is in the ticket"}); said != "Approved." {
		t.Fatalf("the console said %q", said)
	}
	p.renew()
	o.until("REFUNDED")
	if n := o.back(); n != o.amount {
		t.Errorf("the bank gave %d back", n)
	}
}

// An account is suspended and comes back; its name is hostile and stays text.
func TestConsoleSuspension(t *testing.T) {
	p := join(t)
	const hostile = `<img src=x onerror="document.title='owned'">`
	p.fresh(200, "", "PATCH", "/users/me", body{"firstName": hostile})
	d := newDesk(t, withRole(t, "admin"))
	d.adopt()
	eventually(t, patience, "the name is everywhere", func() (bool, string) {
		a := d.who.look("/admin/users/" + p.id)
		return a.Str("firstName") == hostile, string(a.Raw)
	})
	d.page("users/" + p.id)
	d.says(hostile)
	if said := d.form(consoleRoot+"users/"+p.id+"/suspend", map[string]string{"reason": "a stolen card was used"}); !strings.Contains(said, "suspended") {
		t.Fatalf("the console said %q", said)
	}
	p.until(patience, 401, "TOKEN_REVOKED", p.me())
	if said := d.form(consoleRoot+"users/"+p.id+"/reactivate", map[string]string{"reason": "the card was their own"}); !strings.Contains(said, "active again") {
		t.Fatalf("the console said %q", said)
	}
	p.login()
	p.want(200, "", p.me())
	var title string
	d.run(chromedp.Title(&title))
	if title == "owned" {
		t.Error("a name ran as script")
	}
}

// Who changed this role, and why: the answer is found by looking, with what it
// was before and is now.
func TestConsoleFindsWhoChangedARole(t *testing.T) {
	p := join(t)
	d := newDesk(t, fresh(t))
	d.adopt()
	d.page("users/" + p.id)
	d.run(chromedp.Click(`input[name="roles"][value="financemanager"]`, chromedp.ByQuery))
	if said := d.form(consoleRoot+"users/"+p.id+"/roles", map[string]string{"reason": "joins the finance team"}); !strings.Contains(said, "roles are changed") {
		t.Fatalf("the console said %q", said)
	}
	ev := eventIn(t, d.who, "action=account.roles_changed&resourceId="+p.id)
	id, _ := ev["id"].(string)
	d.page("audit?action=account.roles_changed&resourceId=" + p.id)
	d.says("joins the finance team")
	d.run(chromedp.Click(`a[href="`+consoleRoot+`audit/`+id+`"]`, chromedp.ByQuery), chromedp.WaitVisible("del", chromedp.ByQuery))
	d.says(d.who.id)
	d.says("financemanager")
	d.says("joins the finance team")
}

// A month of the log is exported: the page shows that it runs and then the file.
func TestConsoleExportsAMonth(t *testing.T) {
	d := newDesk(t, fresh(t))
	d.adopt()
	d.page("exports")
	now := time.Now().UTC()
	first := now.AddDate(0, 0, 1-now.Day()).Format(time.DateOnly)
	d.run(
		chromedp.Evaluate(`document.querySelector('details.panel').open = true`, nil),
		chromedp.SetValue(`[name="from"]`, first, chromedp.ByQuery), chromedp.SetValue(`[name="to"]`, now.Format(time.DateOnly), chromedp.ByQuery),
		chromedp.SetValue(`[name="format"]`, "CSV", chromedp.ByQuery), chromedp.Click("details.panel button.main", chromedp.ByQuery),
		chromedp.WaitVisible(`tbody tr:first-child a[href$="/file"]`, chromedp.ByQuery), // the row asks for itself until it is there
	)
	var text string
	var status int
	d.run(
		chromedp.Evaluate(`fetch(document.querySelector('tbody tr:first-child a[href$="/file"]').href).then(r => r.text().then(text => { window.status_ = r.status; return text }))`, &text, awaited),
		chromedp.Evaluate(`window.status_`, &status),
	)
	if lines := strings.Count(text, "\n"); status != http.StatusOK || lines < 10 || !strings.Contains(text, "account.") || strings.HasPrefix(text, "{") {
		t.Errorf("status %d, %d lines: %.200s", status, lines, text)
	}
}

// The password and a recovery code open a session; then a passkey alone does.
func TestConsoleSignIn(t *testing.T) {
	who := withRole(t, "admin")
	d := newDesk(t, who)
	code, _ := who.recovery[0].(string)
	d.run(
		webauthn.Enable(),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := webauthn.AddVirtualAuthenticator(&webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			}).Do(ctx)
			return err //nolint:wrapcheck // by run
		}),
		chromedp.Navigate(d.base+"payments?state=FAILED"), chromedp.WaitVisible("#email", chromedp.ByQuery),
		chromedp.SendKeys("#email", who.email, chromedp.ByQuery), chromedp.SendKeys("#password", who.password, chromedp.ByQuery),
		chromedp.Click("button.main", chromedp.ByQuery), chromedp.WaitVisible("#code", chromedp.ByQuery),
		chromedp.SendKeys("#code", code, chromedp.ByQuery), chromedp.Click("button.main", chromedp.ByQuery), chromedp.WaitVisible("nav.menu", chromedp.ByQuery),
	)
	var at string
	d.run(chromedp.Location(&at))
	if at != d.base+"payments?state=FAILED" {
		t.Errorf("signed in, at %s", at)
	}
	d.page("account")
	d.run(chromedp.Click("form[data-create] button", chromedp.ByQuery), chromedp.WaitVisible(`form[action*="/account/passkeys/"]`, chromedp.ByQuery))
	d.run(
		chromedp.Click(".who form button", chromedp.ByQuery), chromedp.WaitVisible("form.passkey button", chromedp.ByQuery),
		chromedp.Click("form.passkey button", chromedp.ByQuery), chromedp.WaitVisible("nav.menu", chromedp.ByQuery),
	)
	d.page("users")
	d.says("found")
}

// TestConsoleWalk lets axe judge every page in both themes and widths; with
// MANAS_SHOTS it leaves a screenshot of each in that folder.
func TestConsoleWalk(t *testing.T) {
	o := join(t).buy()
	o.complete("SUCCESS")
	o.once()
	who := withRole(t, "superadmin")
	who.post("/auth/logout", body{})
	ev := eventIn(t, fresh(t), "resourceType=user&resourceId="+o.id)
	in, err := json.Marshal(body{
		"email": who.email, "password": who.password, "recovery": who.recovery[0], "userId": o.id, "eventId": ev["id"],
	})
	if err != nil {
		t.Fatal(err)
	}
	out := judge.Node(t, "testdata/console", "walk.mjs", "http://localhost:"+strconv.Itoa(suite.Port), judge.Tool(t, "chromium", "chromium"), string(in), os.Getenv("MANAS_SHOTS"))
	t.Log(out)
}

// The console lies behind the API's own rules: who may not call may not look.
func TestConsoleDecidesNothing(t *testing.T) {
	p := join(t)
	root := strings.TrimSuffix(suite.root, "/")
	get := func(path, token string) api.Answer {
		return p.do(api.Call{Method: "GET", URL: root + consoleRoot + path, Header: map[string]string{"Cookie": "console_access=" + token + "; console_refresh=" + p.refresh}})
	}
	for _, path := range []string{"users", "payments", "subscriptions", "approvals", "plans", "audit", "exports", "operations", "roles", "therapists", "users/" + p.id} {
		if a := get(path, p.token); a.Status != http.StatusForbidden || !strings.Contains(string(a.Raw), "PERMISSION_DENIED") {
			t.Errorf("%s: %d %.300s", path, a.Status, a.Raw)
		}
	}
}
