package gateway

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// register is subscription as the edges see it: counters that only rise.
type register struct {
	mu    sync.Mutex // guards below
	used  map[string]int64
	asked int
	down  bool
}

func (r *register) RecordUsage(_ context.Context, in *subscriptionv1.RecordUsageRequest, _ ...grpc.CallOption) (*subscriptionv1.RecordUsageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.down {
		return nil, errors.New("down")
	}
	out := &subscriptionv1.RecordUsageResponse{}
	for _, u := range in.GetUsage() {
		key := string(u.GetUserId()) + u.GetPeriodStart().AsTime().Format(time.RFC3339)
		r.used[key] = max(r.used[key], u.GetUsed())
		out.Used = append(out.Used, r.used[key])
	}
	return out, nil
}

func (*register) GetOffers(context.Context, *subscriptionv1.GetOffersRequest, ...grpc.CallOption) (*subscriptionv1.GetOffersResponse, error) {
	return &subscriptionv1.GetOffersResponse{}, nil
}

func (r *register) close(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *register) of(user uuid.UUID, start time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used[string(user[:])+start.UTC().Format(time.RFC3339)]
}

// quotaRig is some edges' counters over one Redis and one subscription.
type quotaRig struct {
	client *redis.Client
	prefix string
	book   *register
	edges  []*quotas
	at     atomic.Int64 // Unix nanoseconds
}

var midNovember = time.Date(2026, 11, 15, 12, 0, 0, 0, india)

func newQuotaRig(tb testing.TB, edges int) *quotaRig {
	tb.Helper()
	k := &quotaRig{book: &register{used: map[string]int64{}}}
	k.client, k.prefix = rdbtest.New(tb)
	k.at.Store(midNovember.UnixNano())
	for range edges {
		k.edges = append(k.edges, k.edge())
	}
	return k
}

func (k *quotaRig) now() time.Time { return time.Unix(0, k.at.Load()) }

func (k *quotaRig) edge() *quotas {
	return newQuotas(patient(newLimiter(k.client, k.now)), k.book, k.prefix, k.now, zerolog.Nop())
}

// dead is a Redis that nobody answers for.
func dead(tb testing.TB) *redis.Client {
	tb.Helper()
	c := rdb.Open(rdb.Config{Host: "127.0.0.1", Port: 1})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func (k *quotaRig) stored(tb testing.TB, user uuid.UUID) int64 {
	tb.Helper()
	n, err := k.client.Get(tb.Context(), k.edges[0].counter(user).key).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		tb.Fatal(err)
	}
	return n
}

// Several edges at once let through the limit exactly; what is refused is not
// counted.
func TestQuotaIsExactAtSeveralEdges(t *testing.T) {
	k := newQuotaRig(t, 3)
	user := uuid.New()
	var passed, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			for range 50 {
				if k.edges[i%3].take(t.Context(), user, 250).allowed {
					passed.Add(1)
				} else {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != 250 || refused.Load() != 350 || k.stored(t, user) != 250 {
		t.Errorf("%d passed, %d refused, %d stored; want 250, 350, 250", passed.Load(), refused.Load(), k.stored(t, user))
	}
	for _, e := range k.edges {
		if n := e.fallbacks.Load(); n != 0 {
			t.Errorf("%d calls were decided without Redis", n)
		}
		if err := e.recordOnce(t.Context()); err != nil {
			t.Error(err)
		}
	}
	start, _ := month(midNovember)
	if n := k.book.of(user, start); n != 250 {
		t.Errorf("subscription has %d on record, want 250", n)
	}
}

// Whatever the order of calls, tellings and losses of Redis's memory: no more
// than the limit passes but for what nobody had told subscription yet.
func TestQuotaSurvivesRedisWithoutMemory(t *testing.T) {
	k := newQuotaRig(t, 0)
	rapid.Check(t, func(rt *rapid.T) {
		user := uuid.New()
		limit := rapid.Int64Range(0, 40).Draw(rt, "limit")
		k.edges = nil
		for range rapid.IntRange(1, 4).Draw(rt, "edges") {
			k.edges = append(k.edges, k.edge())
		}
		start, _ := month(midNovember)
		var passed, tried, untold int64
		lost := false
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 20*len(k.edges)-1), 1, 120).Draw(rt, "steps") {
			e := k.edges[step%len(k.edges)]
			switch step / len(k.edges) {
			case 0:
				untold += passed - k.book.of(user, start)
				lost = true
				k.client.Del(t.Context(), e.counter(user).key)
			case 1, 2:
				if err := e.recordOnce(t.Context()); err != nil {
					rt.Fatal(err)
				}
			default:
				tried++
				if e.take(t.Context(), user, limit).allowed {
					passed++
				}
			}
		}
		if passed > limit+untold {
			rt.Fatalf("%d passed of %d, %d were untold", passed, limit, untold)
		}
		if !lost && passed != min(limit, tried) {
			rt.Fatalf("%d of %d passed, the limit is %d", passed, tried, limit)
		}
	})
}

