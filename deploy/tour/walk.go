package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/manas360/platform/deploy/internal/api"
)

const premiumFeature = "premium_themed_rooms"

// tour is one walk: a customer, and the superadmin who watches.
type tour struct {
	*stack

	client  *api.Client
	steps   int
	email   string
	userID  string
	token   string
	refresh string
	admin   string
}

// step sends c, prints it and fails unless the answer has this status and, if
// given, this error code.
func (t *tour) step(ctx context.Context, c api.Call, status int, code string) (api.Answer, error) {
	c.URL = t.api + c.URL
	a, err := t.client.Send(ctx, c)
	if err != nil {
		return a, err
	}
	return a, t.report(c, a, status, code)
}

func (t *tour) report(c api.Call, a api.Answer, status int, code string) error {
	t.steps++
	got := a.Str("code")
	fmt.Printf("   %-6s %-52s %d %-24s %6.1f ms\n", c.Method, path(c.URL), a.Status, got, float64(a.Took.Microseconds())/1000)
	if a.Status != status || (code != "" && got != code) {
		return fmt.Errorf("%s %s answered %d %s, want %d %s: %v", c.Method, c.URL, a.Status, got, status, code, a.Body)
	}
	return nil
}

func path(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.RequestURI()
}

func (t *tour) note(format string, args ...any) { fmt.Printf("          "+format+"\n", args...) }

func unique() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails, crypto/rand
	return hex.EncodeToString(b)
}

func (t *tour) join(ctx context.Context) error {
	t.email = "tour-" + unique() + "@example.com"
	legal, err := t.step(ctx, api.Call{Method: "GET", URL: "/legal"}, 200, "")
	if err != nil {
		return err
	}
	reg, err := t.step(ctx, api.Call{Method: "POST", URL: "/auth/register", Body: map[string]any{
		"email": t.email, "password": "correct horse " + unique(), "firstName": "Asha", "lastName": "Rao",
		"acceptedTerms": legal.Str("terms", "version"),
	}}, 202, "")
	if err != nil {
		return err
	}
	code, err := t.messages.Code(ctx, t.email)
	if err != nil {
		return err
	}
	t.note("the code came to %s", t.email)
	ses, err := t.step(ctx, api.Call{Method: "POST", URL: "/auth/verify", Body: map[string]any{
		"challengeId": reg.Str("challengeId"), "code": code,
	}}, 200, "")
	if err != nil {
		return err
	}
	t.token, t.refresh, t.userID = ses.Str("accessToken"), ses.Str("refreshToken"), ses.Str("user", "id")
	_, err = t.step(ctx, api.Call{Method: "POST", URL: "/auth/verify", Body: map[string]any{
		"challengeId": reg.Str("challengeId"), "code": code,
	}}, 401, "INVALID_CODE")
	if err != nil {
		return err
	}
	sub, err := t.step(ctx, api.Call{Method: "GET", URL: "/subscriptions/current", Token: t.token}, 200, "")
	if err != nil {
		return err
	}
	t.note("%s has plan %s", t.userID, sub.Str("planCode"))
	return nil
}

func (t *tour) look(ctx context.Context) error {
	if _, err := t.step(ctx, api.Call{Method: "GET", URL: "/users/me", Token: t.token}, 200, ""); err != nil {
		return err
	}
	me, err := t.step(ctx, api.Call{Method: "PATCH", URL: "/users/me", Token: t.token, Body: map[string]any{
		"displayName": "Asha R.", "timezone": "Asia/Kolkata", "locale": "kn",
	}}, 200, "")
	if err != nil {
		return err
	}
	t.note("now called %q, locale %s", me.Str("displayName"), me.Str("locale"))
	if _, err := t.step(ctx, api.Call{Method: "PATCH", URL: "/users/me", Token: t.token, Body: map[string]any{"roles": []string{"superadmin"}}}, 400, "INVALID_ARGUMENT"); err != nil {
		return err
	}
	plans, err := t.step(ctx, api.Call{Method: "GET", URL: "/plans"}, 200, "")
	if err != nil {
		return err
	}
	list, _ := plans.Dig("plans").([]any)
	t.note("%d plans and products are sold", len(list))
	shut, err := t.step(ctx, api.Call{Method: "POST", URL: "/entitlements/consume", Token: t.token, Body: map[string]any{"feature": premiumFeature}}, 403, "FEATURE_NOT_AVAILABLE")
	if err != nil {
		return err
	}
	t.note("%s needs %s", premiumFeature, shut.Str("upgradeTo"))
	return nil
}

