package console

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// desk is a console before an API of the test's own: what each call answers,
// and what was asked.
type desk struct {
	t      *testing.T
	c      *Console
	answer map[string]func(w http.ResponseWriter, r *http.Request, body []byte)
	asked  []string
	jar    map[string]string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, answer: map[string]func(http.ResponseWriter, *http.Request, []byte){}, jar: map[string]string{}}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/api/v1")
		d.asked = append(d.asked, name)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if h := d.answer[name]; h != nil {
			h(w, r, body)
			return
		}
		refuse(w, http.StatusNotFound, "NOT_FOUND")
	})
	c, err := New(Options{API: api, Now: func() time.Time { return time.Unix(1795000000, 0) }, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	d.c = c
	return d
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "status": status, "title": "Refused", "detail": "the test refuses", "requestId": "req-1"})
}

func say(v any) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) { _ = json.NewEncoder(w).Encode(v) }
}

// pass is an access token as far as a page reads one.
func pass(perms ...string) string {
	claims, _ := json.Marshal(map[string]any{"sub": "usr_self", "roles": []string{"superadmin"}, "perms": perms})
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}

func (d *desk) signIn(perms ...string) {
	d.jar[accessCookie], d.jar[refreshCookie] = pass(perms...), "rt_1"
}

func (d *desk) do(method, path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), method, "http://console.test"+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range d.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	d.c.ServeHTTP(w, r)
	for _, k := range w.Result().Cookies() {
		d.jar[k.Name] = k.Value
		if k.Value == "" {
			delete(d.jar, k.Name)
		}
		if !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != Root {
			d.t.Errorf("cookie %s: %+v", k.Name, k)
		}
	}
	return w
}

// audit_admin_ops.md B-5: who is not signed in is led to the sign-in and sees
// nothing of a page.
func TestNobodySeesNothing(t *testing.T) {
	d := newDesk(t)
	d.answer["GET /admin/users"] = say(map[string]any{"users": []any{map[string]any{"id": "usr_secret", "firstName": "Secret"}}})
	for _, path := range []string{"", "users", "users/usr_secret", "payments", "subscriptions", "approvals", "plans", "audit", "exports", "operations", "roles", "account", "therapists", "step-up"} {
		w := d.do("GET", Root+path, nil)
		if w.Code != http.StatusSeeOther || w.Body.Len() > 300 || strings.Contains(w.Body.String(), "ecret") && path != "users/usr_secret" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if !strings.HasPrefix(w.Header().Get("Location"), Root+"sign-in") {
			t.Errorf("%s leads to %s", path, w.Header().Get("Location"))
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("asked %v for nobody", d.asked)
	}
}

// Every page forbids what is not a file of ours, and is kept nowhere.
func TestHeaders(t *testing.T) {
	d := newDesk(t)
	w := d.do("GET", Root+"sign-in", nil)
	for name, want := range map[string]string{"Content-Security-Policy": policy, "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, name := range regexp.MustCompile(`(?:href|src)="(/console/assets/[^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
		a := d.do("GET", name[1], nil, "Accept-Encoding: gzip")
		if a.Code != http.StatusOK || !strings.Contains(a.Header().Get("Cache-Control"), "immutable") || a.Header().Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %d %v", name[1], a.Code, a.Header())
		}
	}
	if w := d.do("GET", Root+"assets/style.000000000000.css", nil); w.Code != http.StatusNotFound {
		t.Errorf("another version: %d", w.Code)
	}
}

// audit_admin_ops.md B-9: no page holds script or style, nor what htmx would
// evaluate.
func TestTemplatesHoldNoCode(t *testing.T) {
	files, err := filepath.Glob("*.templ")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	banned := regexp.MustCompile(`hx-on|js:|hx-live|\sstyle=|<style|templ\.Raw|onclick|<script>|javascript:`)
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := banned.FindAllString(string(source), -1); len(found) > 0 {
			t.Errorf("%s has %q", name, found)
		}
	}
}

// A form that another site sends is refused before anything is asked.
func TestForgery(t *testing.T) {
	d := newDesk(t)
	d.signIn("users.manage")
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.test"} {
		w := d.do("POST", Root+"users/usr_1/suspend", url.Values{"reason": {"because of a test"}}, header)
		if w.Code != http.StatusForbidden || len(d.asked) > 0 {
			t.Errorf("%s: %d, asked %v", header, w.Code, d.asked)
		}
	}
}