// FLUSHALL does not give the quota anew, not even to an edge that has just
// started; the record is asked for once.
func TestFlushallGivesNothing(t *testing.T) {
	k := newQuotaRig(t, 1)
	user := uuid.New()
	for range 10 {
		k.edges[0].take(t.Context(), user, 10)
	}
	if err := k.edges[0].recordOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.client.Del(t.Context(), k.edges[0].counter(user).key)
	k.book.asked = 0
	fresh := k.edge()
	for range 5 {
		if got := fresh.take(t.Context(), user, 10); got.allowed || got.used != 10 {
			t.Fatalf("after the loss: %+v", got)
		}
	}
	if got := fresh.take(t.Context(), user, 12); !got.allowed || got.used != 11 {
		t.Errorf("with a larger plan: %+v", got)
	}
	for range 5 {
		fresh.take(t.Context(), user, -1)
	}
	if k.book.asked != 1 || k.stored(t, user) != 16 {
		t.Errorf("subscription was asked %d times, want once; %d stored, want 16", k.book.asked, k.stored(t, user))
	}
}

// With Redis away each edge goes on from where it last knew, and pays in full
// when Redis is back.
func TestQuotaWithoutRedis(t *testing.T) {
	k := newQuotaRig(t, 2)
	a, b, user := k.edges[0], k.edges[1], uuid.New()
	for range 20 {
		a.take(t.Context(), user, 100)
		b.take(t.Context(), user, 100)
	}
	none := dead(t)
	a.limiter.redis, b.limiter.redis = none, none
	passed := 0
	for range 100 {
		for _, e := range k.edges {
			if e.take(t.Context(), user, 100).allowed {
				passed++
			}
		}
	}
	// b saw the 40th call, a the 39th: each goes on to 100 by itself.
	if passed != 61+60 {
		t.Errorf("%d passed without Redis, want 121", passed)
	}
	start, _ := month(midNovember)
	for range 5 { // what an edge alone knows must not go round and grow
		for _, e := range k.edges {
			e.enqueue(e.counter(user))
			if err := e.recordOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := k.book.of(user, start); n != 40 {
		t.Errorf("%d on record while Redis is away, want 40", n)
	}
	if a.fallbacks.Load() != 100 {
		t.Errorf("%d fallbacks counted, want 100", a.fallbacks.Load())
	}
	for _, e := range k.edges {
		e.limiter.redis = k.client
		e.limiter.openUntil.Store(0)
		if got := e.take(t.Context(), user, 100); got.allowed {
			t.Errorf("over the limit: %+v", got)
		}
	}
	if err := b.recordOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := k.stored(t, user); n != 40+61+60 || k.book.of(user, start) != n {
		t.Errorf("%d stored, %d on record, want 161", n, k.book.of(user, start))
	}
}

// faults loses questions and answers on the way to Redis.
type faults struct{ next int }

const (
	noFault = iota
	lostQuestion
	lostAnswer
)

func (f *faults) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if f.next == lostQuestion {
			cmd.SetErr(os.ErrDeadlineExceeded)
			return os.ErrDeadlineExceeded
		}
		err := next(ctx, cmd)
		if f.next == lostAnswer {
			cmd.SetErr(os.ErrDeadlineExceeded)
			return os.ErrDeadlineExceeded
		}
		return err
	}
}

// Nobody can tell a lost question from a lost answer; one edge counts each call
// once all the same, and lets through the limit exactly.
func TestLostAnswersAreCountedOnce(t *testing.T) {
	k := newQuotaRig(t, 0)
	fault := &faults{}
	k.client.AddHook(fault)
	rapid.Check(t, func(rt *rapid.T) {
		fault.next = noFault
		user, limit := uuid.New(), rapid.Int64Range(1, 60).Draw(rt, "limit")
		e := k.edge()
		k.edges = []*quotas{e}
		var passed, tried int64
		take := func() {
			tried++
			if e.take(t.Context(), user, limit).allowed {
				passed++
			}
		}
		take()
		for _, f := range rapid.SliceOfN(rapid.IntRange(noFault, lostAnswer), 0, 80).Draw(rt, "faults") {
			fault.next = f
			k.at.Add(int64(rapid.SampledFrom([]time.Duration{0, breakDuration}).Draw(rt, "pause")))
			take()
		}
		fault.next = noFault
		k.at.Add(int64(breakDuration))
		take()
		if want := min(limit, tried); passed != want || k.stored(t, user) != want {
			rt.Fatalf("%d passed and %d stored, want %d", passed, k.stored(t, user), want)
		}
	})
}

