package auth

import (
	"context"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/auth/password"
)

func (b *bench) setPHC(email, phc string) account {
	b.t.Helper()
	acc, found, err := b.accountByEmail(b.t.Context(), b.db.Pool, email)
	if err != nil || !found {
		b.t.Fatal(found, err)
	}
	if _, err := b.db.Pool.Exec(b.t.Context(), `UPDATE auth.credential SET phc = $1 WHERE account_id = $2`, phc, acc.ID); err != nil {
		b.t.Fatal(err)
	}
	return acc
}

func bcryptOf(t *testing.T, plain string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(plain), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// A hash of the old system signs in and becomes one of today's; wrong passwords
// change nothing; and one that was changed meanwhile stays changed.
func TestLegacyHashIsUpgraded(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	old := strings.Replace(bcryptOf(t, goodPassword), "$2a$", "$2y$", 1)
	acc := b.setPHC(ashasMail, old)
	if err := b.loginOn(b.on("", "203.0.113.7"), ashasMail, "wrong password"); !fail.Is(err, fail.InvalidCredentials) {
		t.Fatal(err)
	}
	if phc, err := b.credential(t.Context(), b.db.Pool, acc.ID); err != nil || phc != old {
		t.Fatalf("a wrong password left %s, %v", phc, err)
	}
	b.mustLogin(ashasMail)
	phc, err := b.credential(t.Context(), b.db.Pool, acc.ID)
	if err != nil || password.Outdated(phc) {
		t.Fatalf("after login: %s, %v", phc, err)
	}
	b.mustLogin(ashasMail)

	b.setPHC(ashasMail, old)
	if got := b.renewHash(t.Context(), acc.ID, "another hash", goodPassword); got != "another hash" {
		t.Errorf("renewed over a change: %s", got)
	}
	if phc, err := b.credential(t.Context(), b.db.Pool, acc.ID); err != nil || phc != old {
		t.Errorf("a change was undone: %s, %v", phc, err)
	}
}

// identity.md row 34: a hostile hash in the database refuses, and takes no time.
func TestHostileStoredHash(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	b.setPHC(ashasMail, "$argon2id$v=19$m=4294967295,t=2,p=1$c2l4dGVlbiBieXRlcyBvaw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err := b.loginOn(b.on("", "203.0.113.7"), ashasMail, goodPassword); !fail.Is(err, fail.InvalidCredentials) {
		t.Errorf("got %v", err)
	}
}

// A login whose password was changed after it had been compared opens nothing.
func TestLoginLosesToAChange(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	acc, _, err := b.accountByEmail(t.Context(), b.db.Pool, ashasMail)
	if err != nil {
		t.Fatal(err)
	}
	phc, err := b.credential(t.Context(), b.db.Pool, acc.ID)
	if err != nil {
		t.Fatal(err)
	}
	next, err := password.Hash("another good password", b.rand)
	if err != nil {
		t.Fatal(err)
	}
	err = b.db.InTx(t.Context(), func(ctx context.Context, tx pg.Tx) error { return b.putPHC(ctx, tx, acc.ID, next, b.now()) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.admitOwner(t.Context(), acc, phc, goodPassword, b.on("", "203.0.113.7")); !fail.Is(err, fail.InvalidCredentials) {
		t.Errorf("got %v", err)
	}
}
