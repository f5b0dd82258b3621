package load

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// TestNothingIsLeftOut: one worker and a server that stalls once. The requests
// that should have left meanwhile are charged with their wait.
func TestNothingIsLeftOut(t *testing.T) {
	var served atomic.Int64
	stall := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 1 {
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	time.AfterFunc(300*time.Millisecond, func() { close(stall) })
	got := newGenerator(time.Now).open(t.Context(), 100, 1, 300*time.Millisecond, func(int64) request {
		return request{method: http.MethodGet, url: s.URL, want: http.StatusNoContent}
	})
	if got.Requests != 30 || got.Errors != 0 {
		t.Fatalf("%d requests, %d errors (%v), want 30 and 0", got.Requests, got.Errors, got.First)
	}
	if p50 := got.quantile(50); p50 < 100*time.Millisecond {
		t.Errorf("p50 is %v: the wait of those behind the stalled one is left out", p50)
	}
}

func TestParseStat(t *testing.T) {
	got, ok := parseStat("42 (a b) c) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 1 0 100 1000000 25 18446744073709551615\n")
	if !ok || got.parent != 7 || got.CPU != 400*time.Millisecond || got.RSS != 25*int64(os.Getpagesize()) {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := parseStat("42 (short) S 7"); ok {
		t.Error("half a line is taken")
	}
}

// TestJudge: a floor fails the run a quarter below itself, not before.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name         string
		value, floor float64
		least        bool
		met, failed  bool
	}{
		{"above", 0.8, 0.7, true, true, false},
		{"a little below", 0.6, 0.7, true, false, false},
		{"far below", 0.5, 0.7, true, false, true},
		{"few", 70, 80, false, true, false},
		{"some more", 100, 80, false, false, false},
		{"many", 110, 80, false, false, true},
		{"an error where none may be", 1, 0, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Report
			r.judge(tt.name, tt.value, tt.floor, tt.least)
			if v := r.Verdict[0]; v.Met != tt.met || v.Failed != tt.failed || (r.Failed() != nil) != tt.failed {
				t.Errorf("got met %v, failed %v", v.Met, v.Failed)
			}
		})
	}
}