// Nothing is made up: while neither Redis nor subscription knows the counter it
// is not written, and what was served is told when one of them is back.
func TestQuotaOfUnknownPast(t *testing.T) {
	k := newQuotaRig(t, 1)
	e, user := k.edges[0], uuid.New()
	start, _ := month(midNovember)
	k.book.used[string(user[:])+start.UTC().Format(time.RFC3339)] = 90
	k.book.close(true)
	for range 5 {
		if !e.take(t.Context(), user, 100).allowed {
			t.Fatal("refused although nobody knows")
		}
	}
	if k.book.asked != 1 || k.stored(t, user) != 0 {
		t.Errorf("asked %d times, want once a second; %d stored", k.book.asked, k.stored(t, user))
	}
	k.book.close(false)
	k.at.Add(int64(recallPause))
	if got := e.take(t.Context(), user, 100); !got.allowed || got.used != 96 {
		t.Errorf("after: %+v, want the 96th", got)
	}
	if k.stored(t, user) != 96 {
		t.Errorf("%d stored, want 96", k.stored(t, user))
	}
}

// The month turns at midnight in India.
func TestQuotaMonth(t *testing.T) {
	k := newQuotaRig(t, 2)
	user := uuid.New()
	turn := time.Date(2026, 12, 1, 0, 0, 0, 0, india)
	if want := time.Date(2026, 11, 30, 18, 30, 0, 0, time.UTC); !turn.Equal(want) {
		t.Fatalf("the month turns at %s", turn.UTC())
	}
	k.at.Store(turn.Add(-time.Nanosecond).UnixNano())
	for i := range 4 {
		if got := k.edges[i%2].take(t.Context(), user, 2); got.allowed != (i < 2) || !got.end.Equal(turn) {
			t.Errorf("in November, call %d: %+v", i, got)
		}
	}
	old := k.edges[0].counter(user).key
	if life := k.client.TTL(t.Context(), old).Val(); life < 24*time.Hour || life > quotaKept+time.Second {
		t.Errorf("November is kept for %s", life)
	}
	k.at.Store(turn.UnixNano())
	for i := range 4 {
		if got := k.edges[i%2].take(t.Context(), user, 2); got.allowed != (i < 2) || !got.start.Equal(turn) {
			t.Errorf("in December, call %d: %+v", i, got)
		}
	}
	for _, e := range k.edges { // November's rest is told in December
		if err := e.recordOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	november, _ := month(midNovember)
	if a, b := k.book.of(user, november), k.book.of(user, turn); a != 2 || b != 2 {
		t.Errorf("on record: %d in November, %d in December; want 2 and 2", a, b)
	}
}

func TestMonthIsIndias(t *testing.T) {
	zone, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, "at"), 0)
		start, end := month(at)
		y, m, _ := at.In(zone).Date()
		if !start.Equal(time.Date(y, m, 1, 0, 0, 0, 0, zone)) || !end.Equal(time.Date(y, m+1, 1, 0, 0, 0, 0, zone)) || at.Before(start) || !at.Before(end) {
			rt.Fatalf("%s: %s to %s", at.In(zone), start, end)
		}
	})
}

func TestQuotaMemoryIsBounded(t *testing.T) {
	q := newQuotas(newLimiter(nil, time.Now), &register{}, "", time.Now, zerolog.Nop())
	for range maxLocalKeys + 1000 {
		q.counter(uuid.New())
	}
	if n := len(q.counters); n > maxLocalKeys {
		t.Errorf("%d counters", n)
	}
}

// Subscription away: what is to be recorded waits, in batches, and nothing is
// lost or told twice over.
func TestRecordWaitsForSubscription(t *testing.T) {
	k := newQuotaRig(t, 1)
	e := k.edges[0]
	users := make([]uuid.UUID, recordBatch+20)
	for i := range users {
		users[i] = uuid.New()
		e.take(t.Context(), users[i], 5)
	}
	k.book.close(true)
	if err := e.recordOnce(t.Context()); err == nil {
		t.Fatal("recorded with nobody")
	}
	k.book.close(false)
	k.book.asked = 0
	for range 4 {
		if err := e.recordOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if k.book.asked != 2 {
		t.Errorf("%d batches, want 2", k.book.asked)
	}
	start, _ := month(midNovember)
	for _, u := range users {
		if n := k.book.of(u, start); n != 1 {
			t.Fatalf("%d on record, want 1", n)
		}
	}
}

func TestRecordTellsTheLastBeforeItEnds(t *testing.T) {
	k := newQuotaRig(t, 1)
	user := uuid.New()
	ctx, stop := context.WithCancel(t.Context())
	k.edges[0].take(ctx, user, 5)
	k.edges[0].take(ctx, user, 5)
	stop()
	if err := k.edges[0].record(ctx); err != nil {
		t.Fatal(err)
	}
	start, _ := month(midNovember)
	if n := k.book.of(user, start); n != 2 {
		t.Errorf("%d on record, want 2", n)
	}
}

// BenchmarkQuota is what counting costs a program's call: one round trip.
func BenchmarkQuota(b *testing.B) {
	k := newQuotaRig(b, 1)
	count := &trips{}
	k.client.AddHook(count)
	user := uuid.New()
	k.edges[0].take(b.Context(), user, -1)
	before := count.all.Load()
	n := int64(0)
	for b.Loop() {
		n++
		if !k.edges[0].take(b.Context(), user, -1).allowed {
			b.Fatal("refused")
		}
	}
	if got := count.all.Load() - before; got != n {
		b.Errorf("%d round trips for %d calls", got, n)
	}
}
