package page_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/page"
)

type cursor struct {
	At string `json:"at"`
	ID string `json:"id"`
}

const secret = "0123456789abcdef0123456789abcdef"

func TestSize(t *testing.T) {
	for n, want := range map[int32]int{math.MinInt32: 20, -1: 20, 0: 20, 1: 1, 20: 20, 100: 100, 101: 100, math.MaxInt32: 100} {
		if got := page.Size(n); got != want {
			t.Errorf("Size(%d): got %d, want %d", n, got, want)
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	s := page.NewSealer(secret)
	want := cursor{At: "2026-01-01", ID: "42"}
	tok := s.Seal("users?state=ACTIVE", want)
	var got cursor
	if err := page.NewSealer(secret).Open("users?state=ACTIVE", tok, &got); err != nil {
		t.Fatalf("Open in another replica: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cursor (-want +got):\n%s", diff)
	}
	for name, try := range map[string]func() error{
		"other query":  func() error { return s.Open("users", tok, &got) },
		"other secret": func() error { return page.NewSealer(secret+"x").Open("users?state=ACTIVE", tok, &got) },
		"changed":      func() error { return s.Open("users?state=ACTIVE", "A"+tok[1:]+"A", &got) },
		"cut":          func() error { return s.Open("users?state=ACTIVE", tok[:len(tok)-4], &got) },
		"empty":        func() error { return s.Open("users?state=ACTIVE", "", &got) },
		"not base64":   func() error { return s.Open("users?state=ACTIVE", "{}", &got) },
		"other type": func() error {
			var n int
			return s.Open("users?state=ACTIVE", tok, &n)
		},
	} {
		err := try()
		e, ok := fail.As(err)
		if !ok || !fail.Is(err, fail.InvalidArgument) || len(e.Fields) != 1 || e.Fields[0].Field != "pageToken" {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT of pageToken", name, err)
		}
	}
}

// identity.md row 61: a token nobody sealed opens nothing.
func FuzzOpen(f *testing.F) {
	s := page.NewSealer(secret)
	want := cursor{ID: "1"}
	f.Add(s.Seal("q", want))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, tok string) {
		var c cursor
		if err := s.Open("q", tok, &c); err == nil && c != want {
			t.Errorf("Open(%q) accepts what nobody sealed: %+v", tok, c)
		}
	})
}
