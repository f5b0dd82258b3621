package payment

import (
	"context"
	"time"
)

// mandater is a provider that keeps mandates: a person's consent, given once,
// to be debited again. Calls that change something fail as provider.pay does;
// those that ask fail with errNoOrder when the provider does not know it.
type mandater interface {
	// setUp opens the order by which the person pays once and consents.
	setUp(ctx context.Context, o order, m mandateOffer) (opened, error)
	// notify has the person told of a debit, which opens its order.
	notify(ctx context.Context, d debitOrder) (debitFact, error)
	// redeem asks for the debit of an order whose notice is a day old.
	redeem(ctx context.Context, d debitOrder) error
	// mandateStatus asks what became of a mandate.
	mandateStatus(ctx context.Context, ref string) (mandateFact, error)
	// debitStatus asks what became of a debit's order.
	debitStatus(ctx context.Context, d debitOrder) (debitFact, error)
	// cancel ends a mandate. Repeating it is harmless.
	cancel(ctx context.Context, ref string) error
}

// mandateOffer is what a person is asked to consent to.
type mandateOffer struct {
	Ref        string // ours
	AmountType string
	MaxMinor   int64
	Frequency  string
	ExpiresAt  time.Time
}

// debitOrder names a debit of a mandate at its provider.
type debitOrder struct {
	MerchantOrderID string // ours, the same for notice and debit
	MandateRef      string
	AmountMinor     int64
	PaymentID       string
	UserID          string
}

// mandateFact is what a provider says of a mandate in answer to our own question.
type mandateFact struct {
	State       mandateState // empty when it says nothing we know, such as that it is changing
	Ref         string       // which it answered about
	ProviderRef string
	MaxMinor    int64 // 0 when it does not say
	AskedAt     time.Time
}

// debitKind is what a provider says of a debit's order.
type debitKind int

// The kinds. An answer without a state we know is debitSilent and means nothing.
const (
	debitSilent   debitKind = iota
	debitTelling            // the notice is on its way
	debitTold               // the person was told; nothing is being debited
	debitInFlight           // the debit is on its way
	debitDone               // the money moved
	debitRefused            // it ended without
)

// debitFact is what a provider says of a debit in answer to our own question.
type debitFact struct {
	Kind            debitKind
	MerchantOrderID string // which we asked about
	EchoedOrderID   string // which it answered about, if it says so
	ProviderOrderID string
	AmountMinor     int64 // 0 when it does not say
	Currency        string
	Method          string
	FailureCode     string
	PaidAt          time.Time // zero when it does not say
	RedeemAfter     time.Time // zero when it does not say
	ExpiresAt       time.Time // zero when it does not say
}
