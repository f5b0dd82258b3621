package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// plan is how long each piece takes and how often it comes round.
type plan struct {
	accounts     int
	warm, calm   time.Duration
	piece, mixed time.Duration
	rounds       int
	slice        time.Duration
	loginRounds  int
	loginSlice   time.Duration
	mixes        []int
	limit        time.Duration // for the whole of it, start included
}

var (
	short = plan{
		accounts: 60, warm: time.Second, calm: 3 * time.Second, piece: 4 * time.Second, mixed: 6 * time.Second, rounds: 3, slice: 700 * time.Millisecond,
		loginRounds: 2, loginSlice: 1500 * time.Millisecond, mixes: []int{300}, limit: 15 * time.Minute,
	}
	full = plan{
		accounts: 300, warm: 3 * time.Second, calm: 10 * time.Second, piece: 15 * time.Second, mixed: 30 * time.Second, rounds: 12, slice: time.Second,
		loginRounds: 6, loginSlice: 3 * time.Second, mixes: []int{300, 1000, 2000}, limit: 40 * time.Minute,
	}
)

// bench is one run.
type bench struct {
	*stand
	plan

	tokens []string
	free   chan *person // whose session nobody renews just now
	calmly idle
	report *Report
}

// Run starts a private stack, measures, and stops it.
func Run(ctx context.Context, c Config) (rep Report, err error) {
	p := full
	if c.Short {
		p = short
	}
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	_, _ = fmt.Fprintf(c.Out, "starting a private stack with %d accounts\n", p.accounts)
	s, stop, err := open(ctx, c, p.accounts)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	rep.Began, rep.Short = c.Now(), c.Short
	b := &bench{stand: s, plan: p, free: make(chan *person, len(s.people)), report: &rep}
	for _, x := range s.people {
		b.tokens = append(b.tokens, x.access)
		b.free <- x
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"at rest", b.rest},
		{"each route alone", b.routes},
		{"beside yardsticks", b.duels},
		{"logins beside raw argon2id", b.logins},
		{"mixed", b.mix},
		{"a flood of logins", b.flood},
		{"processes", b.restart},
	} {
		_, _ = fmt.Fprintln(c.Out, step.name)
		if err := step.do(ctx); err != nil {
			return rep, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	rep.Took = c.Now().Sub(rep.Began)
	return rep, nil
}

func (b *bench) get(url string) source {
	return func(n int64) request {
		return request{method: http.MethodGet, url: url, token: b.tokens[n%int64(len(b.tokens))], want: http.StatusOK}
	}
}

// renew takes a session, renews it and gives it back: one session's tokens are
// never used twice.
func (b *bench) renew(int64) request {
	p := <-b.free
	return request{
		method: http.MethodPost, url: b.base + "/auth/refresh", body: []byte(`{"refreshToken":` + strconv.Quote(p.refresh) + `}`), want: http.StatusOK,
		done: func(raw []byte, err error) {
			if err == nil {
				p.take(raw)
			}
			b.free <- p
		},
	}
}

func (b *bench) enter(n int64) request {
	return request{
		method: http.MethodPost, url: b.base + "/auth/login", want: http.StatusOK,
		body: []byte(`{"email":` + strconv.Quote(b.people[n%int64(len(b.people))].email) + `,"password":` + strconv.Quote(password) + `}`),
	}
}

func (b *bench) write(n int64) request {
	return request{
		method: http.MethodPatch, url: b.base + "/users/me", token: b.tokens[n%int64(len(b.tokens))], want: http.StatusOK,
		body: []byte(`{"bio":"of request ` + strconv.FormatInt(n, 10) + `"}`),
	}
}

// mixture is 80 % reads, 15 % refreshes, 5 % writes, spread evenly.
func (b *bench) mixture(n int64) request {
	switch n * 7 % 20 {
	case 0, 1, 2:
		return b.renew(n)
	case 3:
		return b.write(n)
	case 4, 5, 6, 7:
		return b.get(b.base + "/subscriptions/current")(n)
	default:
		return b.get(b.base + "/users/me")(n)
	}
}

// rest warms everything up, and then listens to what goes on by itself.
func (b *bench) rest(ctx context.Context) error {
	if got := b.load.open(ctx, 100, 32, b.warm, b.mixture); got.Errors > 0 {
		return fmt.Errorf("%d of %d: %w", got.Errors, got.Requests, got.First)
	}
	before, err := b.read(ctx)
	if err != nil {
		return err
	}
	if !wait(ctx, b.calm) {
		return ctx.Err()
	}
	after, err := b.read(ctx)
	if err != nil {
		return err
	}
	b.calmly = rest(before, after)
	b.report.RSS = map[string]int64{}
	for name, u := range after.use {
		b.report.RSS[name] = u.RSS
	}
	return nil
}

// measured runs a load at a fixed rate between two readings.
func (b *bench) measured(ctx context.Context, name string, rate int, d time.Duration, from source) (Route, error) {
	before, err := b.read(ctx)
	if err != nil {
		return Route{}, err
	}
	got := b.load.open(ctx, rate, 256, d, from)
	after, err := b.read(ctx)
	if err != nil {
		return Route{}, err
	}
	if got.First != nil {
		_, _ = fmt.Fprintf(b.Out, "  %s: %d of %d failed, such as: %v\n", name, got.Errors, got.Requests, got.First)
	}
	return Route{Name: name, Rate: rate, sample: got, cost: share(before, after, b.calmly, got.Requests)}, nil
}

func (b *bench) routes(ctx context.Context) error {
	for _, r := range []struct {
		name string
		rate int
		from source
		most float64 // statements a request; 0 is not judged
	}{
		{"GET /users/me", 300, b.get(b.base + "/users/me"), 1},
		{"GET /subscriptions/current", 300, b.get(b.base + "/subscriptions/current"), 1},
		{"POST /auth/refresh", 100, b.renew, 0},
		{"PATCH /users/me", 100, b.write, 0},
		{"POST /auth/login", 6, b.enter, 0},
	} {
		got, err := b.measured(ctx, r.name, r.rate, b.piece, r.from)
		if err != nil {
			return err
		}
		b.report.Routes = append(b.report.Routes, got)
		if r.most > 0 {
			b.report.judge(r.name+": statements a request", got.Statements, r.most*1.05, false) // the relays and sweeps are not quite even
		}
		if r.name == "GET /users/me" {
			b.report.judge("gateway: allocations a request", float64(got.Mallocs["gateway"]), 120, false) // the aim is 80
		}
	}
	return nil
}

func (b *bench) mix(ctx context.Context) error {
	for _, rate := range b.mixes {
		got, err := b.measured(ctx, "mixed at "+strconv.Itoa(rate)+"/s", rate, b.mixed, b.mixture)
		if err != nil {
			return err
		}
		b.report.Mixed = append(b.report.Mixed, got)
		b.report.judge(got.Name+": errors", float64(got.Errors), 0, false)
		if rate == 1000 {
			b.report.judge("mixed at 1000/s: p95 in ms", ms(got.quantile(95)), 200, false)
		}
	}
	return nil
}

// flood compares reads alone and reads while logins come as fast as they can, in
// turn.
func (b *bench) flood(ctx context.Context) error {
	var calm, flooded []float64
	for range max(2, b.rounds/3) {
		alone := b.load.open(ctx, 200, 128, b.piece/2, b.get(b.base+"/users/me"))
		noise, quiet := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			b.load.closed(noise, 8, b.piece, func(n int64) request {
				r := b.enter(n)
				r.body = []byte(`{"email":"nobody` + strconv.FormatInt(n, 10) + `@example.com","password":"` + password + `"}`)
				r.want = http.StatusUnauthorized
				return r
			})
			close(done)
		}()
		beside := b.load.open(ctx, 200, 128, b.piece/2, b.get(b.base+"/users/me"))
		quiet()
		<-done
		calm, flooded = append(calm, ms(alone.quantile(99))), append(flooded, ms(beside.quantile(99)))
	}
	b.report.Flood = [2]float64{median(calm), median(flooded)}
	return nil
}

// restart starts each process anew: how long until it answers.
func (b *bench) restart(ctx context.Context) error {
	b.report.Start = map[string]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(b.report.RSS)) {
		if name == "postgres" || name == "redis" {
			continue
		}
		if err := b.stack.StopPart(ctx, name); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		began := b.Now()
		if err := b.stack.StartPart(ctx, name); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		b.report.Start[name] = b.Now().Sub(began)
	}
	return nil
}