func (t *tour) pay(ctx context.Context) error {
	key := "tour-" + unique()
	order := api.Call{Method: "POST", URL: "/subscriptions/checkout", Token: t.token, Header: map[string]string{"Idempotency-Key": key}, Body: map[string]any{
		"planCode": "premium", "cycle": "MONTHLY",
	}}
	co, err := t.step(ctx, order, 201, "")
	if err != nil {
		return err
	}
	again, err := t.step(ctx, order, 201, "")
	if err != nil {
		return err
	}
	if again.Header.Get("Idempotency-Replayed") != "true" || again.Str("payment", "id") != co.Str("payment", "id") {
		return fmt.Errorf("the repeated order was not replayed: %v", again.Body)
	}
	t.note("%s, %s paise, state %s", co.Str("payment", "id"), co.Str("payment", "amount", "amountMinor"), co.Str("subscription", "state"))
	took, err := t.settle(ctx, co.Str("payment", "redirectUrl"), true)
	if err != nil {
		return err
	}
	t.note("from the customer's click to the working feature: %.0f ms", float64(took.Microseconds())/1000)
	sub, err := t.step(ctx, api.Call{Method: "GET", URL: "/subscriptions/current", Token: t.token}, 200, "")
	if err != nil {
		return err
	}
	pay, err := t.step(ctx, api.Call{Method: "GET", URL: "/payments/" + co.Str("payment", "id"), Token: t.token}, 200, "")
	if err != nil {
		return err
	}
	inv, err := t.step(ctx, api.Call{Method: "GET", URL: "/invoices", Token: t.token}, 200, "")
	if err != nil {
		return err
	}
	list, _ := inv.Dig("invoices").([]any)
	if sub.Str("state") != "ACTIVE" || sub.Str("planCode") != "premium" || pay.Str("state") != "SUCCEEDED" || len(list) != 1 {
		return fmt.Errorf("after paying: subscription %s %s, payment %s, %d invoices", sub.Str("planCode"), sub.Str("state"), pay.Str("state"), len(list))
	}
	first, _ := list[0].(map[string]any)
	t.note("subscription %s to %s, invoice %v", sub.Str("state"), sub.Str("currentPeriodEnd"), first["number"])
	return nil
}

// settle pays at the sandbox and waits until the premium feature works with a
// refreshed token. It answers the time from the click to the working feature.
func (t *tour) settle(ctx context.Context, redirect string, loud bool) (time.Duration, error) {
	began := time.Now()
	done, err := t.client.Send(ctx, api.Call{Method: "POST", URL: redirect + "/complete", Body: map[string]any{"outcome": "SUCCESS"}})
	if err != nil {
		return 0, err
	}
	if done.Status/100 != 2 {
		return 0, fmt.Errorf("the sandbox answered %d: %v", done.Status, done.Body)
	}
	if loud {
		t.note("the customer pays at %s", redirect)
	}
	use := api.Call{Method: "POST", URL: t.api + "/entitlements/consume", Token: t.token, Body: map[string]any{"feature": premiumFeature}}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		a, err := t.client.Send(ctx, use)
		if err != nil {
			return 0, err
		}
		if a.Status != 401 {
			if err := api.Pause(ctx, 5*time.Millisecond); err != nil {
				return 0, err
			}
			continue
		}
		if loud {
			if err := t.report(use, a, 401, "TOKEN_STALE"); err != nil {
				return 0, err
			}
		}
		fresh, err := t.client.Send(ctx, api.Call{Method: "POST", URL: t.api + "/auth/refresh", Body: map[string]any{"refreshToken": t.refresh}})
		if err != nil {
			return 0, err
		}
		if fresh.Status != 200 {
			return 0, fmt.Errorf("refresh answered %d: %v", fresh.Status, fresh.Body)
		}
		t.token, t.refresh, use.Token = fresh.Str("accessToken"), fresh.Str("refreshToken"), fresh.Str("accessToken")
		a, err = t.client.Send(ctx, use)
		took := time.Since(began)
		if err != nil {
			return 0, err
		}
		if loud {
			t.note("the new token carries plan %s", fresh.Str("user", "plan"))
		}
		if a.Status != 200 {
			return 0, fmt.Errorf("the feature still answers %d: %v", a.Status, a.Body)
		}
		if loud {
			return took, t.report(use, a, 200, "")
		}
		return took, nil
	}
	return 0, errors.New("no change reached the edge within 15 s of paying")
}

