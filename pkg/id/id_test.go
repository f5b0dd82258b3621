package id_test

import (
	"bytes"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/id"
)

func TestMakerGrowsStrictly(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	m := id.NewMaker(func() time.Time { return now }, rand.Reader)
	last := m.New()
	if got := last.Version(); got != 7 {
		t.Fatalf("version: got %d, want 7", got)
	}
	if got := last.Variant(); got != uuid.RFC4122 {
		t.Fatalf("variant: got %s", got)
	}
	sec, nsec := last.Time().UnixTime()
	if got := time.Unix(sec, nsec); !got.Equal(now) {
		t.Errorf("time in the id: got %s, want %s", got, now)
	}
	for i := range 10000 {
		if i == 5000 {
			now = now.Add(-time.Hour) // a stepped clock must not undo the order
		}
		u := m.New()
		if bytes.Compare(u[:], last[:]) <= 0 {
			t.Fatalf("id %d: %s is not above %s", i, u, last)
		}
		if id.Format("usr", u) <= id.Format("usr", last) {
			t.Fatalf("text of id %d does not sort", i)
		}
		last = u
	}
}

func TestMakerConcurrently(t *testing.T) {
	m := id.NewMaker(time.Now, rand.Reader)
	var mu sync.Mutex
	seen := make(map[uuid.UUID]bool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				u := m.New()
				mu.Lock()
				seen[u] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 8000 {
		t.Errorf("distinct ids: got %d, want 8000", len(seen))
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, err := uuid.FromBytes(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		if err != nil {
			t.Fatal(err)
		}
		s := id.Format("pay", u)
		got, err := id.Parse("pay", s)
		if err != nil || got != u {
			t.Fatalf("Parse(%q): got %s, %v, want %s", s, got, err, u)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	good := id.Format("usr", uuid.Max)
	if good != "usr_7"+"zzzzzzzzzzzzzzzzzzzzzzzzz" {
		t.Fatalf("Format(max): got %q", good)
	}
	for _, s := range []string{
		"", "usr_", "usr", good[:len(good)-1], good + "0", "ses_" + good[4:], "usr-" + good[4:],
		"usr_8" + good[5:], "usr_7Z" + good[6:], "usr_7i" + good[6:], "usr_7l" + good[6:], "usr_7o" + good[6:],
		"usr_7u" + good[6:], "usr_7\x00" + good[6:], "usr_7é" + good[7:], uuid.Max.String(),
	} {
		if u, err := id.Parse("usr", s); err == nil {
			t.Errorf("Parse(%q): got %s, want an error", s, u)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("usr_01hzy3v7mq8r9s0t1v2w3x4y5z")
	f.Add("usr_8zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := id.Parse("usr", s)
		if err == nil && id.Format("usr", u) != s {
			t.Errorf("Parse(%q) accepts a second spelling of %s", s, u)
		}
	})
}
