package payment

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/ledger"
)

const (
	payoutPrefix   = "pot"
	payoutCurrency = "INR"
	leastPayout    = 10_000 // paise
	mostItems      = 100    // of one payout
)

type payoutState string

// States of a payout.
const (
	payoutPending    payoutState = "PENDING" // reserved; another administrator decides
	payoutProcessing payoutState = "PROCESSING"
	payoutCompleted  payoutState = "COMPLETED"
	payoutFailed     payoutState = "FAILED"
	payoutRejected   payoutState = "REJECTED"
)

// payout is a row.
type payout struct {
	ID            uuid.UUID
	BeneficiaryID uuid.UUID
	AmountMinor   int64
	Currency      string
	State         payoutState
	RequestedBy   uuid.UUID
	Reason        string
	DecidedBy     *uuid.UUID
	DecidedAt     *time.Time
	SettledAt     *time.Time
	BankReference string
	Failure       string
	CreatedAt     time.Time
}

// payoutItem is a payment's part in a payout, or what is left of its share.
type payoutItem struct {
	PaymentID   uuid.UUID
	AmountMinor int64
}

func total(items []payoutItem) (sum int64) {
	for _, i := range items {
		sum += i.AmountMinor
	}
	return sum
}

// pick chooses the items of a payout of an amount, or of all there is when it is
// 0: first whatever is owed back, then earnings by their age, the last one in
// part. They add up to sum. It never takes more than there is, and leaves a debt
// that outweighs what was earned for later.
func pick(open []payoutItem, amount int64) (items []payoutItem, sum int64, err error) {
	bad := func(why string) ([]payoutItem, int64, error) {
		return nil, 0, fail.New(fail.InvalidArgument, "the request is invalid").Field("amountMinor", why)
	}
	all := total(open)
	want := amount
	if want == 0 {
		want = all
	}
	switch {
	case want > all:
		return bad("is more than the " + strconv.FormatInt(max(all, 0), 10) + " there is")
	case want < leastPayout:
		return bad("is below the least payout of " + strconv.Itoa(leastPayout))
	}
	for _, i := range open {
		if i.AmountMinor < 0 {
			items, sum = append(items, i), sum+i.AmountMinor
		}
	}
	for _, i := range open {
		if i.AmountMinor < 0 || sum == want || len(items) >= mostItems {
			continue
		}
		i.AmountMinor = min(i.AmountMinor, want-sum)
		items, sum = append(items, i), sum+i.AmountMinor
	}
	switch {
	case sum < want && amount != 0:
		return bad("is of more than " + strconv.Itoa(mostItems) + " payments")
	case sum < leastPayout:
		return bad("cannot be put together of " + strconv.Itoa(mostItems) + " payments")
	}
	return items, sum, nil
}

// journalOf is what a payout in its new state books, if anything.
func journalOf(p payout) (j ledger.Journal, booked bool, err error) {
	switch p.State {
	case payoutProcessing:
		j, err = ledger.PayoutSent(p.ID, p.BeneficiaryID, p.AmountMinor, p.Currency)
	case payoutCompleted:
		j, err = ledger.PayoutDone(p.ID, p.AmountMinor, p.Currency)
	case payoutFailed:
		j, err = ledger.PayoutFailed(p.ID, p.BeneficiaryID, p.AmountMinor, p.Currency)
	default:
		return ledger.Journal{}, false, nil
	}
	return j, err == nil, err //nolint:wrapcheck // it says what it books
}
