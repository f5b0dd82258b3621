package auth

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	"github.com/manas360/platform/services/auth/totp"
)

// loginMachine walks logins of two people with a second factor, in any order. A
// session may stand only for a live handle of the password and a code of the
// same person that was never used.
type loginMachine struct {
	b       *bench
	people  []*factored
	handles []issuedHandle
}

// factored is somebody with a second factor.
type factored struct {
	id       uuid.UUID
	email    string
	secret   []byte
	step     int64    // of the last code used
	paper    []string // recovery codes
	spent    map[string]bool
	sessions int
}

type issuedHandle struct {
	owner *factored
	raw   string
	at    time.Time
	wrong int
	used  bool
}

func (m *loginMachine) live(h issuedHandle) bool {
	return !h.used && h.wrong < maxAttempts && m.b.now().Sub(h.at) < handleLife
}

// login shows a password; one in six is hashed, for the time it takes.
func (m *loginMachine) login(t *rapid.T) {
	m.b.forgetCounters() // the limits have their own tests
	who := rapid.SampledFrom(m.people).Draw(t, "who")
	h := issuedHandle{owner: who, at: m.b.now()}
	var err error
	if rapid.IntRange(0, 5).Draw(t, "hashed") > 0 {
		h.raw, err = m.b.openHandle(t.Context(), who.id)
	} else {
		plain := rapid.SampledFrom([]string{goodPassword, goodPassword + "!"}).Draw(t, "password")
		var r *authv1.LoginAnswer
		r, err = m.b.tryLogin(who.email, plain)
		if h.raw = r.GetMfaToken(); r.GetAccessToken() != "" || (h.raw != "") != (plain == goodPassword) {
			t.Fatalf("password %q gave %v, %v", plain, r, err)
		}
		if h.raw == "" {
			return
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	m.handles = append(m.handles, h)
}

// code draws an answer of somebody's: by the app, of the paper, or guessed. used
// notes that it was taken.
func (m *loginMachine) code(t *rapid.T, owner *factored) (code string, right bool, used func()) {
	of := rapid.SampledFrom(m.people).Draw(t, "code of")
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return wrongOf(totp.Code(of.secret, m.b.now())), false, nil
	case 1:
		code = rapid.SampledFrom(of.paper).Draw(t, "paper")
		return code, of == owner && !of.spent[code], func() { of.spent[code] = true }
	}
	off := int64(rapid.IntRange(-2, 2).Draw(t, "steps off"))
	at := m.b.now().Add(time.Duration(off) * 30 * time.Second)
	step := at.Unix() / 30
	return totp.Code(of.secret, at), of == owner && -1 <= off && off <= 1 && step > of.step, func() { of.step = step }
}

func (m *loginMachine) answer(t *rapid.T) {
	if len(m.handles) == 0 {
		t.Skip("nothing to answer")
	}
	m.b.forgetCounters()
	h := &m.handles[rapid.IntRange(max(0, len(m.handles)-4), len(m.handles)-1).Draw(t, "handle")]
	code, right, used := m.code(t, h.owner)
	live := m.live(*h)
	_, err := m.b.pub.VerifyMfa(m.b.visitor(), &authv1.VerifyMfaRequest{MfaToken: h.raw, Code: code})
	switch {
	case (err == nil) != (live && right):
		t.Fatalf("the handle was live: %t; the code right: %t; answer: %v", live, right, err)
	case err == nil:
		h.used = true
		h.owner.sessions++
		used()
	case live:
		h.wrong++
	}
}

// misuse shows a handle where a token belongs.
func (m *loginMachine) misuse(t *rapid.T) {
	if len(m.handles) == 0 {
		t.Skip("nothing to show")
	}
	raw := rapid.SampledFrom(m.handles).Draw(t, "handle").raw
	if _, err := m.b.keys.verifier.Verify(raw); err == nil {
		t.Fatal("a handle is an access token")
	}
	if _, err := m.b.tryRefresh(raw); err == nil {
		t.Fatal("a handle renews a session")
	}
}

func (m *loginMachine) pass(t *rapid.T) {
	m.b.clock.pass(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute, handleLife}).Draw(t, "time"))
}

// mustFactor makes an account with a second factor, without hashing again.
func (b *bench) mustFactor(email, phc string) *factored {
	b.t.Helper()
	f := &factored{email: email, spent: map[string]bool{}}
	err := b.db.InTx(b.t.Context(), func(ctx context.Context, tx pg.Tx) error {
		p := person{Email: email, FirstName: "Asha", LastName: "Rao", Locale: "en", AcceptedTerms: seedTerms}
		acc, _, err := b.activate(ctx, tx, p, phc, []string{roleUser}, &token.Caller{}, b.now())
		if err != nil {
			return err
		}
		f.id = acc.ID
		if f.secret, err = totp.NewSecret(b.rand); err != nil {
			return err
		}
		sealed := seal(b.secrets.totp, f.secret, totpRow(acc.ID))
		if _, err := b.putFactor(ctx, tx, acc.ID, sealed, b.now()); err != nil {
			return err
		}
		_, err = b.confirmFactor(ctx, tx, acc.ID, sealed, 0, b.now())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for range 2 {
		raw, err := randomBytes(b.rand, recoveryBytes)
		if err != nil {
			b.t.Fatal(err)
		}
		code := totp.Encode(raw)
		f.paper = append(f.paper, code)
		b.exec(`INSERT INTO auth.recovery_code (account_id, mac, created_at) VALUES ($1, $2, $3)`, f.id, b.recoveryMAC(f.id, code), b.now())
	}
	return f
}

// TestLoginMachine: identity.md rows 13 and 50.
func TestLoginMachine(t *testing.T) {
	b := newBench(t)
	phc, err := b.hash.Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	runs, sessions := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := &loginMachine{b: b, people: []*factored{
			b.mustFactor("asha"+itoa(runs)+"@example.com", phc), b.mustFactor("ravi"+itoa(runs)+"@example.com", phc),
		}}
		t.Repeat(map[string]func(*rapid.T){
			"login": m.login, "answer": m.answer, "answer again": m.answer, "misuse": m.misuse, "pass": m.pass,
			"": func(t *rapid.T) {
				for _, p := range m.people {
					if n := b.count(`SELECT count(*) FROM auth.session WHERE account_id = $1`, p.id); n != p.sessions {
						t.Fatalf("%s has %d sessions, want %d", p.email, n, p.sessions)
					}
				}
			},
		})
		sessions += m.people[0].sessions + m.people[1].sessions
	})
	if t.Logf("%d runs, %d sessions", runs, sessions); sessions == 0 {
		t.Error("no session was ever opened: the walk goes nowhere")
	}
}