func (t *tour) administrate(ctx context.Context) error {
	first, err := t.step(ctx, api.Call{Method: "POST", URL: "/auth/login", Body: map[string]any{"email": t.Superadmin.Email, "password": t.Superadmin.Password}}, 200, "")
	if err != nil {
		return err
	}
	if err := t.secondFactor(ctx, first.Str("mfaToken")); err != nil {
		return err
	}
	if _, err := t.step(ctx, api.Call{Method: "GET", URL: "/admin/users?search=" + url.QueryEscape(t.email), Token: t.admin}, 200, ""); err != nil {
		return err
	}
	if _, err := t.step(ctx, api.Call{Method: "GET", URL: "/admin/users/" + t.userID, Token: t.admin}, 200, ""); err != nil {
		return err
	}
	if err := t.trail(ctx); err != nil {
		return err
	}
	reason := map[string]any{"reason": "Shown by the tour of the local stack"}
	if _, err := t.step(ctx, api.Call{Method: "POST", URL: "/admin/users/" + t.userID + "/suspend", Token: t.admin, Body: reason}, 200, ""); err != nil {
		return err
	}
	took, err := t.refused(ctx, t.token)
	if err != nil {
		return err
	}
	t.note("the live token is refused after %.0f ms", float64(took.Microseconds())/1000)
	_, err = t.step(ctx, api.Call{Method: "POST", URL: "/admin/users/" + t.userID + "/reactivate", Token: t.admin, Body: reason}, 200, "")
	return err
}

// secondFactor answers the TOTP challenge. A code counts once, so a tour right
// after another waits for the next one.
func (t *tour) secondFactor(ctx context.Context, handle string) error {
	for range 3 {
		now := time.Now()
		code, err := totp.GenerateCode(t.Superadmin.TOTPSecret, now)
		if err != nil {
			return err
		}
		c := api.Call{Method: "POST", URL: t.api + "/auth/mfa/verify", Body: map[string]any{"mfaToken": handle, "code": code}}
		a, err := t.client.Send(ctx, c)
		if err != nil {
			return err
		}
		if a.Str("code") == "INVALID_CODE" {
			t.note("this code was used before; waiting for the next one")
			if err := api.Pause(ctx, now.Truncate(30*time.Second).Add(30*time.Second).Sub(now)); err != nil {
				return err
			}
			continue
		}
		if err := t.report(c, a, 200, ""); err != nil {
			return err
		}
		t.admin = a.Str("accessToken")
		return nil
	}
	return errors.New("no code of the superadmin's authenticator was taken")
}