// A stale token is renewed once and the call goes on; a session that is over
// leads to the sign-in.
func TestRenewal(t *testing.T) {
	d := newDesk(t)
	d.signIn("users.manage")
	fresh := pass("users.manage", "audit.read")
	d.answer["GET /admin/users"] = func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if r.Header.Get("Authorization") != "Bearer "+fresh {
			refuse(w, http.StatusUnauthorized, "TOKEN_STALE")
			return
		}
		say(map[string]any{"users": []any{}, "totalSize": 0})(w, r, nil)
	}
	d.answer["POST /auth/refresh"] = func(w http.ResponseWriter, r *http.Request, body []byte) {
		if !strings.Contains(string(body), `"rt_1"`) {
			refuse(w, http.StatusUnauthorized, "INVALID_REFRESH_TOKEN")
			return
		}
		say(map[string]any{"accessToken": fresh, "expiresIn": 900, "refreshToken": "rt_2", "refreshExpiresIn": 3600})(w, r, nil)
	}
	if w := d.do("GET", Root+"users", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Nobody matches") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if d.jar[refreshCookie] != "rt_2" || d.jar[accessCookie] != fresh || len(d.asked) != 3 {
		t.Errorf("jar %v, asked %v", d.jar, d.asked)
	}
	d.jar[accessCookie] = pass() // stale, and the refresh token is no longer good
	w := d.do("GET", Root+"users?search=x", nil)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != Root+"sign-in?next="+url.QueryEscape(Root+"users?search=x") || d.jar[refreshCookie] != "" {
		t.Errorf("%d %v, jar %v", w.Code, w.Header(), d.jar)
	}
}

// A session that was ended elsewhere is not renewed.
func TestRevoked(t *testing.T) {
	d := newDesk(t)
	d.signIn("users.manage")
	d.answer["GET /admin/users"] = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		refuse(w, http.StatusUnauthorized, "TOKEN_REVOKED")
	}
	if w := d.do("GET", Root+"users", nil); w.Code != http.StatusSeeOther || len(d.asked) != 1 || d.jar[refreshCookie] != "" {
		t.Errorf("%d, asked %v, jar %v", w.Code, d.asked, d.jar)
	}
}

// What asks for a recent sign-in keeps the form: once the password is right the
// browser sends it on by itself.
func TestStepUpGoesOn(t *testing.T) {
	d := newDesk(t)
	d.signIn("users.manage")
	stepped := pass("users.manage", "stepped")
	d.answer["POST /admin/users/usr_1/suspend"] = func(w http.ResponseWriter, r *http.Request, body []byte) {
		if r.Header.Get("Authorization") != "Bearer "+stepped {
			refuse(w, http.StatusForbidden, "STEP_UP_REQUIRED")
			return
		}
		if !strings.Contains(string(body), `"because <b>of</b> a test"`) && !strings.Contains(string(body), `because \u003cb\u003eof\u003c/b\u003e a test`) {
			t.Errorf("body %s", body)
		}
		say(map[string]any{"id": "usr_1"})(w, r, nil)
	}
	d.answer["POST /auth/step-up"] = func(w http.ResponseWriter, r *http.Request, body []byte) {
		if !strings.Contains(string(body), "right") {
			refuse(w, http.StatusUnauthorized, "INVALID_CREDENTIALS")
			return
		}
		say(map[string]any{"accessToken": stepped, "expiresIn": 900, "refreshToken": "rt_2", "refreshExpiresIn": 3600})(w, r, nil)
	}
	form := url.Values{"reason": {"because <b>of</b> a test"}}
	asked := d.do("POST", Root+"users/usr_1/suspend", form)
	if asked.Code != http.StatusOK || !strings.Contains(asked.Body.String(), `name="reason" value="because &lt;b&gt;of&lt;/b&gt; a test"`) ||
		!strings.Contains(asked.Body.String(), `name="_to" value="/console/users/usr_1/suspend"`) {
		t.Fatalf("%d %s", asked.Code, asked.Body)
	}
	form.Set("_to", Root+"users/usr_1/suspend")
	form.Set("_again", "1")
	form.Set("_password", "wrong")
	d.asked = nil
	if w := d.do("POST", Root+"step-up", form); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "&lt;b&gt;of") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(d.asked) != 1 { // a wrong password counts once
		t.Errorf("asked %v", d.asked)
	}
	form.Set("_password", "right")
	w := d.do("POST", Root+"step-up", form)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != Root+"users/usr_1/suspend" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w := d.do("POST", w.Header().Get("Location"), form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != Root+"users/usr_1?done=suspend" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// A hostile name stays text wherever it stands.
func TestHostileText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)> ` + "\u202e" + `gnp.exe {{7*7}} javascript:alert(3)`
	d := newDesk(t)
	d.signIn("users.manage", "audit.read", "roles.manage", "payments.manage", "subscriptions.manage")
	d.answer["GET /admin/users"] = say(map[string]any{"users": []any{map[string]any{
		"id": hostile, "firstName": hostile, "lastName": hostile, "email": hostile, "roles": []string{hostile}, "state": "ACTIVE",
	}}, "nextPageToken": hostile})
	d.answer["GET /audit/events"] = say(map[string]any{"events": []any{map[string]any{
		"id": hostile, "action": hostile, "reason": hostile, "actor": map[string]any{"type": hostile, "id": hostile}, "occurredAt": "2026-11-23T10:00:00Z",
	}}})
	d.answer["GET /admin/approvals"] = say(map[string]any{"approvals": []any{map[string]any{
		"id": hostile, "kind": hostile, "state": "PENDING", "requestedBy": hostile, "reason": hostile, "userIds": []string{hostile}, "roles": []string{hostile},
	}}})
	for _, path := range []string{"users", "users?search=" + url.QueryEscape(hostile), "audit?action=" + url.QueryEscape(hostile), "approvals", "sign-in?next=" + url.QueryEscape(hostile), "users?done=" + url.QueryEscape(hostile)} {
		w := d.do("GET", Root+path, nil)
		if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") || strings.Contains(body, `href="javascript:`) {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
	}
}

