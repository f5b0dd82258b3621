package auth

import (
	"encoding/base64"
	"encoding/binary"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pgtest"
)

// TestRefreshIsOneTrip: rotation, its audit row and what the new token says are
// one statement; a forged token is none but two reads that touch nothing.
func TestRefreshIsOneTrip(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	var trips *pgtest.Trips
	b.db, trips = pgtest.Counted(t, b.db)
	before := b.count(`SELECT count(*) FROM auth.outbox`)
	trips.Take()
	next, err := b.tryRefresh(g.GetRefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	if sent := trips.Take(); len(sent) != 1 {
		t.Errorf("a refresh sent %d statements, want 1: %q", len(sent), sent)
	}
	if n := b.count(`SELECT count(*) FROM auth.outbox`) - before; n != 1 {
		t.Errorf("a refresh wrote %d events, want 1", n)
	}
	trips.Take()
	if _, err := b.tryRefresh(next.GetRefreshToken()[:80] + "AAAA" + next.GetRefreshToken()[84:]); !fail.Is(err, fail.InvalidRefreshToken) {
		t.Fatalf("forged: got %v", err)
	}
	if sent := trips.Take(); len(sent) != 2 {
		t.Errorf("a forged token sent %d statements, want 2: %q", len(sent), sent)
	}
	if n := b.count(`SELECT count(*) FROM auth.outbox`) - before; n != 1 {
		t.Errorf("a forged token wrote %d events", n-1)
	}
}

// A token of an earlier build goes on, and is caught when it is used twice.
func TestRefreshOfEarlierBuilds(t *testing.T) {
	b := newBench(t)
	now, _ := parseRefresh(b.mustJoin("asha@example.com").GetRefreshToken())
	x, found, err := b.session(t.Context(), b.db.Pool, now.Session)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	raw := binary.BigEndian.AppendUint64(now.Session[:], uint64(now.Counter))
	old := refreshPrefix + base64.RawURLEncoding.EncodeToString(append(raw, b.earlierTag(x.Salt, now)...))
	next, err := b.tryRefresh(old)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.tryRefresh(old) // within the grace: the same successor
	if err != nil || again.GetRefreshToken() != next.GetRefreshToken() {
		t.Errorf("within the grace: %v", err)
	}
	forged := []byte(old)
	forged[len(forged)-2] ^= 1
	if _, err := b.tryRefresh(string(forged)); !fail.Is(err, fail.InvalidRefreshToken) {
		t.Errorf("forged: %v", err)
	}
	b.clock.pass(time.Minute)
	if _, err := b.tryRefresh(old); !fail.Is(err, fail.RefreshReused) {
		t.Errorf("used again after the grace: %v", err)
	}
	if _, err := b.tryRefresh(next.GetRefreshToken()); !fail.Is(err, fail.InvalidRefreshToken) {
		t.Errorf("the session went on: %v", err)
	}
}