// trail reads what the log holds of the customer, oldest first.
func (t *tour) trail(ctx context.Context) error {
	want := []string{"account.verified", "session.opened", "subscription.created", "profile.updated", "subscription.checkout_started", "payment.created", "payment.succeeded", "subscription.activated", "invoice.issued"}
	var got []string
	for deadline := time.Now().Add(5 * time.Second); ; {
		a, err := t.client.Send(ctx, api.Call{Method: "GET", URL: t.api + "/audit/events?pageSize=100&order=asc&resourceId=" + t.userID, Token: t.admin})
		if err != nil {
			return err
		}
		got = got[:0]
		events, _ := a.Dig("events").([]any)
		for _, e := range events {
			m, _ := e.(map[string]any)
			action, _ := m["action"].(string)
			got = append(got, action)
		}
		if ordered(got, want) || time.Now().After(deadline) {
			if err := t.report(api.Call{Method: "GET", URL: t.api + "/audit/events?resourceId=" + t.userID}, a, 200, ""); err != nil {
				return err
			}
			break
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	for _, action := range got {
		t.note("%s", action)
	}
	if !ordered(got, want) {
		return fmt.Errorf("the trail is %v, want in this order %v", got, want)
	}
	return nil
}

// ordered reports whether got holds all of want in that order.
func ordered(got, want []string) bool {
	for _, w := range want {
		i := slices.Index(got, w)
		if i < 0 {
			return false
		}
		got = got[i+1:]
	}
	return true
}

// refused waits until the edge refuses the token, and says how long it took.
func (t *tour) refused(ctx context.Context, token string) (time.Duration, error) {
	c := api.Call{Method: "GET", URL: t.api + "/users/me", Token: token}
	for began := time.Now(); ; {
		a, err := t.client.Send(ctx, c)
		if err != nil {
			return 0, err
		}
		if took := time.Since(began); a.Status == 401 || took > time.Second {
			if took > time.Second {
				return 0, fmt.Errorf("the token still answers %d after %v", a.Status, took)
			}
			return took, t.report(c, a, 401, "TOKEN_REVOKED")
		}
		if err := api.Pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (t *tour) leave(ctx context.Context) error {
	if _, err := t.step(ctx, api.Call{Method: "POST", URL: "/auth/logout", Token: t.admin}, 204, ""); err != nil {
		return err
	}
	took, err := t.refused(ctx, t.admin)
	if err != nil {
		return err
	}
	t.note("the access token is refused after %.0f ms", float64(took.Microseconds())/1000)
	return nil
}

// measure repeats the payment for other customers and prints the distribution
// of the time from their click to the working feature.
func (t *tour) measure(ctx context.Context) error {
	const customers = 20
	var took []time.Duration
	for i := range customers {
		one := &tour{stack: t.stack, client: api.New(fmt.Sprintf("127.7.%d.%d", time.Now().Unix()%250+1, i+1), time.Now)}
		d, err := one.quietly(ctx)
		if err != nil {
			return fmt.Errorf("customer %d: %w", i+1, err)
		}
		took = append(took, d)
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("   %d customers: p50 %.0f ms, p99 %.0f ms (the largest of %d); the contract asks for p99 ≤ 250 ms on an idle machine\n",
		customers, ms(took[len(took)/2]), ms(took[len(took)-1]), customers)
	return nil
}

// quietly takes one customer from registration to the working feature.
func (t *tour) quietly(ctx context.Context) (time.Duration, error) {
	email := "tour-" + unique() + "@example.com"
	ask := func(c api.Call, status int) (api.Answer, error) {
		c.URL = t.api + c.URL
		a, err := t.client.Send(ctx, c)
		if err == nil && a.Status != status {
			err = fmt.Errorf("%s %s answered %d: %v", c.Method, c.URL, a.Status, a.Body)
		}
		return a, err
	}
	legal, err := ask(api.Call{Method: "GET", URL: "/legal"}, 200)
	if err != nil {
		return 0, err
	}
	reg, err := ask(api.Call{Method: "POST", URL: "/auth/register", Body: map[string]any{
		"email": email, "password": "correct horse " + unique(), "firstName": "Asha", "lastName": "Rao", "acceptedTerms": legal.Str("terms", "version"),
	}}, 202)
	if err != nil {
		return 0, err
	}
	code, err := t.messages.Code(ctx, email)
	if err != nil {
		return 0, err
	}
	ses, err := ask(api.Call{Method: "POST", URL: "/auth/verify", Body: map[string]any{"challengeId": reg.Str("challengeId"), "code": code}}, 200)
	if err != nil {
		return 0, err
	}
	t.token, t.refresh = ses.Str("accessToken"), ses.Str("refreshToken")
	co, err := ask(api.Call{Method: "POST", URL: "/subscriptions/checkout", Token: t.token, Header: map[string]string{"Idempotency-Key": unique()}, Body: map[string]any{"planCode": "premium", "cycle": "MONTHLY"}}, 201)
	if err != nil {
		return 0, err
	}
	return t.settle(ctx, co.Str("payment", "redirectUrl"), false)
}
