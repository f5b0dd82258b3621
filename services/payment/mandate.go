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
)

// mandateState is where a mandate stands, as the contract names it.
type mandateState string

// The states.
const (
	mandatePending   mandateState = "PENDING"
	mandateActive    mandateState = "ACTIVE"
	mandatePaused    mandateState = "PAUSED"
	mandateRevoked   mandateState = "REVOKED" // by the customer, at the bank
	mandateCancelled mandateState = "CANCELLED"
	mandateExpired   mandateState = "EXPIRED"
	mandateFailed    mandateState = "FAILED" // never came to be
)

// over reports whether it can never be debited again.
func (s mandateState) over() bool {
	return s == mandateRevoked || s == mandateCancelled || s == mandateExpired
}

// nextMandate gives the state after what the provider says. What is over stays
// over and nothing is asked for anew; a setup that failed may still come good,
// as its payment may.
func nextMandate(s, said mandateState) mandateState {
	switch {
	case said == "", s.over(), said == mandatePending:
		return s
	case said == mandateFailed && s != mandatePending:
		return s
	default:
		return said
	}
}

// newMandate is what a first payment is to consent to.
type newMandate struct {
	AmountType string
	MaxMinor   int64
	Frequency  string
	ExpiresAt  time.Time // zero: in mandateLife
}

const mandateLife = 10 // years

// setUpMandate opens a first payment that carries the consent to later ones.
func (s *Service) setUpMandate(ctx context.Context, in newPayment, offer newMandate) (mandate, payment, error) {
	if in.Provider == "" {
		in.Provider = defaultProvider
	}
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	if _, err := s.mandater(in.Provider); err != nil {
		return mandate{}, payment{}, bad.Field("provider", "keeps no mandates").Wrap(err)
	}
	if offer.ExpiresAt.IsZero() {
		offer.ExpiresAt = s.now().AddDate(mandateLife, 0, 0)
	}
	switch {
	case offer.MaxMinor > mandateMaxOnce:
		return mandate{}, payment{}, bad.Field("maxAmount.amountMinor", "is above what may be debited without the person")
	case in.AmountMinor > offer.MaxMinor:
		return mandate{}, payment{}, bad.Field("maxAmount.amountMinor", "is below the first payment")
	case !offer.ExpiresAt.After(s.now()):
		return mandate{}, payment{}, bad.Field("expiresAt", "is over")
	}
	in.Mandate = &offer
	p, err := s.create(ctx, in)
	if err != nil {
		return mandate{}, payment{}, err
	}
	m, err := s.mandateOfRequest(ctx, in.RequestID)
	if err != nil {
		return mandate{}, payment{}, err
	}
	if m.MaxMinor != offer.MaxMinor || m.AmountType != offer.AmountType || m.Frequency != offer.Frequency {
		return mandate{}, payment{}, fail.New(fail.Conflict, "the order has a mandate of another kind already")
	}
	return m, p, nil
}

func (s *Service) mandater(code string) (mandater, error) {
	m, ok := s.providers[code].(mandater)
	if !ok {
		return nil, fmt.Errorf("provider %q keeps no mandates", code)
	}
	return m, nil
}

// payer is how a payment's order is opened: plainly, or with a consent.
func (s *Service) payer(ctx context.Context, p provider, of payment) (func(context.Context, order) (opened, error), error) {
	if of.MandateID == nil {
		return p.pay, nil
	}
	bank, err := s.mandater(of.Provider)
	if err != nil {
		return nil, err
	}
	m, err := s.mandate(ctx, *of.MandateID)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, o order) (opened, error) {
		return bank.setUp(ctx, o, mandateOffer{
			Ref: m.MerchantRef, AmountType: m.AmountType, MaxMinor: m.MaxMinor, Frequency: m.Frequency, ExpiresAt: m.ExpiresAt,
		})
	}, nil
}

// mandateRef names a mandate at the provider.
func mandateRef(mandateID uuid.UUID) string {
	return "M" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mandateID[:])
}

// debitOrderID names a debit at the provider, the same for notice and debit.
func debitOrderID(paymentID uuid.UUID, no int) string {
	return debitPrefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(paymentID[:]) + "-" + strconv.Itoa(no)
}

const debitPrefix = "D"

// newDebit is one debit of a mandate.
type newDebit struct {
	newPayment
	MandateID uuid.UUID
	DueAt     time.Time
}

