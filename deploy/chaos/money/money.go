// Package money kills everything that handles money, at random and again and
// again, while customers pay; in the end the bank's statement and the ledger
// must say the same to the paisa.
package money

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/deploy/dev/stack"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

// Config is one run. The same seed draws the same customers, victims, faults
// and lost callbacks; when each meets the other is the machine's affair.
type Config struct {
	Payments int
	Refunds  int
	Kills    int
	Seed     uint64
	Limit    time.Duration // for the chaos itself
	Settle   time.Duration // what all may need to become terminal after it

	Now  func() time.Time
	Rand io.Reader // for certificates and secrets
	Out  io.Writer // what the person reads
	TTY  bool
	Self string // this program, which serves a Redis when started with "miniredis"
	Dir  string // the stack's data: empty, and short for the sake of sockets
	Root string // a folder of the repository
	Env  func(string) string
}

// How callbacks, orders and customers behave.
const (
	duplicated = 30 // percent of callbacks
	reordered  = 20
	lost       = 5

	orderLife = 24 * time.Second // at the bank; a payment is first asked about after 22 s
	payWithin = 14 * time.Second // a customer who gets to the page later walks away

	customers = 32 // who pay at the same time
	deadFor   = time.Second
)

// run is a run under way.
type run struct {
	Config

	giveBack GiveBack
	approve  func(ctx context.Context, refundID uuid.UUID) error
	regrets  sync.WaitGroup
	asked    atomic.Int64 // refunds
	given    atomic.Int64 // of them, without a doubt

	began  time.Time
	stack  *stack.Stack
	wires  *wires
	inbox  *inbox
	bank   bank
	client paymentv1.PaymentInternalServiceClient
	gate   chan int // numbers of customers who may begin

	started, killed, faults atomic.Int64
	tally                   tally
	line                    timeline

	mu      sync.Mutex // guards below
	deaths  map[string]int
	back    map[string]time.Duration // the longest that a part needed to answer again
	suicide []string                 // parts that ended by themselves
}

// Run starts a stack, lets the chaos loose, waits, and compares the books. The
// report is valid even with an error.
func Run(ctx context.Context, c Config) (Report, error) {
	r := &run{
		Config: c, began: c.Now(), gate: make(chan int, c.Payments+c.Refunds), deaths: map[string]int{}, back: map[string]time.Duration{},
		tally: newTally(),
	}
	report := Report{Seed: c.Seed, Payments: c.Payments}
	stop, err := r.stand(ctx)
	if err != nil {
		return report, err
	}
	if r.client, err = r.payments("subscription"); err == nil {
		r.giveBack, err = r.refunder()
	}
	if err == nil {
		err = r.play(ctx, &report)
	}
	began := c.Now()
	err = errors.Join(err, stop())
	report.Stopped = c.Now().Sub(began)
	return report, err
}

func (r *run) play(ctx context.Context, report *Report) error {
	r.began = r.Now()
	watch, unwatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(watch) })
	defer watching.Wait()
	defer unwatch()

	if err := r.bank.misbehave(ctx, r.Seed); err != nil {
		return err
	}
	chaos, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	err := r.unleash(chaos)
	ended := r.Now()
	report.fill(r, ended.Sub(r.began))
	if err != nil {
		return fmt.Errorf("the chaos did not end well: %w", err)
	}
	if err := r.calm(ctx); err != nil {
		return err
	}
	r.line.mark(r.Now().Sub(r.began), "calm")
	rest, done := context.WithTimeout(ctx, r.Settle)
	defer done()
	left, err := r.settle(rest)
	report.Settled, report.Left = r.Now().Sub(ended), left
	if err != nil {
		report.Wrong = append(report.Wrong, fmt.Sprintf("not terminal %v after the chaos: %v", r.Settle, left))
	}
	r.line.mark(r.Now().Sub(r.began), "settled")
	unwatch()
	watching.Wait()
	report.Timeline = &r.line
	return r.audit(ctx, report)
}

// unleash lets customers pay while parts die and connections break. It ends
// when all customers have done what they came for.
func (r *run) unleash(ctx context.Context) error {
	var shoppers, trouble sync.WaitGroup
	failed := make(chan error, 2)
	faulty, mend := context.WithCancel(ctx)
	defer mend()
	trouble.Go(func() { r.breakWires(faulty) })
	trouble.Go(func() {
		defer close(r.gate)
		if err := r.kill(ctx); err != nil {
			failed <- err
		}
	})
	for range customers {
		shoppers.Go(func() {
			for i := range r.gate {
				r.started.Add(1)
				r.customer(i).shop(ctx)
			}
		})
	}
	shoppers.Wait()
	r.regrets.Wait()
	mend()
	trouble.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err() //nolint:wrapcheck // the limit, or the person
	}
}

// calm ends all faults and brings back what is dead.
func (r *run) calm(ctx context.Context) error {
	r.wires.mend(ctx)
	if err := r.revive(ctx); err != nil {
		return err
	}
	return errors.Join(r.bank.behave(ctx), r.approveAll(ctx))
}

// draws is a source of its own for each purpose, so that one does not move another's.
func (r *run) draws(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.Seed, purpose)) //nolint:gosec // it has to be repeatable
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
