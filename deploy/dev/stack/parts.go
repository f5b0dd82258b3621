package stack

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// A part is one child of a running stack: postgres, redis, sandbox, gateway or
// a service. What follows is for tests, on a stack that is Tolerant.

const partLimit = 30 * time.Second // for a part to answer again

// AdminURL is the administrator's address of the database.
func (s *Stack) AdminURL() string { return s.plan.pg.adminURL }

// RedisAddr is Redis's host:port.
func (s *Stack) RedisAddr() string { return s.plan.redis.addr() }

// Endpoint is where a part listens, with its process; the zero Endpoint if it
// does not run.
func (s *Stack) Endpoint(name string) Endpoint {
	e := s.plan.at[name]
	e.PID = s.kids.pid(name)
	return e
}

// StopPart asks a part to end, waits for it, and gives what it ended with: nil
// for status 0.
func (s *Stack) StopPart(ctx context.Context, name string) error {
	sig := syscall.SIGTERM
	if name == "postgres" {
		sig = syscall.SIGINT // fast shutdown: it would wait for its sessions otherwise
	}
	return s.endPart(ctx, name, sig)
}

// KillPart ends a part with SIGKILL and waits for its end. Not for postgres,
// whose processes outlive their first one.
func (s *Stack) KillPart(ctx context.Context, name string) error {
	err := s.endPart(ctx, name, syscall.SIGKILL)
	if err == nil || ctx.Err() != nil {
		return fmt.Errorf("kill %s: %w", name, errors.Join(err, ctx.Err()))
	}
	return nil // it cannot end well
}

func (s *Stack) endPart(ctx context.Context, name string, sig syscall.Signal) error {
	c := s.kids.child(name)
	if c == nil {
		return fmt.Errorf("%s does not run", name)
	}
	c.expect()
	if err := c.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", name, ctx.Err())
	}
}

// StartPart starts a part that has ended, as it was started before, and waits
// until it answers. A service answers before it is ready.
func (s *Stack) StartPart(ctx context.Context, name string) error {
	c, err := s.kids.again(ctx, name)
	if err != nil {
		return err
	}
	err = poll(ctx, partLimit, func(ctx context.Context) error {
		select {
		case <-c.done:
			return nil
		default:
			return s.answers(ctx, name)
		}
	})
	select {
	case <-c.done:
		return died(c)
	default:
		return err
	}
}

func (s *Stack) answers(ctx context.Context, name string) error {
	switch name {
	case "postgres":
		return ask(ctx, s.plan.pg.adminURL, "SELECT 1")
	case "redis":
		return s.plan.redis.ping(ctx)
	case "sandbox":
		return get(ctx, "http://"+local(s.SandboxPort)+"/livez")
	default:
		return get(ctx, "http://"+local(s.plan.at[name].Ops)+"/livez")
	}
}
