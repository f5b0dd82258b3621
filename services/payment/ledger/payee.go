package ledger

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/money"
)

const (
	payee            = "payee:"
	payeePending     = "payee_pending:"
	customerCredit   = "customer_credit:"
	payoutsInTransit = "payouts_in_transit"
	releaseKind      = "release"
	payoutKind       = "payout"
)

// Payee is the account of what somebody has earned and may be paid.
func Payee(user uuid.UUID) string { return payee + user.String() }

// Pending is the account of somebody's share of what is not delivered yet.
func Pending(user uuid.UUID) string { return payeePending + user.String() }

// Personal reports whether an account is one person's: a liability whose row is
// made when it is first used.
func Personal(account string) bool {
	return strings.HasPrefix(account, payee) || strings.HasPrefix(account, payeePending) || strings.HasPrefix(account, customerCredit)
}

// Split is who shares in a payment's net of tax, and how far. The zero Split is
// nobody.
type Split struct {
	Beneficiary uuid.UUID
	PayeeBPS    int64
}

// shares takes the net apart to the last unit: the payee's by the rule, the rest
// the platform's.
func (s Split) shares(netMinor int64, currency string) (theirs, ours int64, err error) {
	if s.Beneficiary == uuid.Nil {
		return 0, netMinor, nil
	}
	parts, err := money.Of(netMinor, currency).Allocate(s.PayeeBPS, money.BasisPoints-s.PayeeBPS)
	if err != nil {
		return 0, 0, fmt.Errorf("split %d by %d: %w", netMinor, s.PayeeBPS, err)
	}
	return parts[0].Minor, parts[1].Minor, nil
}

// Release books that a payment's service was delivered: what was pending is the
// payee's.
func Release(paymentID, beneficiary uuid.UUID, amountMinor int64, currency string) (Journal, error) {
	return transfer(releaseKind+":"+paymentID.String(), releaseKind, Pending(beneficiary), Payee(beneficiary), amountMinor, currency)
}

// PayoutSent books an approved payout: what was the payee's is on its way.
func PayoutSent(payoutID, beneficiary uuid.UUID, amountMinor int64, currency string) (Journal, error) {
	return transfer(payoutKind+":"+payoutID.String(), payoutKind, Payee(beneficiary), payoutsInTransit, amountMinor, currency)
}

// PayoutDone books that the bank paid it.
func PayoutDone(payoutID uuid.UUID, amountMinor int64, currency string) (Journal, error) {
	return transfer("payout_done:"+payoutID.String(), "payout_done", payoutsInTransit, bank, amountMinor, currency)
}

// PayoutFailed books that the bank did not: it is the payee's again.
func PayoutFailed(payoutID, beneficiary uuid.UUID, amountMinor int64, currency string) (Journal, error) {
	return transfer("payout_failed:"+payoutID.String(), "payout_failed", payoutsInTransit, Payee(beneficiary), amountMinor, currency)
}

// transfer moves an amount above zero from one account, which is debited, to another.
func transfer(ref, kind, from, to string, amountMinor int64, currency string) (Journal, error) {
	j := Journal{ID: uuid.NewSHA1(space, []byte(ref)), Ref: ref, Kind: kind, Currency: currency}
	if amountMinor <= 0 {
		return Journal{}, fmt.Errorf("book %s: %w: a transfer is above zero", ref, ErrUnbalanced)
	}
	j.add(from, amountMinor)
	j.add(to, -amountMinor)
	return j, j.Check()
}
