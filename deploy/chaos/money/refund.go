package money

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// GiveBack asks payment for a part of a captured payment back, as admin does.
// Repeated with the same request it must move the money once.
type GiveBack func(ctx context.Context, request uuid.UUID, paymentID string, minor int64) error

const (
	refundWithin = 40 * time.Second // a payment whose callback was lost is SUCCEEDED only after 22 s
	paysUp       = 75               // percent of customers, at least
)

var errNoRefunds = errors.New("refunds are asked for, and payment cannot give money back yet")

// regret lets some who paid ask for money back, whole or in part, until they
// are answered. It takes a customer of its own: the next one need not wait.
func (c customer) regret(ctx context.Context, paymentID string) {
	if c.giveBack == nil || c.luck*paysUp*int64(c.Payments) >= 100*100*int64(c.Refunds) || c.asked.Add(1) > int64(c.Refunds) {
		return
	}
	request := c.request
	binary.BigEndian.PutUint64(request[:8], ^binary.BigEndian.Uint64(request[:8])) // another, and the same at every run
	minor := max(c.amount*c.part/100, 100)
	if c.part > 80 {
		minor = c.amount
	}
	c.regrets.Go(func() {
		began := c.Now()
		for {
			call, cancel := context.WithTimeout(ctx, callLimit)
			err := c.giveBack(call, request, paymentID, minor)
			cancel()
			if err == nil {
				c.tally.note("asked for money back")
				return
			}
			// It is not captured as far as payment knows; soon it is.
			if early := fail.Is(fail.FromError(err), fail.RefundNotAllowed) && c.Now().Sub(began) < refundWithin; !early {
				c.refused("refund of", err)
			}
			if !pause(ctx, 2*repeatWait) {
				return
			}
		}
	})
}
