package auth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const goodPassword = "correct horse battery"

// clock stands still until it is told to move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// bench is the service on a real Postgres and Redis, with a clock of its own.
type bench struct {
	*Service

	t      *testing.T
	clock  *clock
	pub    *publicServer
	inside *internalServer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	r := rdbtest.Config(t)
	client := rdb.Open(r)
	t.Cleanup(func() { _ = client.Close() })
	ck := &clock{at: time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)}
	c := Config{
		Redis: r, JWTSecret: "an access secret of 32 characters", JWTRefreshSecret: "a refresh secret of 32 characters",
		AccessTTL: config.Duration(15 * time.Minute), RefreshTTL: config.Duration(7 * 24 * time.Hour),
		Issuer: "https://auth.manas360.local", Audience: "manas360-api", PageSecret: "a page secret of 32 characters long",
		MessagesDir: t.TempDir(), TermsVersion: "2026-01", PrivacyVersion: "2026-01",
		PublicURL: "http://localhost:5001", WebAuthnRPID: "localhost",
	}
	db := pgtest.New(t, schema, migrations.For("auth"))
	s := New(c, Deps{DB: db, Redis: client, IDs: id.NewMaker(ck.now, rand.Reader), Now: ck.now, Rand: rand.Reader})
	s.rest = func(context.Context, time.Duration) {}
	if err := s.loadKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{Service: s, t: t, clock: ck, pub: &publicServer{Service: s}, inside: &internalServer{Service: s}}
}

// from is a context of a visitor at an address.
func from(ctx context.Context, ip string) context.Context {
	return token.NewContext(ctx, &token.Caller{ClientIP: ip, UserAgent: "test", RequestID: "req-1"})
}

func (b *bench) visitor() context.Context { return from(b.t.Context(), "203.0.113.7") }

// as is a context of whoever holds an access token.
func (b *bench) as(access string) context.Context {
	b.t.Helper()
	claims, err := b.keys.verifier.Verify(access)
	if err != nil {
		b.t.Fatalf("verify the access token: %v", err)
	}
	c, err := claims.Caller()
	if err != nil {
		b.t.Fatal(err)
	}
	c.RequestID, c.ClientIP = "req-1", "203.0.113.7"
	return token.NewContext(b.t.Context(), c)
}

func registration1(email string) *authv1.RegisterRequest {
	return &authv1.RegisterRequest{Email: email, Password: goodPassword, FirstName: "Asha", LastName: "Rao", AcceptedTerms: "2026-01"}
}

func (b *bench) mustRegister(email string) (challenge, code string) {
	b.t.Helper()
	r, err := b.pub.Register(b.visitor(), registration1(email))
	if err != nil {
		b.t.Fatalf("register %s: %v", email, err)
	}
	m := b.letters()
	return r.GetChallengeId(), m[len(m)-1].Code
}

// mustJoin registers, verifies and gives the first session.
func (b *bench) mustJoin(email string) *authv1.SessionGrant {
	b.t.Helper()
	ch, code := b.mustRegister(email)
	r, err := b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: ch, Code: code})
	if err != nil {
		b.t.Fatalf("verify %s: %v", email, err)
	}
	return r.GetSession()
}

func (b *bench) mustSeed(a SeedAccount) uuid.UUID {
	b.t.Helper()
	if a.Password == "" {
		a.Password = goodPassword
	}
	a.FirstName, a.LastName = "Asha", "Rao"
	if err := b.seed(b.t.Context(), a); err != nil {
		b.t.Fatal(err)
	}
	acc, _, err := b.accountByEmail(b.t.Context(), b.db.Pool, a.Email)
	if err != nil {
		b.t.Fatal(err)
	}
	return acc.ID
}

func (b *bench) tryLogin(email, password string) (*authv1.LoginAnswer, error) {
	r, err := b.pub.Login(b.visitor(), &authv1.LoginRequest{Email: email, Password: password})
	return r.GetAnswer(), err
}

func (b *bench) mustLogin(email string) *authv1.LoginAnswer {
	b.t.Helper()
	r, err := b.tryLogin(email, goodPassword)
	if err != nil {
		b.t.Fatalf("login %s: %v", email, err)
	}
	return r
}

func (b *bench) tryRefresh(raw string) (*authv1.SessionGrant, error) {
	r, err := b.pub.Refresh(b.visitor(), &authv1.RefreshRequest{RefreshToken: &raw})
	return r.GetSession(), err
}

// letters sends what waits and reads all that was ever sent, in order.
func (b *bench) letters() []letter {
	b.t.Helper()
	b.sendWaiting()
	files, err := filepath.Glob(filepath.Join(b.c.MessagesDir, "*.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(files)
	list := make([]letter, 0, len(files))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			b.t.Fatal(err)
		}
		var l letter
		if err := json.Unmarshal(text, &l); err != nil {
			b.t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// sendWaiting does what the jobs do, at once and in order.
func (b *bench) sendWaiting() {
	b.t.Helper()
	for _, id := range b.unsent() {
		if err := b.sendMessage(b.t.Context(), id, false); err != nil {
			b.t.Fatal(err)
		}
	}
}

// unsent are the messages not sent yet, the oldest first.
func (b *bench) unsent() []uuid.UUID {
	b.t.Helper()
	list, err := column[uuid.UUID](b.t.Context(), b.db.Pool, "list messages", `SELECT id FROM auth.message WHERE content IS NOT NULL ORDER BY created_at, id`, args{})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// count answers a query for one number.
func (b *bench) count(sql string, a ...any) (n int) {
	b.t.Helper()
	if err := b.db.Pool.QueryRow(b.t.Context(), sql, a...).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bench) exec(sql string, a ...any) {
	b.t.Helper()
	if _, err := b.db.Pool.Exec(b.t.Context(), sql, a...); err != nil {
		b.t.Fatal(err)
	}
}

// wantKind checks the kind of a refusal.
func wantKind(t *testing.T, what string, err error, want fail.Kind) {
	t.Helper()
	if !fail.Is(err, want) {
		t.Errorf("%s: got %v, want %s", what, err, want.Reason)
	}
}

// together runs n calls at once and counts their outcomes: "" or a reason.
func together(n int, call func(i int) error) map[string]int {
	var wg sync.WaitGroup
	start := make(chan struct{})
	got := make([]string, n)
	for i := range n {
		wg.Go(func() {
			<-start
			err := call(i)
			switch e, ok := fail.As(err); {
			case ok:
				got[i] = e.Kind.Reason
			case err != nil:
				got[i] = err.Error()
			}
		})
	}
	close(start)
	wg.Wait()
	sum := map[string]int{}
	for _, g := range got {
		sum[g]++
	}
	return sum
}

// queries finds every SQL constant of the store files by name.
func queries(t *testing.T) map[string]string {
	t.Helper()
	return constants(t, "store*.go")
}

func prepare(ctx context.Context, conn *pgx.Conn, name, sql string) error {
	text, _, err := pgx.NamedArgs{}.RewriteQuery(ctx, conn, sql, nil)
	if err != nil {
		return fmt.Errorf("rewrite: %w", err)
	}
	_, err = conn.Prepare(ctx, name, text)
	return err
}
