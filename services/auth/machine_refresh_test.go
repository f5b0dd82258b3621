package auth

import (
	"context"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// refreshMachine walks the sessions of one person in any order. The current
// token rotates, the one before it gives its successor within the grace, and any
// older one ends the session.
type refreshMachine struct {
	b        *bench
	account  uuid.UUID
	sessions []*walked
	rotated  int
	reused   int
}

// walked is a session with every token it ever had, the last being current.
type walked struct {
	id      uuid.UUID
	tokens  []string
	opened  time.Time
	turned  time.Time
	revoked bool
}

func (m *refreshMachine) live(x *walked) bool {
	now := m.b.now()
	return !x.revoked && now.Sub(x.turned) < m.b.c.RefreshTTL.Std() && now.Sub(x.opened) < longestSession
}

func (m *refreshMachine) open(t *rapid.T) {
	g, err := m.b.signIn(t.Context(), m.account, passwordOnly, someone(m.b.visitor()))
	if err != nil {
		t.Fatal(err)
	}
	held, _ := parseRefresh(g.Refresh)
	m.sessions = append(m.sessions, &walked{id: held.Session, tokens: []string{g.Refresh}, opened: m.b.now(), turned: m.b.now()})
}

func (m *refreshMachine) pick(t *rapid.T) *walked {
	if len(m.sessions) == 0 {
		t.Skip("no session yet")
	}
	return rapid.SampledFrom(m.sessions).Draw(t, "session")
}

func (m *refreshMachine) refresh(t *rapid.T) {
	x := m.pick(t)
	behind := min(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 2, 5}).Draw(t, "behind"), len(x.tokens)-1)
	r, err := m.b.tryRefresh(x.tokens[len(x.tokens)-1-behind])
	got := r.GetRefreshToken()
	switch now := m.b.now(); {
	case !m.live(x):
		if !fail.Is(err, fail.InvalidRefreshToken) {
			t.Fatalf("a session that has ended: %v", err)
		}
	case behind == 0:
		if err != nil || slices.Contains(x.tokens, got) {
			t.Fatalf("the current token gave %q, %v", got, err)
		}
		x.tokens, x.turned = append(x.tokens, got), now
		m.rotated++
	case behind == 1 && now.Sub(x.turned) <= refreshGrace:
		if err != nil || got != x.tokens[len(x.tokens)-1] {
			t.Fatalf("within the grace: %q, %v", got, err)
		}
	default:
		if !fail.Is(err, fail.RefreshReused) {
			t.Fatalf("%d behind, %v after the rotation: %v", behind, now.Sub(x.turned), err)
		}
		x.revoked = true
		m.reused++
	}
}

// forge changes a bit of a token: no session is the worse for it.
func (m *refreshMachine) forge(t *rapid.T) {
	x := m.pick(t)
	raw, err := base64.RawURLEncoding.DecodeString(rapid.SampledFrom(x.tokens).Draw(t, "token")[len(refreshPrefix):])
	if err != nil {
		t.Fatal(err)
	}
	bit := rapid.IntRange(0, 8*len(raw)-1).Draw(t, "bit")
	raw[bit/8] ^= 1 << (bit % 8)
	if _, err := m.b.tryRefresh(refreshPrefix + base64.RawURLEncoding.EncodeToString(raw)); !fail.Is(err, fail.InvalidRefreshToken) {
		t.Fatalf("forged: %v", err)
	}
}

func (m *refreshMachine) logout(t *rapid.T) {
	x := m.pick(t)
	ctx := token.NewContext(t.Context(), &token.Caller{UserID: m.account, SessionID: x.id})
	if rapid.IntRange(0, 4).Draw(t, "all") > 0 {
		if _, err := m.b.pub.Logout(ctx, &authv1.LogoutRequest{}); err != nil {
			t.Fatal(err)
		}
		x.revoked = true
		return
	}
	if _, err := m.b.pub.LogoutAll(ctx, &authv1.LogoutAllRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, x := range m.sessions {
		x.revoked = true
	}
}

func (m *refreshMachine) pass(t *rapid.T) {
	m.b.clock.pass(rapid.SampledFrom([]time.Duration{
		time.Microsecond, time.Second, refreshGrace, refreshGrace + time.Second, time.Hour, 6 * 24 * time.Hour, 7 * 24 * time.Hour,
	}).Draw(t, "time"))
}

// TestRefreshMachine: identity.md rows 2 and 3.
func TestRefreshMachine(t *testing.T) {
	b := newBench(t)
	runs, rotated, reused := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := &refreshMachine{b: b}
		err := b.db.InTx(b.t.Context(), func(ctx context.Context, tx pg.Tx) error {
			p := person{Email: "asha" + itoa(runs) + "@example.com", FirstName: "Asha", LastName: "Rao", Locale: "en", AcceptedTerms: seedTerms}
			acc, _, err := b.activate(ctx, tx, p, "", []string{roleUser}, &token.Caller{}, b.now())
			m.account = acc.ID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		m.open(t)
		t.Repeat(map[string]func(*rapid.T){
			"open": m.open, "refresh": m.refresh, "refresh again": m.refresh, "and again": m.refresh,
			"forge": m.forge, "logout": m.logout, "pass": m.pass,
			"": func(t *rapid.T) {
				want := 0
				for _, x := range m.sessions {
					if !x.revoked {
						want++
					}
				}
				if n := b.count(`SELECT count(*) FROM auth.session WHERE account_id = $1 AND revoked_at IS NULL`, m.account); n != want {
					t.Fatalf("%d sessions are not revoked, want %d", n, want)
				}
			},
		})
		rotated, reused = rotated+m.rotated, reused+m.reused
	})
	if t.Logf("%d runs, %d rotations, %d reuses", runs, rotated, reused); rotated == 0 || reused == 0 {
		t.Error("the walk goes nowhere")
	}
}
