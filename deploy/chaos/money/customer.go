package money

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

const (
	callLimit  = 8 * time.Second
	repeatWait = 150 * time.Millisecond
)

// customer is one who buys, and subscription, which opens the payment.
type customer struct {
	*run

	request, user uuid.UUID
	amount        int64
	outcome       string
	hesitates     time.Duration
	luck          int64 // below 100: who wants money back
	part          int64 // of the amount, in percent
}

// customer draws the i-th customer, the same for the same seed.
func (r *run) customer(i int) customer {
	chance := r.draws(1000 + uint64(i)) //nolint:gosec // it counts up
	c := customer{
		run: r, request: drawUUID(chance), user: drawUUID(chance), amount: 100 + chance.Int64N(1_000_000),
		outcome: "SUCCESS", hesitates: time.Duration(chance.IntN(800)) * time.Millisecond,
	}
	c.luck, c.part = chance.Int64N(100), 1+chance.Int64N(100)
	switch n := chance.IntN(100); {
	case n < 5:
		c.outcome = "PENDING" // and never comes back
	case n < 15:
		c.outcome = "FAILURE"
	}
	return c
}

func drawUUID(chance *rand.Rand) (u uuid.UUID) {
	binary.BigEndian.PutUint64(u[:8], chance.Uint64())
	binary.BigEndian.PutUint64(u[8:], chance.Uint64())
	return u
}

// shop opens the payment, however often it takes, and decides at the bank's page.
func (c customer) shop(ctx context.Context) {
	began := c.Now()
	p, ok := c.open(ctx)
	switch {
	case !ok:
		return
	case p.GetRedirectUrl() == "":
		c.tally.note("opened without a page, its answer was lost") // it lapses, or ended already
		return
	}
	pause(ctx, c.hesitates)
	for c.Now().Sub(began) < payWithin {
		state, err := c.bank.complete(ctx, p.GetRedirectUrl(), c.outcome)
		if err == nil {
			c.tally.decided(c.request, c.outcome, state)
			if state == "COMPLETED" {
				c.regret(ctx, p.GetId())
			}
			return
		}
		if !pause(ctx, repeatWait) {
			return
		}
		c.tally.note("repeated at the bank's page")
	}
	c.tally.note("walked away, the bank's page did not open in time")
}

// open repeats the same request until it is answered, as subscription's caller does.
func (c customer) open(ctx context.Context) (*paymentv1.Payment, bool) {
	taxable := c.amount * 100 / 118
	q := &paymentv1.CreatePaymentRequest{
		RequestId: c.request[:], UserId: c.user[:], Purpose: "subscription", ProductCode: "chaos", Provider: "phonepe",
		Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: c.amount},
		Tax:    &typev1.TaxBreakdown{TaxableMinor: taxable, IgstMinor: c.amount - taxable},
	}
	for {
		call, cancel := context.WithTimeout(ctx, callLimit)
		r, err := c.client.CreatePayment(call, q)
		cancel()
		if err == nil {
			return r.GetPayment(), true
		}
		c.refused("opening", err)
		if !pause(ctx, repeatWait) {
			return nil, false
		}
	}
}

// refused notes an answer that has to be asked for again. Only an outage is a
// reason to refuse an honest request.
func (c customer) refused(what string, err error) {
	f, ok := fail.As(fail.FromError(err))
	if !ok {
		c.tally.note(what + " ended early") // the run is over
		return
	}
	c.tally.note(what + " answered " + f.Kind.Reason)
	ours := f.Unwrap() == nil // not gRPC's words for a connection that broke
	if ours && f.Kind != fail.Unavailable && f.Kind != fail.PaymentProviderUnavailable && f.Kind != fail.DeadlineExceeded {
		c.tally.oddity(fmt.Sprintf("%s %s answered %v", what, c.request, err))
	}
}

// tally counts what customers met. Safe for concurrent use.
type tally struct {
	mu      *sync.Mutex // guards all below
	notes   map[string]int
	odd     []string
	success map[uuid.UUID]bool // the bank said that the money moved
}

func newTally() tally {
	return tally{mu: &sync.Mutex{}, notes: map[string]int{}, success: map[uuid.UUID]bool{}}
}

func (t *tally) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes[what]++
}

const oddities = 20 // are shown

func (t *tally) oddity(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.odd) < oddities {
		t.odd = append(t.odd, what)
	}
}

func (t *tally) decided(request uuid.UUID, outcome, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes["decided "+outcome]++
	if state == "COMPLETED" {
		t.success[request] = true
	}
}
