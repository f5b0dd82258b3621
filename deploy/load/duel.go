package load

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
)

// rival is something that takes its turn.
type rival struct {
	name string
	from source
	pids map[string]int
	rate []float64
	cpu  []time.Duration
}

func (b *bench) stick(names ...string) map[string]int {
	out := map[string]int{}
	for _, n := range names {
		out[n] = b.sticks[n].pid
	}
	return out
}

// duels lets ours and the yardsticks take turns, so that what else the machine
// does meets all of them; what counts is the ratio within a turn.
func (b *bench) duels(ctx context.Context) error {
	at := func(stick string) string { return "http://" + b.sticks[stick].addr + "/api/v1/users/me" }
	chain := b.pids()
	list := []*rival{
		{name: stickHello, from: b.get(at(stickHello)), pids: b.stick(stickHello)},
		{name: stickGate, from: b.get(at(stickGate)), pids: b.stick(stickGate, stickEcho)},
		{name: stickEdge, from: b.get(at(stickEdge)), pids: b.stick(stickEdge, stickUser)},
		{name: stickPgx, from: b.get(at(stickPgx)), pids: map[string]int{stickPgx: b.sticks[stickPgx].pid, "postgres": chain["postgres"]}},
		{name: "me", from: b.get(b.base + "/users/me"), pids: chain},
	}
	for name, begin := range map[string]func(context.Context) (stick, error){"nginx": b.nginx, "haproxy": b.haproxy} {
		if _, err := exec.LookPath(name); err != nil {
			b.report.Without = append(b.report.Without, name)
			continue
		}
		k, err := begin(ctx)
		if err != nil {
			return err
		}
		b.sticks[name] = k
		list = append(list, &rival{name: name, from: b.get(at(name)), pids: b.stick(name, stickHello)})
	}
	if err := b.turns(ctx, list, b.rounds, 16, b.slice); err != nil {
		return err
	}
	b.ratio("edge / bare grpc-gateway", list, stickEdge, stickGate, 0.70)
	b.ratio("GET /users/me / net/http + pgx", list, "me", stickPgx, 0.40)
	b.ratio("edge / net/http", list, stickEdge, stickHello, 0)
	for _, name := range []string{"nginx", "haproxy"} {
		b.ratio("edge / "+name, list, stickEdge, name, 0)
	}
	return nil
}

// logins beside raw argon2id of the same strength, as many at once as cores hash.
func (b *bench) logins(ctx context.Context) error {
	list := []*rival{
		{name: stickArgon, from: b.get("http://" + b.sticks[stickArgon].addr + "/"), pids: b.stick(stickArgon)},
		{name: "login", from: b.enter, pids: b.pids()},
	}
	if err := b.turns(ctx, list, b.loginRounds, 2, b.loginSlice); err != nil {
		return err
	}
	b.ratio("login / raw argon2id", list, "login", stickArgon, 0.90)
	return nil
}

func (b *bench) turns(ctx context.Context, list []*rival, rounds, workers int, d time.Duration) error {
	for round := -1; round < rounds; round++ { // the first warms up
		for _, r := range list {
			before, err := usageOf(r.pids)
			if err != nil {
				return err
			}
			got := b.load.closed(ctx, workers, d, r.from)
			after, err := usageOf(r.pids)
			if err != nil {
				return err
			}
			if got.Errors > 0 {
				return fmt.Errorf("%s: %d of %d: %w", r.name, got.Errors, got.Requests, got.First)
			}
			if round < 0 {
				continue
			}
			var cpu time.Duration
			for name := range after {
				cpu += after[name].CPU - before[name].CPU
			}
			r.rate, r.cpu = append(r.rate, got.rate()), append(r.cpu, cpu/time.Duration(max(1, got.Requests)))
		}
	}
	for _, r := range list {
		b.report.Rivals = append(b.report.Rivals, Rival{Name: r.name, Rate: median(r.rate), CPU: median(r.cpu)})
	}
	return nil
}

// ratio notes ours by theirs, turn by turn; floor 0 is not judged.
func (b *bench) ratio(name string, list []*rival, ours, theirs string, floor float64) {
	find := func(n string) int { return slices.IndexFunc(list, func(r *rival) bool { return r.name == n }) }
	i, j := find(ours), find(theirs)
	if i < 0 || j < 0 {
		return
	}
	var by []float64
	for k := range list[i].rate {
		by = append(by, list[i].rate[k]/list[j].rate[k])
	}
	slices.Sort(by)
	b.report.Ratios = append(b.report.Ratios, Ratio{Name: name, Median: median(by), Low: by[0], High: by[len(by)-1]})
	if floor > 0 {
		b.report.judge(name, median(by), floor, true)
	}
}

func (b *bench) nginx(ctx context.Context) (stick, error) {
	return b.proxy(ctx, "nginx", `worker_processes 2; pid nginx.pid; error_log nginx.log; daemon off;
events { worker_connections 1024; }
http { access_log off; upstream b { server %s; keepalive 64; }
  server { listen 127.0.0.1:%s; location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://b; } } }
`, "-p", b.Dir, "-e", b.Dir+"/nginx.log", "-c")
}

func (b *bench) haproxy(ctx context.Context) (stick, error) {
	return b.proxy(ctx, "haproxy", `global
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen b
  server s %s
  bind 127.0.0.1:%s
`, "-f")
}

// proxy starts somebody else's proxy before the hello yardstick.
func (b *bench) proxy(ctx context.Context, program, conf string, args ...string) (stick, error) {
	ports, err := stack.FreePorts(ctx, 1)
	if err != nil {
		return stick{}, fmt.Errorf("find a port: %w", err)
	}
	port := strconv.Itoa(ports[0])
	file := filepath.Join(b.Dir, program+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, b.sticks[stickHello].addr, port), 0o600); err != nil {
		return stick{}, fmt.Errorf("write %s: %w", file, err)
	}
	cmd := exec.CommandContext(ctx, program, append(args, file)...) //nolint:gosec // one of two
	if err := cmd.Start(); err != nil {
		return stick{}, fmt.Errorf("start %s: %w", program, err)
	}
	k := stick{addr: "127.0.0.1:" + port, pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it was asked to
	}}
	for range 100 {
		if err = b.load.send(ctx, request{method: http.MethodGet, url: "http://" + k.addr + "/", want: http.StatusOK}); err == nil {
			return k, nil
		}
		if !wait(ctx, 50*time.Millisecond) {
			break
		}
	}
	k.stop()
	return stick{}, fmt.Errorf("%s does not answer: %w", program, err)
}

func median[T float64 | time.Duration](list []T) T {
	if len(list) == 0 {
		return 0
	}
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
