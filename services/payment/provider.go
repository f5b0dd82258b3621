package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/manas360/platform/services/payment/factstate"
)

// provider takes payments for us. Its calls are never made in a transaction:
// a transaction may be repeated, a call may not.
type provider interface {
	// pay opens an order. Fails with errNotSent, errDuplicate, a *refusedError,
	// or anything else, which means that nobody knows.
	pay(ctx context.Context, o order) (opened, error)
	// status asks what became of an order. Fails with errNoOrder when the
	// provider does not know it.
	status(ctx context.Context, o sentOrder) (fact, error)
	// refund gives money of a captured order back. Fails as pay does; repeated
	// under the same MerchantRefundID it moves the money once.
	refund(ctx context.Context, r sentRefund) (refundFact, error)
	// refundStatus asks what became of a refund. Fails with errNoOrder when the
	// provider does not know it.
	refundStatus(ctx context.Context, r sentRefund) (refundFact, error)
	// atLeast is the smallest amount it takes, in minor units.
	atLeast() int64
}

var (
	errNotSent   = errors.New("the provider certainly did not hear of it")
	errDuplicate = errors.New("the provider has this order already")
	errNoOrder   = errors.New("the provider does not know this order")
)

// refusedError is a provider's definite no.
type refusedError struct {
	Status int
	Code   string // as the provider names it
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused with %d %s", e.Status, e.Code) }

// order is what a provider needs to know.
type order struct {
	MerchantOrderID string
	AmountMinor     int64
	ReturnURL       string // where the customer goes afterwards
	UserID          string
	PaymentID       string
	CreatedAt       time.Time // of the attempt: the same at every repeat
}

// sentOrder names an order that a provider may have.
type sentOrder struct {
	MerchantOrderID string
	ProviderOrderID string // empty when the answer to pay was lost
	AmountMinor     int64
	Currency        string
}

// sentRefund is money to give back, or given.
type sentRefund struct {
	MerchantRefundID string // ours, the same at every repeat
	ProviderRefundID string // empty until the provider told it
	Order            sentOrder
	AmountMinor      int64
}

// refundKind is what a provider says of a refund.
type refundKind int

// The kinds. An answer without a state we know is refundUnknown and means nothing.
const (
	refundUnknown refundKind = iota
	refundPending            // it has it
	refundDone               // the money went
	refundFailed             // it did not go; Stripe says so even after refundDone
)

// refundFact is what a provider says of a refund in answer to our own question.
type refundFact struct {
	Kind             refundKind
	MerchantRefundID string // which we asked about
	EchoedRefundID   string // which it answered about, if it says so
	ProviderRefundID string
	AmountMinor      int64 // 0 when it does not say
	Currency         string
	FailureCode      string
	DoneAt           time.Time // zero when it does not say
}

// opened is a provider's answer to pay.
type opened struct {
	ProviderOrderID string
	RedirectURL     string
	ExpiresAt       time.Time
}

// fact is what a provider says of an order in answer to our own question.
type fact struct {
	Kind            factstate.Fact
	MerchantOrderID string // which we asked about
	EchoedOrderID   string // which it answered about, if it says so
	ProviderOrderID string
	AmountMinor     int64
	Currency        string
	Method          string
	FailureCode     string
	PaidAt          time.Time // zero when it does not say
	ExpiresAt       time.Time // zero when it does not say
	RedirectURL     string    // where it can be paid, if it says so
}
