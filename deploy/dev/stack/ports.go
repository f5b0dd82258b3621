package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Ports below the range from which the system takes ports of outgoing connections: a port that is free
// now stays free until its process has it.
const (
	firstPort = 20000
	lastPort  = 32000
)

// checkPort says in one line that a port is taken, and which variable moves it.
func checkPort(ctx context.Context, variable string, port int) error {
	for _, host := range []string{"", "127.0.0.1"} {
		if err := tryListen(ctx, host, port); err != nil {
			return problem("port %d is in use: stop what holds it, or set %s to another port (%v)", port, variable, errors.Unwrap(err))
		}
	}
	return nil
}

func tryListen(ctx context.Context, host string, port int) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen on %d: %w", port, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("close the probe of %d: %w", port, err)
	}
	return nil
}

// FreePorts finds n ports on the loopback address.
func FreePorts(ctx context.Context, n int) ([]int, error) {
	var got []int
	seen := map[int]bool{}
	for range 2000 {
		p := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // a port is no secret
		if seen[p] {
			continue
		}
		seen[p] = true
		if tryListen(ctx, "127.0.0.1", p) != nil {
			continue
		}
		if got = append(got, p); len(got) == n {
			return got, nil
		}
	}
	return nil, problem("no %d free ports between %d and %d", n, firstPort, lastPort)
}

// waitPort waits until something listens.
func waitPort(ctx context.Context, addr string, limit time.Duration) error {
	return poll(ctx, limit, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		return c.Close()
	})
}

// poll tries until it works; the last error tells why it never did.
func poll(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		one, stop := context.WithTimeout(ctx, 2*time.Second)
		err := try(one)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
				return cause
			}
			return err
		case <-tick.C:
		}
	}
}

// Endpoint is where one process listens.
type Endpoint struct {
	HTTP int `json:"http,omitempty"`
	GRPC int `json:"grpc,omitempty"`
	Ops  int `json:"ops,omitempty"`
	PID  int `json:"pid"`
}

// writePorts records what runs where, for tests and for people.
func (s *Stack) writePorts(at map[string]Endpoint, p *postgres, r *redis) error {
	all := map[string]any{"supervisor": map[string]int{"pid": s.kids.self()}, "redisHost": r.host, "redisPort": r.port}
	for name, e := range at {
		e.PID = s.kids.pid(name)
		all[name] = e
	}
	if p.socketDir != "" {
		all["postgresSocket"] = p.socketDir
		all["postgres"] = map[string]int{"pid": s.kids.pid("postgres")}
	}
	if pid := s.kids.pid("redis"); pid != 0 {
		all["redis"] = map[string]int{"pid": pid}
	}
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the ports: %w", err)
	}
	return writeFile(s.path("ports.json"), append(raw, '\n'))
}
