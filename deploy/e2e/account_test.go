package e2e_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/pkg/id"
)

// register asks for an account and gives the challenge.
func register(t *testing.T, c *caller, email string) string {
	t.Helper()
	a := c.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(email, "correct horse "+unique())})
	return a.Str("challengeId")
}

func answer(challenge, code string) api.Call {
	return api.Call{Method: "POST", URL: "/auth/verify", Body: body{"challengeId": challenge, "code": code}}
}

// other is a code of the same form that is not the right one.
func other(code string) string {
	b := []byte(code)
	b[0] = '0' + (b[0]-'0'+1)%10
	return string(b)
}

func TestCodes(t *testing.T) {
	t.Run("used twice", func(t *testing.T) {
		p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com"}
		chl := register(t, p.caller, p.email)
		p.want(200, "", answer(chl, p.code()))
		p.want(401, "INVALID_CODE", answer(chl, p.code()))
	})
	t.Run("wrong five times", func(t *testing.T) {
		p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com"}
		chl := register(t, p.caller, p.email)
		wrong := answer(chl, other(p.code()))
		for range 4 {
			p.want(401, "INVALID_CODE", wrong)
		}
		p.do(wrong) // the fifth may say either
		p.want(429, "TOO_MANY_ATTEMPTS", wrong)
		p.want(429, "TOO_MANY_ATTEMPTS", answer(chl, p.code()))
	})
	t.Run("expired", func(t *testing.T) {
		p := &person{caller: newCaller(t), email: "e2e-" + unique() + "@example.com"}
		chl := register(t, p.caller, p.email)
		key, err := id.Parse("chl", chl)
		if err != nil {
			t.Fatal(err)
		}
		db := database(t)
		tag, err := db.Exec(t.Context(), `UPDATE auth.challenge SET expires_at = created_at WHERE id = $1`, key)
		if err != nil || tag.RowsAffected() != 1 {
			t.Fatalf("expire the challenge: %v %v", tag, err)
		}
		p.want(410, "CHALLENGE_EXPIRED", answer(chl, p.code()))
	})
	t.Run("of nothing", func(t *testing.T) {
		c := newCaller(t)
		c.want(401, "INVALID_CODE", answer("chl_"+"06f3"+"0000000000000000000000", "123456"))
		a := c.do(answer("x", "123456"))
		if a.Status != 400 && a.Status != 401 {
			t.Errorf("a malformed challenge answered %d", a.Status)
		}
	})
}

// TestRegisterTellsNothing of who has an account.
func TestRegisterTellsNothing(t *testing.T) {
	known := join(t)
	// An address gets one code a minute, whoever it belongs to; that minute is over.
	db := database(t)
	if _, err := db.Exec(t.Context(), `UPDATE auth.recipient SET sent_at = sent_at - interval '61 s'`); err != nil {
		t.Fatal(err)
	}
	c := newCaller(t)
	shape := func(email string) []string {
		a := c.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(email, "correct horse "+unique())})
		keys := slices.Sorted(maps.Keys(a.Body))
		delete(a.Body, "challengeId")
		rest, err := json.Marshal(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return append(keys, string(rest), a.Header.Get("Content-Type"))
	}
	a, b := shape(known.email), shape("e2e-"+unique()+"@example.com")
	if !slices.Equal(a, b) {
		t.Errorf("a known address answers %v, an unknown one %v", a, b)
	}
	// The owner is told by mail, without a code that could open anything.
	eventually(t, patience, "the owner gets another mail", func() (bool, string) {
		mail, err := suite.messages.To(known.email)
		if err != nil {
			t.Fatal(err)
		}
		return len(mail) == 2 && mail[0].Code == "" && mail[0].Template != mail[1].Template, ""
	})
}

// TestLoginTellsNothing: a wrong password and an unknown user are one answer,
// locked too.
func TestLoginTellsNothing(t *testing.T) {
	p := join(t)
	login := func(email string) api.Call {
		return api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": email, "password": "wrong horse"}, Header: map[string]string{"X-Request-Id": "same"}}
	}
	nobody := "nobody-" + unique() + "@example.com"
	a, b := newCaller(t), newCaller(t)
	wrong, unknown := a.want(401, "INVALID_CREDENTIALS", login(p.email)), b.want(401, "INVALID_CREDENTIALS", login(nobody))
	if !bytes.Equal(wrong.Raw, unknown.Raw) {
		t.Errorf("a wrong password answers %s, an unknown user %s", wrong.Raw, unknown.Raw)
	}
	tries := func(c *caller, email string) int {
		for n := 2; n <= 20; n++ {
			got := c.do(login(email))
			if got.Status == 429 {
				if got.Str("code") != "TOO_MANY_ATTEMPTS" || got.Header.Get("Retry-After") == "" {
					t.Errorf("locked out: %s, Retry-After %q", got.Raw, got.Header.Get("Retry-After"))
				}
				return n
			}
		}
		t.Errorf("twenty wrong passwords and no lock")
		return 0
	}
	if x, y := tries(a, p.email), tries(b, nobody); x != y {
		t.Errorf("locked after %d tries, an unknown user after %d", x, y)
	}
	p.want(200, "", p.me()) // throttling ends no session
}

func TestLoginBeforeVerifying(t *testing.T) {
	c, email, password := newCaller(t), "e2e-"+unique()+"@example.com", "correct horse "+unique()
	c.want(202, "", api.Call{Method: "POST", URL: "/auth/register", Body: registration(email, password)})
	login := func(password string) api.Call {
		return api.Call{Method: "POST", URL: "/auth/login", Body: body{"email": email, "password": password}}
	}
	c.want(401, "INVALID_CREDENTIALS", login("wrong horse 12"))
	c.want(403, "EMAIL_NOT_VERIFIED", login(password))
}
