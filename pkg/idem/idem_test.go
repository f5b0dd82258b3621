package idem_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/idem"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/token"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

const checkout = "/manas.subscription.v1.SubscriptionService/Checkout" // its rule says idempotent

func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE SCHEMA s; CREATE TABLE s.idempotency_key (scope text NOT NULL, key text NOT NULL, request_hash bytea NOT NULL,
		state text NOT NULL CHECK (state IN ('RUNNING', 'DONE')), fence bigint NOT NULL DEFAULT 1, locked_until timestamptz NOT NULL,
		response bytea, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL, PRIMARY KEY (scope, key))`)
	return errors.Join(err, conn.Close(ctx))
}

// clock is moved by hand.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func open(t *testing.T) (grpc.UnaryServerInterceptor, *clock) {
	t.Helper()
	c := &clock{}
	c.at.Store(time.Now().UnixNano())
	return idem.NewStore(pgtest.New(t, "idem", migrate), "s", c.now).Interceptor(), c
}

var alice, bob = uuid.New(), uuid.New()

func call(t *testing.T, i grpc.UnaryServerInterceptor, who uuid.UUID, key, plan string, run grpc.UnaryHandler) (*subscriptionv1.CheckoutResponse, error) {
	t.Helper()
	ctx := token.NewContext(t.Context(), &token.Caller{UserID: who})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("idempotency-key", key))
	ctx = grpc.NewContextWithServerTransportStream(ctx, stream{})
	r, err := i(ctx, &subscriptionv1.CheckoutRequest{PlanCode: plan}, &grpc.UnaryServerInfo{FullMethod: checkout}, run)
	if err != nil {
		return nil, err
	}
	out, ok := r.(*subscriptionv1.CheckoutResponse)
	if !ok {
		t.Fatalf("answer %T", r)
	}
	return out, nil
}

// stream takes the header that marks a stored answer.
type stream struct{}

func (stream) Method() string               { return checkout }
func (stream) SetHeader(metadata.MD) error  { return nil }
func (stream) SendHeader(metadata.MD) error { return nil }
func (stream) SetTrailer(metadata.MD) error { return nil }

func answer(id string, runs *atomic.Int64) grpc.UnaryHandler {
	return func(context.Context, any) (any, error) {
		runs.Add(1)
		return &subscriptionv1.CheckoutResponse{Subscription: &subscriptionv1.Subscription{Id: id}}, nil
	}
}

func TestRepeatedRequestGetsTheStoredAnswer(t *testing.T) {
	i, c := open(t)
	var runs atomic.Int64
	for range 3 {
		r, err := call(t, i, alice, "k", "premium", answer("sub_1", &runs))
		if err != nil || r.GetSubscription().GetId() != "sub_1" {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	if _, err := call(t, i, alice, "k", "basic", answer("sub_2", &runs)); !fail.Is(err, fail.IdempotencyKeyReused) {
		t.Errorf("another request: %v, want IDEMPOTENCY_KEY_REUSED", err)
	}
	if r, err := call(t, i, bob, "k", "premium", answer("sub_3", &runs)); err != nil || r.GetSubscription().GetId() != "sub_3" {
		t.Errorf("another person's key: %v, %v; want an answer of their own", r, err)
	}
	c.advance(7*24*time.Hour + time.Second)
	if r, err := call(t, i, alice, "k", "basic", answer("sub_4", &runs)); err != nil || r.GetSubscription().GetId() != "sub_4" {
		t.Errorf("after seven days: %v, %v; want a new answer", r, err)
	}
	if runs.Load() != 3 {
		t.Errorf("ran %d times, want 3", runs.Load())
	}
}

// TestManyAtOnce sends one request fifty times together: one runs, the others
// hear that it does or get its answer.
func TestManyAtOnce(t *testing.T) {
	i, _ := open(t)
	var runs atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r, err := call(t, i, alice, "k", "premium", answer("sub_1", &runs))
			if err != nil && !fail.Is(err, fail.IdempotencyInProgress) {
				t.Errorf("got %v", err)
			}
			if err == nil && r.GetSubscription().GetId() != "sub_1" {
				t.Errorf("got %v", r)
			}
		})
	}
	wg.Wait()
	if runs.Load() != 1 {
		t.Errorf("ran %d times, want once", runs.Load())
	}
}

func TestFailureGivesTheKeyBack(t *testing.T) {
	i, _ := open(t)
	var runs atomic.Int64
	boom := fail.New(fail.PaymentProviderUnavailable, "away")
	if _, err := call(t, i, alice, "k", "premium", func(context.Context, any) (any, error) { return nil, boom }); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Fatalf("got %v", err)
	}
	if _, err := call(t, i, alice, "k", "premium", answer("sub_1", &runs)); err != nil {
		t.Errorf("the repetition: %v", err)
	}
}

// TestLostProcess leaves a key RUNNING, as a killed process does.
func TestLostProcess(t *testing.T) {
	i, c := open(t)
	var runs atomic.Int64
	_, err := call(t, i, alice, "k", "premium", func(context.Context, any) (any, error) {
		if _, err := call(t, i, alice, "k", "premium", answer("no", &runs)); !fail.Is(err, fail.IdempotencyInProgress) {
			t.Errorf("while it runs: %v, want IDEMPOTENCY_IN_PROGRESS", err)
		}
		c.advance(2 * time.Minute) // this process is taken for dead
		if _, err := call(t, i, alice, "k", "premium", answer("heir", &runs)); err != nil {
			t.Errorf("after the lease: %v", err)
		}
		return &subscriptionv1.CheckoutResponse{Subscription: &subscriptionv1.Subscription{Id: "slow"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := call(t, i, alice, "k", "premium", answer("no", &runs)); err != nil || r.GetSubscription().GetId() != "heir" {
		t.Errorf("stored %v, %v; want the heir's answer, not the slow one's", r, err)
	}
}

func TestBadKeys(t *testing.T) {
	i, _ := open(t)
	var runs atomic.Int64
	for _, key := range []string{"", strings.Repeat("x", 256), "tab\tbed", "naïve"} {
		if _, err := call(t, i, alice, key, "premium", answer("no", &runs)); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("key %q: %v, want INVALID_ARGUMENT", key, err)
		}
	}
	if _, err := call(t, i, alice, strings.Repeat("x", 255), "premium", answer("sub_1", &runs)); err != nil {
		t.Errorf("a key of 255 characters: %v", err)
	}
}
