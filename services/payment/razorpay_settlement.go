package payment

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/manas360/platform/services/payment/ledger"
)

const (
	razorpayRecon     = "/v1/settlements/recon/combined"
	razorpayReconPage = 1000 // the most it gives at once
	razorpayReconMost = 1000 // pages; beyond that something is wrong
)

// razorpaySettled is the part of a line of the settlement that we rely on.
type razorpaySettled struct {
	EntityID     string `json:"entity_id"`
	Type         string `json:"type"` // payment, refund, adjustment, …
	Debit        int64  `json:"debit"`
	Credit       int64  `json:"credit"`
	Amount       int64  `json:"amount"`
	Fee          int64  `json:"fee"` // with the tax on it
	Tax          int64  `json:"tax"`
	Currency     string `json:"currency"`
	CreatedAt    int64  `json:"created_at"` // seconds
	SettledAt    int64  `json:"settled_at"`
	SettlementID string `json:"settlement_id"`
	UTR          string `json:"settlement_utr"`
	Receipt      string `json:"order_receipt"`
}

// settlements reads a day of Razorpay's combined reconciliation, page by page.
func (c *razorpay) settlements(ctx context.Context, day time.Time) ([]settlementLine, error) {
	var lines []settlementLine
	for skip := 0; skip < razorpayReconMost*razorpayReconPage; skip += razorpayReconPage {
		a, err := c.call(ctx, http.MethodGet, fmt.Sprintf("%s?year=%d&month=%d&day=%d&count=%d&skip=%d",
			razorpayRecon, day.Year(), day.Month(), day.Day(), razorpayReconPage, skip), nil, "")
		var r struct {
			Items []razorpaySettled `json:"items"`
		}
		if err := readRazorpay("settlements", a, err, &r); err != nil {
			return nil, err
		}
		for _, item := range r.Items {
			l, err := item.line()
			if err != nil {
				return nil, fmt.Errorf("settlement line %.64q: %w", item.EntityID, err)
			}
			lines = append(lines, l)
		}
		if len(r.Items) < razorpayReconPage {
			return lines, nil
		}
	}
	return nil, fmt.Errorf("the settlement of %s has no end", day.Format(time.DateOnly))
}

func (r razorpaySettled) line() (settlementLine, error) {
	l := settlementLine{
		Provider: razorpayCode, TransactionID: r.EntityID, SettlementID: r.SettlementID, UTR: r.UTR, MerchantOrderID: r.Receipt,
		AmountMinor: r.Amount, FeeMinor: r.Fee - r.Tax, TaxMinor: r.Tax, NetMinor: r.Credit - r.Debit, Currency: r.Currency,
		MovedAt: time.Unix(r.CreatedAt, 0).UTC(), SettledAt: time.Unix(r.SettledAt, 0).UTC(),
	}
	switch {
	case r.Type == "payment":
		l.Kind = string(ledger.MovedIn)
	case r.Type == "refund":
		l.Kind = string(ledger.MovedBack)
	case r.Type == "adjustment" && r.Debit > 0:
		l.Kind = string(ledger.Charged)
	case r.Type == "adjustment":
		l.Kind = string(ledger.Reinstated)
	default:
		l.Kind = r.Type // check names it
	}
	return l, l.check()
}