// A form's key travels with it: a refund that is sent twice is one to the API.
func TestRefundKeepsItsKey(t *testing.T) {
	d := newDesk(t)
	d.signIn("payments.manage")
	var keys []string
	d.answer["POST /admin/payments/pay_1/refund"] = func(w http.ResponseWriter, r *http.Request, body []byte) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if !strings.Contains(string(body), `"amountMinor":"149950"`) {
			t.Errorf("body %s", body)
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"rfd_1"}`)
	}
	form := url.Values{"key": {"console-abc"}, "currency": {"INR"}, "amount": {"1,499.5"}, "reason": {"because of a test"}}
	for range 2 {
		if w := d.do("POST", Root+"payments/pay_1/refund", form); w.Header().Get("Location") != Root+"payments?done=waits" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
	if fmt.Sprint(keys) != "[console-abc console-abc]" {
		t.Errorf("keys %v", keys)
	}
}

// audit_admin_ops.md A-12: a search that fails is an error, never an empty page.
func TestFailureIsNoEmptyPage(t *testing.T) {
	d := newDesk(t)
	d.signIn("audit.read")
	d.answer["GET /audit/events"] = func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE")
	}
	w := d.do("GET", Root+"audit", nil)
	if body := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.Contains(body, `role="alert"`) || !strings.Contains(body, "req-1") || strings.Contains(body, "Nothing is recorded") {
		t.Errorf("%d %s", w.Code, body)
	}
}

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]int64{"1499": 149900, "1499.5": 149950, "0.01": 1, "1,49,900.00": 14990000} {
		if got, ok := parseAmount(text); !ok || got != want {
			t.Errorf("%q: %d %v", text, got, ok)
		}
	}
	for _, text := range []string{"", ".", "1.", "1.234", "-1", "+1", "1e3", "१", "1 000", "9999999999999999999"} {
		if got, ok := parseAmount(text); ok {
			t.Errorf("%q was taken as %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<40).Draw(t, "minor")
		m := &typev1.Money{CurrencyCode: "INR", AmountMinor: n}
		for _, text := range []string{plain(m), strings.TrimPrefix(money(m), "₹")} {
			if got, ok := parseAmount(text); n < 1e14 && (!ok || got != n) {
				t.Fatalf("%d became %q and %d %v", n, text, got, ok)
			}
		}
	})
}

func TestMoney(t *testing.T) {
	for want, m := range map[string]*typev1.Money{
		"₹1,49,90,000.00": {CurrencyCode: "INR", AmountMinor: 1499000000}, "₹0.05": {CurrencyCode: "INR", AmountMinor: 5},
		"−₹1,000.00": {CurrencyCode: "INR", AmountMinor: -100000}, "1,234,567.89 USD": {CurrencyCode: "USD", AmountMinor: 123456789},
		"1,200 JPY": {CurrencyCode: "JPY", AmountMinor: 1200}, "—": nil,
	} {
		if got := money(m); got != want {
			t.Errorf("%v: %q, want %q", m, got, want)
		}
	}
}

// FuzzLocal: no link leads out of the console.
func FuzzLocal(f *testing.F) {
	for _, s := range []string{"", "/console/users?x=1", "//evil.test/console/", "https://evil.test/console/", "/console/../api", `/console/\evil`, "/console//evil", "/consoleevil", "javascript:alert(1)", "/console/%2e%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := local(next)
		u, err := url.Parse(got)
		if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Root) || strings.Contains(u.Path, "..") || strings.HasPrefix(got, "//") {
			t.Fatalf("%q leads to %q", next, got)
		}
	})
}
