package payment

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pgtest"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

const (
	webhookUser   = "webhook_user"
	webhookPass   = "pass123456"
	sandboxSecret = "a secret of the sandbox's own dialect"
	price         = 29900
)

// rig is the service with a real database, a fake provider and a clock that can be moved.
type rig struct {
	*Service
	t    *testing.T
	bank *fakePhonePe

	mu    sync.Mutex // guards ahead
	ahead time.Duration
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, bank: newFake(t)}
	r.bank.mandates.now = r.clock
	c := Config{
		PhonePe: PhonePe{
			BaseURL: r.bank.URL + "/apis/pg-sandbox", ClientID: "CLIENT", ClientSecret: "SECRET", ClientVersion: "1",
			WebhookUsername: webhookUser, WebhookPassword: webhookPass,
		},
		Callbacks:      someCallbacks,
		PhonePeV1:      somePhonePeV1,
		RefundApproval: 500000, SandboxSecret: sandboxSecret, PublicURL: "http://localhost:5001", PageTokenSecret: "page token secret of at least 32 characters",
	}
	r.Service = New(c, pgtest.New(t, schema, migrations.For("payment")), id.NewMaker(r.clock, rand.Reader), r.clock)
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.ahead)
}

func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead += d
}

// work runs the workers until the test ends.
func (r *rig) work() {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	for _, w := range []func(context.Context) error{r.confirm, r.poll, r.look} {
		wg.Go(func() {
			if err := w(ctx); err != nil {
				r.t.Errorf("worker: %v", err)
			}
		})
	}
	r.t.Cleanup(func() { stop(); wg.Wait() })
}

// until waits for a condition.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			r.t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

func someOrder() newPayment {
	return newPayment{
		RequestID: uuid.New(), UserID: uuid.New(), Purpose: "subscription", ProductCode: "premium", Provider: "phonepe",
		AmountMinor: price, Currency: "INR", TaxableMinor: 25339, IGSTMinor: 4561,
	}
}

func (r *rig) open(in newPayment) payment {
	r.t.Helper()
	p, err := r.create(r.t.Context(), in)
	if err != nil {
		r.t.Fatalf("create: %v", err)
	}
	return p
}

func (r *rig) read(paymentID uuid.UUID) payment {
	r.t.Helper()
	p, err := r.payment(r.t.Context(), paymentID)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// number asks the database for one number.
func (r *rig) number(sql string, args ...any) (n int64) {
	r.t.Helper()
	if err := r.db.Pool.QueryRow(r.t.Context(), sql, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// audited counts audit events of an action in the outbox, which no relay empties here.
func (r *rig) audited(action string) (n int) {
	r.t.Helper()
	rows, err := r.db.Pool.Query(r.t.Context(), `SELECT payload FROM payment.outbox WHERE destination = 'audit'`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var b []byte
		var ev auditv1.Event
		if err := rows.Scan(&b); err != nil {
			r.t.Fatal(err)
		}
		if err := proto.Unmarshal(b, &ev); err != nil {
			r.t.Fatal(err)
		}
		if ev.GetAction() == action {
			n++
		}
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func signed() map[string]string {
	sum := sha256.Sum256([]byte(webhookUser + ":" + webhookPass))
	return map[string]string{authorizationHeader: hex.EncodeToString(sum[:])}
}

// claims is the body of a callback.
func claims(event, ref, state string, amount int64) []byte {
	o := fakeOrder{ID: "OMO" + ref, Ref: ref, State: state, Amount: amount}
	b, err := json.Marshal(map[string]any{"event": event, "type": "DEPRECATED", "payload": o.payload()})
	if err != nil {
		panic(err)
	}
	return b
}

// tell delivers a signed callback and reports whether it was a duplicate.
func (r *rig) tell(event, ref, state string, amount int64) bool {
	r.t.Helper()
	duplicate, err := r.receive(r.t.Context(), "phonepe", signed(), claims(event, ref, state, amount))
	if err != nil {
		r.t.Fatalf("receive %s: %v", event, err)
	}
	return duplicate
}
