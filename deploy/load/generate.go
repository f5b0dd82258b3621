// Package load is `make bench`: load on a private stack beside yardsticks of the
// same run, and what each costs.
package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	histMax   = int64(time.Minute / time.Microsecond)
	callLimit = 30 * time.Second
)

// request is one call to be made; done is told its answer.
type request struct {
	method, url, token string
	body               []byte
	want               int
	done               func(body []byte, err error)
}

// source gives the request number n of a load.
type source func(n int64) request

// sample is what a load met.
type sample struct {
	Requests, Errors int64
	Took             time.Duration
	Hist             *hdrhistogram.Histogram // microseconds
	First            error
}

func (s sample) rate() float64 { return float64(s.Requests-s.Errors) / s.Took.Seconds() }

func (s sample) quantile(q float64) time.Duration {
	return time.Duration(s.Hist.ValueAtQuantile(q)) * time.Microsecond
}

// generator sends requests from as many addresses as it needs.
type generator struct {
	client *http.Client
	now    func() time.Time
	from   atomic.Uint32
}

func newGenerator(now func() time.Time) *generator {
	return &generator{now: now, client: &http.Client{Timeout: callLimit, Transport: &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConns:    4096,
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 1024,
		DisableCompression: true,
	}}}
}

// send makes one call. Each comes from another address, said as a trusted proxy
// would: the limits by address are somebody else's subject.
func (g *generator) send(ctx context.Context, r request) (err error) {
	var raw []byte
	defer func() {
		if r.done != nil {
			r.done(raw, err)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if len(r.body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	n := g.from.Add(1)
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("100.%d.%d.%d", 64+n>>16&63, n>>8&255, n&255))
	res, err := g.client.Do(req)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	raw, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close()
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != r.want {
		return fmt.Errorf("%s %s answered %d, want %d: %.200s", r.method, r.url, res.StatusCode, r.want, raw)
	}
	return nil
}

// open sends at a fixed rate whatever comes back. A request that could not leave
// in time because the workers waited for others is charged from the time it was
// meant to leave: nothing is left out.
func (g *generator) open(ctx context.Context, rate, workers int, d time.Duration, from source) sample {
	total := int64(d.Seconds() * float64(rate))
	every := time.Second / time.Duration(rate)
	return g.run(ctx, workers, d+callLimit, func(began time.Time, n int64) (time.Time, bool) {
		return began.Add(time.Duration(n) * every), n < total
	}, from)
}

// closed keeps workers busy for d: what a service can do at most.
func (g *generator) closed(ctx context.Context, workers int, d time.Duration, from source) sample {
	return g.run(ctx, workers, d+callLimit, func(began time.Time, _ int64) (time.Time, bool) {
		now := g.now()
		return now, now.Sub(began) < d
	}, from)
}

func (g *generator) run(ctx context.Context, workers int, limit time.Duration, next func(began time.Time, n int64) (time.Time, bool), from source) sample {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var (
		out   = sample{Hist: hdrhistogram.New(1, histMax, 3)}
		mu    sync.Mutex // guards out
		count atomic.Int64
		group sync.WaitGroup
		began = g.now()
	)
	for range workers {
		group.Go(func() {
			mine := sample{Hist: hdrhistogram.New(1, histMax, 3)}
			for ctx.Err() == nil {
				n := count.Add(1) - 1
				at, more := next(began, n)
				if !more || !wait(ctx, at.Sub(g.now())) {
					break
				}
				err := g.send(ctx, from(n))
				mine.Requests++
				if err != nil {
					mine.Errors++
					mine.First = err
				}
				_ = mine.Hist.RecordValue(min(histMax, max(1, int64(g.now().Sub(at)/time.Microsecond)))) // within its bounds
			}
			mu.Lock()
			defer mu.Unlock()
			out.Requests, out.Errors = out.Requests+mine.Requests, out.Errors+mine.Errors
			out.Hist.Merge(mine.Hist)
			if out.First == nil {
				out.First = mine.First
			}
		})
	}
	group.Wait()
	out.Took = g.now().Sub(began)
	return out
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
