package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/local"
)

const (
	startLimit = 10 * time.Minute // the first build compiles the world
	stopLimit  = 2 * time.Minute
	password   = "correct horse battery 9"
)

// Config is one run.
type Config struct {
	Short     bool
	Root, Dir string // the repository; an empty folder for the stack
	Self      string // this program
	Now       func() time.Time
	Rand      io.Reader
	Out       io.Writer
	Env       func(string) string
}

// person is an account with a session of its own.
type person struct {
	email           string
	access, refresh string
}

// stand is a private stack with people in it, and yardsticks beside it.
type stand struct {
	Config

	stack  *stack.Stack
	base   string // of the API
	people []*person
	gate   map[string]string // the gateway's environment
	sticks map[string]stick
	load   *generator
}

// pids are all processes of the stack, the load generator and Redis too.
func (s *stand) pids() map[string]int {
	out := map[string]int{}
	for _, name := range append([]string{"gateway", "postgres", "redis"}, stack.Services...) {
		out[name] = s.stack.Endpoint(name).PID
	}
	return out
}

type said struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

// Write keeps what the stack says.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p) //nolint:wrapcheck // never fails
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// open starts the stack and signs the people in.
func open(ctx context.Context, c Config, accounts int) (*stand, func() error, error) {
	ports, err := stack.FreePorts(ctx, 2)
	if err != nil {
		return nil, nil, fmt.Errorf("find ports: %w", err)
	}
	set := map[string]string{
		"PORT": strconv.Itoa(ports[0]), "SANDBOX_PORT": strconv.Itoa(ports[1]), "MANAS_DATA_DIR": c.Dir, "LOG_LEVEL": "warn", "TRUSTED_PROXIES": "127.0.0.0/8",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MANAS_POSTGRES", "MANAS_REDIS"} {
		set[name] = c.Env(name)
	}
	sc, err := stack.Read(func(name string) string { return set[name] }, c.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("read the stack's settings: %w", err)
	}
	s := &stand{Config: c, base: "http://127.0.0.1:" + set["PORT"] + "/api/v1", sticks: map[string]stick{}, load: newGenerator(c.Now)}
	for i := range accounts {
		s.people = append(s.people, &person{email: fmt.Sprintf("bench%d@example.com", i)})
	}
	hooks := local.Hooks()
	seed := hooks.Seed
	hooks.Seed = func(ctx context.Context, url, access, refresh string, list []stack.Account) error {
		for _, p := range s.people {
			list = append(list, stack.Account{Email: p.email, Password: password, FirstName: "Asha", LastName: "Rao", Role: "user"})
		}
		return seed(ctx, url, access, refresh, list)
	}
	life, end := context.WithCancel(ctx)
	out := &said{}
	s.stack = &stack.Stack{
		Config: sc, Hooks: hooks, Now: c.Now, Rand: c.Rand, Out: out, Self: c.Self, Tolerant: true,
		Alter: func(name string, env map[string]string) error {
			if name == "gateway" {
				s.gate = maps.Clone(env)
			}
			return nil
		},
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.stack.Up(life, func() { close(ready) }) }()
	stop := func() error {
		for _, k := range s.sticks {
			k.stop()
		}
		end()
		select {
		case err := <-ended:
			return err
		case <-time.After(stopLimit):
			return fmt.Errorf("the stack did not stop within %v", stopLimit)
		}
	}
	select {
	case <-ready:
	case err := <-ended:
		end()
		return nil, nil, fmt.Errorf("the stack did not start: %w\n%s", err, out)
	case <-time.After(startLimit):
		return nil, nil, errors.Join(fmt.Errorf("the stack did not start within %v\n%s", startLimit, out), stop())
	}
	if err := s.prepare(ctx); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return s, stop, nil
}

// prepare lets PostgreSQL count statements, signs everybody in, and starts the
// yardsticks.
func (s *stand) prepare(ctx context.Context) error {
	if err := s.countStatements(ctx); err != nil {
		return err
	}
	if err := s.signIn(ctx); err != nil {
		return err
	}
	for _, name := range []string{stickHello, stickArgon, stickEcho} {
		if err := s.startStick(ctx, name, "2"); err != nil {
			return err
		}
	}
	for name, arg := range map[string]string{stickPgx: s.stack.AdminURL(), stickGate: s.sticks[stickEcho].addr, stickUser: s.Dir + "/tls"} {
		if err := s.startStick(ctx, name, "2", arg); err != nil {
			return err
		}
	}
	return s.startEdge(ctx)
}

func (s *stand) startStick(ctx context.Context, name, procs string, args ...string) error {
	k, err := start(ctx, s.Self, procs, append([]string{name}, args...)...)
	if err == nil {
		s.sticks[name] = k
	}
	return err
}

const stickEdge = "edge" // a gateway of ours before the user yardstick

// startEdge runs the real gateway once more, before a user service that does
// nothing: what is left is the edge's own cost.
func (s *stand) startEdge(ctx context.Context) error {
	ports, err := stack.FreePorts(ctx, 2)
	if err != nil {
		return fmt.Errorf("find ports: %w", err)
	}
	env := maps.Clone(s.gate)
	env["PORT"], env["OPS_ADDR"], env["SPOOL_DIR"] = strconv.Itoa(ports[0]), "127.0.0.1:"+strconv.Itoa(ports[1]), s.Dir+"/spool-edge"
	env["USER_ADDR"] = s.sticks[stickUser].addr
	cmd := exec.CommandContext(ctx, s.Root+"/.bin/gatewayd") //nolint:gosec // our own program
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	var log said
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start another gateway: %w", err)
	}
	s.sticks[stickEdge] = stick{addr: "127.0.0.1:" + env["PORT"], pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}}
	for range 200 {
		if err = s.load.send(ctx, request{method: http.MethodGet, url: "http://" + env["OPS_ADDR"] + "/readyz", want: http.StatusOK}); err == nil {
			return nil
		}
		if !wait(ctx, 50*time.Millisecond) {
			break
		}
	}
	return fmt.Errorf("another gateway: %w\n%s", err, log.String())
}

// signIn gives everybody a session, as many at once as there are cores.
func (s *stand) signIn(ctx context.Context) error {
	got := s.load.run(ctx, 2, startLimit, func(_ time.Time, n int64) (time.Time, bool) { return s.Now(), n < int64(len(s.people)) },
		func(n int64) request { return s.login(s.people[n]) })
	if got.Errors > 0 {
		return fmt.Errorf("sign %d of %d in: %w", got.Errors, got.Requests, got.First)
	}
	return nil
}

func (s *stand) login(p *person) request {
	body, err := json.Marshal(map[string]string{"email": p.email, "password": password})
	return request{method: http.MethodPost, url: s.base + "/auth/login", body: body, want: http.StatusOK, done: func(raw []byte, failed error) {
		if err == nil && failed == nil {
			p.take(raw)
		}
	}}
}

func (p *person) take(raw []byte) {
	var got struct{ AccessToken, RefreshToken string }
	if json.Unmarshal(raw, &got) == nil && got.RefreshToken != "" {
		p.access, p.refresh = got.AccessToken, got.RefreshToken
	}
}
