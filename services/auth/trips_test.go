package auth

import (
	"testing"

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
