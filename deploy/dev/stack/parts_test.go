package stack

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// TestPartsComeAndGo takes parts away from a tolerant stack, which goes on.
func TestPartsComeAndGo(t *testing.T) {
	s := suite(t)
	s.Tolerant = true
	ctx, cancel := context.WithCancel(t.Context())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Up(ctx, func() { close(up) }) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	for _, name := range []string{"payment", "gateway", "sandbox", "redis", "postgres"} {
		before := s.kids.pid(name)
		if err := s.StopPart(ctx, name); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
		if e := s.Endpoint(name); e.PID != 0 || startOf(before) != "" {
			t.Errorf("%s still runs: %+v", name, e)
		}
		if err := s.StopPart(ctx, name); err == nil {
			t.Errorf("%s stopped twice", name)
		}
		if err := s.StartPart(ctx, name); err != nil {
			t.Errorf("start %s: %v", name, err)
		}
		if pid := s.Endpoint(name).PID; pid == 0 || pid == before {
			t.Errorf("%s was process %d, is %d", name, before, pid)
		}
		if err := s.StartPart(ctx, name); err == nil {
			t.Errorf("%s started twice", name)
		}
	}
	if err := s.KillPart(ctx, "audit"); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(s.kids.pid("user"), syscall.SIGKILL); err != nil { // nobody announced this one
		t.Fatal(err)
	}
	if err := poll(ctx, 10*time.Second, func(ctx context.Context) error { return s.StartPart(ctx, "user") }); err != nil {
		t.Error(err)
	}
	if err := ask(ctx, s.AdminURL(), "SELECT 1"); err != nil {
		t.Error(err)
	}
	pids := s.pids(t)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Up ended with %v", err)
	}
	gone(t, pids)
}
