package payment

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	callLimit   = 4 * time.Second        // for all we ask the provider on one request
	leaseLength = 10 * time.Second       // longer than callLimit and storeLimit together
	storeLimit  = 3 * time.Second        // for keeping an answer when the caller has gone
	busyPause   = 25 * time.Millisecond  // between looks at a call another request makes
	providerAge = 500 * time.Millisecond // told to callers: worth a repeat after
)

// newPayment is an order to be paid.
type newPayment struct {
	RequestID, UserID                  uuid.UUID
	Purpose, ProductCode, Provider     string
	Cycle                              string // of what is bought; empty: not known
	AmountMinor                        int64
	Currency                           string
	TaxableMinor, CGSTMinor, SGSTMinor int64
	IGSTMinor, RoundOffMinor           int64
	Metadata                           map[string]string // the customer's client's
	Mandate                            *newMandate       // what paying it consents to, if anything
	BeneficiaryID                      *uuid.UUID        // who shares in it, as the order knows; never from a client
	SplitRule                          string            // how far; empty with nobody
}

// create opens a payment, or finds the one of the same request and makes good
// what was lost of it. The rows are committed before the provider hears of the
// order, so whatever it says later finds them.
func (s *Service) create(ctx context.Context, in newPayment) (payment, error) {
	if in.Provider == "" {
		in.Provider = defaultProvider
	}
	if err := s.check(in); err != nil {
		return payment{}, err
	}
	if err := s.checkSplit(ctx, &in); err != nil {
		return payment{}, err
	}
	paymentID, err := s.insert(ctx, in)
	if err != nil {
		return payment{}, err
	}
	s.outbox.Wake()
	for {
		c, err := s.claim(ctx, paymentID)
		if err != nil {
			return payment{}, err
		}
		switch c.todo {
		case nothing:
			return s.payment(ctx, paymentID) // the claim's copy is as old as its wait for the lock
		case send, ask:
			return s.open(ctx, c)
		case wait:
		}
		select {
		case <-ctx.Done():
			return payment{}, fail.New(fail.PaymentProviderUnavailable, "the payment is being opened").RetryAfter(providerAge).Wrap(ctx.Err())
		case <-time.After(busyPause):
		}
	}
}

func (s *Service) check(in newPayment) error {
	p, ok := s.providers[in.Provider]
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	switch {
	case !ok:
		return bad.Field("provider", "is not a provider we know")
	case in.Currency != "INR":
		return bad.Field("amount.currencyCode", "is not a currency we take")
	case in.AmountMinor < p.atLeast():
		return bad.Field("amount.amountMinor", "is below the least amount of "+strconv.FormatInt(p.atLeast(), 10))
	case in.TaxableMinor < 0, in.CGSTMinor < 0, in.SGSTMinor < 0, in.IGSTMinor < 0,
		in.RoundOffMinor < -1, in.RoundOffMinor > 1, !in.addsUp():
		return bad.Field("tax", "does not add up to the amount")
	}
	return nil
}

// addsUp cannot overflow: each part is bounded by the whole first.
func (in newPayment) addsUp() bool {
	rest := in.AmountMinor - in.RoundOffMinor
	for _, part := range []int64{in.TaxableMinor, in.CGSTMinor, in.SGSTMinor, in.IGSTMinor} {
		if part > rest {
			return false
		}
		rest -= part
	}
	return rest == 0
}

// merchantOrderID names an attempt at the provider. It follows from the row
// alone: a repeat after a crash names the same order.
func merchantOrderID(paymentID uuid.UUID, no int) string {
	return "P" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(paymentID[:]) + "-" + strconv.Itoa(no)
}

// todo is what a repeatable create finds to do.
type todo int

const (
	nothing todo = iota
	send         // the provider has not heard of it: open the order
	ask          // it may have heard: ask first
	wait         // another request is calling
)

// next decides on a payment's latest attempt; none has No 0.
func next(p payment, a attempt, now time.Time) (do todo, fresh bool) {
	leased := a.LeaseUntil != nil && now.Before(*a.LeaseUntil)
	switch {
	case !p.State.Open():
		return nothing, false
	case a.No == 0, a.State == attemptFailed:
		return send, true
	case a.State == attemptPrepared && !leased:
		return send, false
	case a.State == attemptPrepared, a.State == attemptSubmitted && leased, a.State == attemptUnknown && leased:
		return wait, false
	case a.State == attemptSubmitted, a.State == attemptUnknown:
		return ask, false
	default: // pending: the customer has somewhere to pay
		return nothing, false
	}
}

// open asks the provider for an order and keeps the answer, even when the
// caller has gone.
func (s *Service) open(ctx context.Context, c claim) (payment, error) {
	provider, ok := s.providers[c.payment.Provider]
	if !ok {
		return payment{}, fmt.Errorf("payment %s has provider %q, which is not configured", c.payment.ID, c.payment.Provider)
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	if c.todo == ask {
		p, err := s.found(ctx, call, provider, c)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, errNoOrder) {
			return payment{}, s.unavailable(ctx, c, attemptUnknown, err)
		}
	}
	pay, err := s.payer(ctx, provider, c.payment)
	if err != nil {
		return payment{}, err
	}
	o, err := pay(call, order{
		MerchantOrderID: c.attempt.MerchantOrderID, AmountMinor: c.payment.AmountMinor,
		ReturnURL: s.publicURL + "/?payment=" + id.Format("pay", c.payment.ID),
		UserID:    id.Format("usr", c.payment.UserID), PaymentID: id.Format("pay", c.payment.ID), CreatedAt: c.attempt.CreatedAt,
	})
	var refused *refusedError
	switch {
	case err == nil:
		keep, done := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
		defer done()
		return s.opened(keep, c, o)
	case errors.Is(err, errDuplicate):
		p, err := s.found(ctx, call, provider, c)
		if err == nil {
			return p, nil
		}
		return payment{}, s.unavailable(ctx, c, attemptUnknown, err)
	case errors.As(err, &refused):
		return payment{}, s.unavailable(ctx, c, attemptFailed, err)
	case errors.Is(err, errNotSent) && c.todo == send:
		return payment{}, s.unavailable(ctx, c, attemptPrepared, err)
	default:
		return payment{}, s.unavailable(ctx, c, attemptUnknown, err)
	}
}

// found asks the provider about an order it may have, and takes what it says.
func (s *Service) found(ctx, call context.Context, p provider, c claim) (payment, error) {
	f, err := p.status(call, sent(c.payment, c.attempt))
	if err != nil {
		return payment{}, err //nolint:wrapcheck // of our own kinds
	}
	keep, done := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer done()
	res, err := s.applyFact(keep, f, origin{by: byProvider})
	if err != nil {
		return payment{}, err
	}
	if f.Kind == factstate.Unknown || res.integrity {
		return payment{}, errors.New("the provider's answer decides nothing")
	}
	return s.payment(keep, c.payment.ID)
}

// unavailable leaves the attempt as it is known to stand, and answers 502.
func (s *Service) unavailable(ctx context.Context, c claim, state string, cause error) error {
	keep, done := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer done()
	zerolog.Ctx(ctx).Warn().Err(cause).Stringer("payment_id", c.payment.ID).Str("attempt", state).Msg("provider did not open the order")
	if err := s.release(keep, c, state, cause); err != nil {
		return err
	}
	if state == attemptFailed {
		return fail.New(fail.PaymentProviderUnavailable, "the payment provider refused the order").Wrap(cause)
	}
	return fail.New(fail.PaymentProviderUnavailable, "the payment provider does not answer").RetryAfter(providerAge).Wrap(cause)
}
