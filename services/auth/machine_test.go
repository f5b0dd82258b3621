package auth

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// resetMachine walks the flows around a reset in any order. Its model is small:
// the password may change only by a live code that was mailed for a reset.
type resetMachine struct {
	b       *bench
	account uuid.UUID
	email   string
	phc     string
	issued  []issuedCode
	serial  int
}

// issuedCode is a challenge with the code that belongs to it, "" for a decoy.
type issuedCode struct {
	purpose, ch, code string
	at                time.Time
	wrong             int
	dead              bool
}

func (m *resetMachine) live(x issuedCode) bool {
	return x.purpose == purposeReset && x.code != "" && !x.dead && x.wrong < maxAttempts && m.b.now().Sub(x.at) < codeLife
}

func (m *resetMachine) stored(t *rapid.T) string {
	phc, err := m.b.credential(m.b.t.Context(), m.b.db.Pool, m.account)
	if err != nil {
		t.Fatal(err)
	}
	return phc
}

func (m *resetMachine) forgot(t *rapid.T) {
	m.b.clock.pass(15 * time.Minute) // past the pause and the hour's quota
	to := rapid.SampledFrom([]string{m.email, "nobody-" + m.email}).Draw(t, "to")
	ch, err := m.b.forgotten(to)
	if err != nil {
		t.Fatal(err)
	}
	m.issued = append(m.issued, issuedCode{purpose: purposeReset, ch: ch.GetChallengeId(), code: m.b.last(to).Code, at: m.b.now()})
}

func (m *resetMachine) signInCode(t *rapid.T) {
	m.b.clock.pass(2 * time.Minute)
	m.b.forgetCounters()
	ch, err := m.b.mailCode(m.email)
	if err != nil {
		return // the hour's quota
	}
	m.issued = append(m.issued, issuedCode{purpose: purposeSignIn, ch: ch.GetChallengeId(), code: m.b.last(m.email).Code, at: m.b.now()})
}

// reset tries any challenge with any code that was ever mailed, or a wrong one.
func (m *resetMachine) reset(t *rapid.T) {
	if len(m.issued) == 0 {
		t.Skip("nothing to answer")
	}
	m.b.forgetCounters() // the limits have their own tests
	i := rapid.IntRange(0, len(m.issued)-1).Draw(t, "challenge")
	from := m.issued[rapid.IntRange(0, len(m.issued)-1).Draw(t, "code of")]
	code := from.code
	if code == "" || rapid.Bool().Draw(t, "guessed") {
		code = wrongOf(m.issued[i].code)
	}
	m.serial++
	plain := rapid.SampledFrom([]string{"horse battery " + itoa(m.serial), "password1", m.email}).Draw(t, "password")
	x := &m.issued[i]
	right := m.live(*x) && code == x.code
	err := m.b.resetTo(x.ch, code, plain)
	if changed := m.stored(t) != m.phc; changed != (err == nil) || changed && !right {
		t.Fatalf("the code was right and live: %t; the password changed: %t; answer: %v", right, changed, err)
	}
	switch {
	case err == nil:
		for j := range m.issued {
			m.issued[j].dead = true
		}
	case plain != "password1" && code != x.code: // looked at
		x.wrong++
	case right && plain != "password1" && plain != m.email:
		t.Fatalf("a right code was refused: %v", err)
	}
	m.phc = m.stored(t)
}

func (m *resetMachine) signIn(t *rapid.T) {
	if len(m.issued) == 0 {
		t.Skip("nothing to answer")
	}
	m.b.forgetCounters()
	x := &m.issued[rapid.IntRange(0, len(m.issued)-1).Draw(t, "challenge")]
	if _, err := m.b.otp(x.ch, x.code); err == nil && x.purpose != purposeSignIn {
		t.Fatalf("a code for %s signed in", x.purpose)
	}
	if x.purpose == purposeSignIn {
		x.dead = true
	}
}

func (m *resetMachine) login(t *rapid.T) {
	m.b.forgetCounters()
	if _, err := m.b.pub.VerifyMfa(m.b.visitor(), &authv1.VerifyMfaRequest{MfaToken: "mfa_x", Code: "000000"}); err == nil {
		t.Fatal("a login out of nothing")
	}
}

// forgetLetters empties the letter box, which is read whole each time.
func (b *bench) forgetLetters() {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.c.MessagesDir, "*.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestResetMachine: identity.md row 41.
func TestResetMachine(t *testing.T) {
	b := newBench(t)
	phc, err := b.hash.Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	runs, resets := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		b.forgetLetters()
		p := person{Email: "asha" + itoa(runs) + "@example.com", FirstName: "Asha", LastName: "Rao", Locale: "en", AcceptedTerms: seedTerms}
		var acc account
		err := b.db.InTx(b.t.Context(), func(ctx context.Context, tx pg.Tx) (err error) {
			acc, _, err = b.activate(ctx, tx, p, phc, []string{roleUser}, &token.Caller{}, b.now())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &resetMachine{b: b, account: acc.ID, email: p.Email, phc: phc}
		t.Repeat(map[string]func(*rapid.T){
			"forgot": m.forgot, "code": m.signInCode, "reset": m.reset, "sign in": m.signIn, "login": m.login,
			"": func(t *rapid.T) {
				if m.stored(t) != m.phc {
					t.Fatalf("the password of %s changed by no reset", id.Format("usr", m.account))
				}
			},
		})
		resets += b.count(`SELECT count(*) FROM auth.one_time WHERE account_id = $1 AND used_at IS NOT NULL`, m.account)
	})
	if t.Logf("%d runs, %d codes used", runs, resets); resets == 0 {
		t.Error("no code was ever used: the walk goes nowhere")
	}
}
