package e2e_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/api"
)

const partLimit = time.Minute

// down stops a part until up is called, or to the end of the test.
func down(t *testing.T, name string) (up func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), partLimit)
	defer cancel()
	if err := suite.StopPart(ctx, name); err != nil {
		t.Fatalf("stop %s: %v", name, err)
	}
	var once sync.Once
	up = func() { once.Do(func() { start(t, name) }) }
	t.Cleanup(func() { up(); allWell(t) })
	return up
}

func start(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(contextOf(t), partLimit)
	defer cancel()
	if err := suite.StartPart(ctx, name); err != nil {
		t.Errorf("start %s: %v", name, err)
	}
}

// kill ends a part without a chance to tidy up, and starts it again.
func kill(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), partLimit)
	defer cancel()
	if err := suite.KillPart(ctx, name); err != nil {
		t.Fatal(err)
	}
	start(t, name)
}

// allWell waits until the edge has been ready for longer than its answer may be
// old. Clean-ups run it too, when the test's own context has ended.
func allWell(t *testing.T) {
	t.Helper()
	const answerAge = 1100 * time.Millisecond // pkg/boot asks its checks once a second
	c := api.New("", time.Now)
	ctx, cancel := context.WithTimeout(contextOf(t), partLimit)
	defer cancel()
	var since time.Time
	for {
		a, err := c.Send(ctx, api.Call{Method: "GET", URL: suite.root + "/readyz"})
		switch {
		case err != nil || a.Status != 200:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > answerAge:
			return
		}
		if err := api.Pause(ctx, 5*lookGap); err != nil { // its own limit is a hundred a second
			t.Fatalf("not ready again after %v: %s", partLimit, a.Raw)
		}
	}
}

// unready waits until /readyz names all of them.
func unready(t *testing.T, c *caller, names ...string) {
	t.Helper()
	eventually(t, patience, "/readyz names what fails", func() (bool, string) {
		a := c.do(api.Call{Method: "GET", URL: suite.root + "/readyz"})
		var said struct {
			Failing []string `json:"failing"`
		}
		if a.Status != 503 || json.Unmarshal(a.Raw, &said) != nil {
			return false, string(a.Raw)
		}
		for _, n := range names {
			if !slices.Contains(said.Failing, n) {
				return false, string(a.Raw)
			}
		}
		return true, ""
	})
}

func pids() map[string]int {
	out := map[string]int{}
	for _, name := range append([]string{"gateway"}, stack.Services...) {
		out[name] = suite.Endpoint(name).PID
	}
	return out
}

// lived checks that nothing was restarted on the way.
func lived(t *testing.T, before map[string]int) {
	t.Helper()
	for name, pid := range pids() {
		if pid == 0 || pid != before[name] {
			t.Errorf("%s was process %d, is %d", name, before[name], pid)
		}
	}
}
