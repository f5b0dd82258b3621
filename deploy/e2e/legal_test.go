package e2e_test

import (
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// TestLegalIsOwed is a rise of the terms, seen from an account that accepted an
// older version.
func TestLegalIsOwed(t *testing.T) {
	p, db := join(t), database(t)
	required := func() api.Answer {
		return p.want(200, "", api.Call{Method: "GET", URL: "/legal/required", Token: p.token})
	}
	if a := required(); a.Dig("terms") != nil || a.Dig("privacy") != nil {
		t.Errorf("a new account owes %s", a.Raw)
	}
	if _, err := db.Exec(t.Context(), `UPDATE auth.account SET accepted_terms = '2025-01' WHERE email = $1`, p.email); err != nil {
		t.Fatal(err)
	}
	p.renew()
	change := func() api.Call {
		return api.Call{Method: "PATCH", URL: "/users/me", Token: p.token, Body: body{"bio": "x"}}
	}
	p.want(428, "LEGAL_ACCEPTANCE_REQUIRED", change())
	p.want(200, "", p.me())
	terms := required().Str("terms", "version")
	accept := func(version string) api.Call {
		return api.Call{Method: "POST", URL: "/legal/accept", Token: p.token, Body: body{"terms": version}}
	}
	p.want(400, "INVALID_ARGUMENT", accept("2025-01"))
	p.want(204, "", accept(terms))
	p.until(atOnce, 401, "TOKEN_STALE", p.me())
	p.renew()
	p.want(200, "", change())
}