// schedule promises a debit. Its payment is here at once, the rest is the
// worker's.
func (s *Service) schedule(ctx context.Context, in newDebit) (payment, debit, error) {
	m, err := s.mandate(ctx, in.MandateID)
	if err != nil {
		return payment{}, debit{}, err
	}
	in.UserID, in.Provider, in.Purpose = m.UserID, m.Provider, "subscription"
	if err := s.check(in.newPayment); err != nil {
		return payment{}, debit{}, err
	}
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	switch {
	case in.AmountMinor > mandateMaxOnce:
		return payment{}, debit{}, bad.Field("amount.amountMinor", "is above what may be debited without the person")
	case in.AmountMinor > m.MaxMinor:
		return payment{}, debit{}, bad.Field("amount.amountMinor", "is above the mandate's limit")
	case m.AmountType == "FIXED" && in.AmountMinor != m.MaxMinor:
		return payment{}, debit{}, bad.Field("amount.amountMinor", "is not the mandate's amount")
	}
	paymentID, err := s.insertDebit(ctx, in)
	if err != nil {
		return payment{}, debit{}, err
	}
	s.outbox.Wake()
	d, err := s.debit(ctx, paymentID)
	if err != nil {
		return payment{}, debit{}, err
	}
	p, err := s.payment(ctx, paymentID)
	return p, d, err
}

// endMandate has a mandate end. From its commit on nothing is debited; the
// provider hears of it now, or from the worker.
func (s *Service) endMandate(ctx context.Context, m mandate, by actorOf) (mandate, error) {
	if err := s.requestCancel(ctx, m.ID, by); err != nil {
		return mandate{}, err
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	if err := s.followThrough(call, m.ID); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("mandate_id", m.ID).Msg("provider not told of a mandate's end yet")
	}
	return s.mandate(ctx, m.ID)
}

// followThrough asks about a mandate, and cancels one that is to end.
func (s *Service) followThrough(ctx context.Context, mandateID uuid.UUID) error {
	m, err := s.refresh(ctx, mandateID, origin{by: byProvider})
	if err != nil || m.CancelRequestedAt == nil || m.State != mandateActive && m.State != mandatePaused {
		return err
	}
	bank, err := s.mandater(m.Provider)
	if err != nil {
		return err
	}
	var refused *refusedError
	if err := bank.cancel(ctx, m.MerchantRef); err != nil && !errors.As(err, &refused) {
		return err //nolint:wrapcheck // of our own kinds
	}
	_, err = s.refresh(ctx, mandateID, origin{by: byProvider})
	return err
}

// refresh asks the provider about a mandate and gives it as it stands then.
func (s *Service) refresh(ctx context.Context, mandateID uuid.UUID, from origin) (mandate, error) {
	m, err := s.mandate(ctx, mandateID)
	if err != nil {
		return mandate{}, err
	}
	bank, err := s.mandater(m.Provider)
	if err != nil {
		return mandate{}, err
	}
	f, err := bank.mandateStatus(ctx, m.MerchantRef)
	if errors.Is(err, errNoOrder) {
		f, err = mandateFact{Ref: m.MerchantRef, AskedAt: s.now()}, nil
	}
	if err != nil {
		return mandate{}, err //nolint:wrapcheck // of our own kinds
	}
	if m.State == mandatePending && (f.State == "" || f.State == mandatePending) {
		over, err := s.setUpOver(ctx, m.ID)
		if err != nil {
			return mandate{}, err
		}
		if over { // the provider said so of the order, if not of the mandate
			f.State = mandateFailed
		}
	}
	return s.applyMandateFact(ctx, m.ID, f, from)
}

// nextAsk is when a mandate is asked about again though nobody calls: callbacks
// get lost. Zero ends it.
func nextAsk(m mandate, now time.Time) time.Time {
	age := now.Sub(m.CreatedAt)
	switch {
	case m.State.over(), m.State == mandateFailed && age > pollingEnds:
		return time.Time{}
	case m.CancelRequestedAt != nil:
		return now.Add(min(max(now.Sub(*m.CancelRequestedAt), time.Second), time.Hour))
	case m.State == mandatePending:
		return now.Add(min(max(age/4, time.Second), time.Hour))
	case m.State == mandateFailed:
		return now.Add(6 * time.Hour)
	default:
		return now.Add(24 * time.Hour)
	}
}

func noSuch(err error) bool { return fail.Is(err, fail.NotFound) }

// actorOf is who wants something of a mandate.
type actorOf struct{ kind, id string }
