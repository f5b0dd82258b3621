package ledger

import (
	"fmt"

	"github.com/google/uuid"
)

const (
	bank            = "bank"
	gatewayFees     = "gateway_fees"
	inputCredit     = "gst_input_credit" //nolint:gosec // an account
	settlementKind  = "settlement"
	settlementStart = settlementKind + ":"
)

// Movement is what a line of a settlement file says happened.
type Movement string

// The movements, as the file names them.
const (
	MovedIn    Movement = "CAPTURE"             // a customer's money
	MovedBack  Movement = "REFUND"              // to the customer
	Charged    Movement = "CHARGEBACK"          // a dispute took it
	Reinstated Movement = "CHARGEBACK_REVERSED" // a dispute gave it back
)

// Settled is one line of a provider's settlement, in minor units. Net is what
// reached our bank; below zero it left it.
type Settled struct {
	Movement                                  Movement
	AmountMinor, FeeMinor, TaxMinor, NetMinor int64
	Currency                                  string
}

// Settlement books a line: what the provider owed, or had paid for us, is the
// bank's now; what it kept is a fee, and the GST on that an input credit.
func Settlement(provider, transactionID string, l Settled) (Journal, error) {
	j := Journal{Ref: settlementStart + provider + ":" + transactionID + ":" + string(l.Movement), Kind: settlementKind, Currency: l.Currency}
	j.ID = uuid.NewSHA1(space, []byte(j.Ref))
	amount := l.AmountMinor
	if l.Movement == MovedBack || l.Movement == Charged {
		amount = -amount
	}
	if l.AmountMinor <= 0 || l.FeeMinor < 0 || l.TaxMinor < 0 {
		return Journal{}, fmt.Errorf("book %s: %w: an amount, and no fee below zero", j.Ref, ErrUnbalanced)
	}
	j.add(bank, l.NetMinor)
	j.add(gatewayFees, l.FeeMinor)
	j.add(inputCredit, l.TaxMinor)
	j.add(Clearing(provider), -amount)
	if err := j.Check(); err != nil {
		return Journal{}, err
	}
	return j, nil
}
