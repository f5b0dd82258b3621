package subscription

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/subscription/gst"
)

// invoice is a tax document. It is written once, with its number.
type invoice struct {
	ID             uuid.UUID
	UserID         uuid.UUID
	SubscriptionID *uuid.UUID // this or PurchaseID
	PurchaseID     *uuid.UUID
	PaymentID      uuid.UUID
	State          string
	Number         string
	PlaceOfSupply  string
	Currency       string
	Lines          []invoiceLine
	TaxableMinor   int64
	CGSTMinor      int64
	SGSTMinor      int64
	IGSTMinor      int64
	RoundOffMinor  int64
	TotalMinor     int64
	IssuedAt       time.Time
}

// invoiceLine is one thing sold.
type invoiceLine struct {
	Description string `json:"description"`
	SACCode     string `json:"sacCode"`
	AmountMinor int64  `json:"amountMinor"` // tax included
}

// split takes a price apart as sold by the supplier. Where the customer lives
// is not asked yet, so the place of supply is the supplier's state, as the law
// has it for a customer whose address is not on record.
func split(pr price) gst.Split {
	rate := gst.Rate(pr.TaxCategory)
	if pr.TaxMode == "EXCLUSIVE" {
		return gst.Exclusive(pr.AmountMinor, rate, false)
	}
	return gst.Inclusive(pr.AmountMinor, rate, false)
}

// bill makes the invoice of a paid order; its number comes when it is issued.
func (s *Service) bill(sub subscription, paymentID uuid.UUID, now time.Time) invoice {
	tax := split(sub.price())
	return invoice{
		ID: s.ids.New(), UserID: sub.UserID, SubscriptionID: &sub.ID, PaymentID: paymentID,
		State: "PAID", PlaceOfSupply: s.supplier.State, Currency: sub.Currency,
		Lines: []invoiceLine{{
			Description: sub.PlanName + " (" + cycleWords(sub.Cycle) + ")", SACCode: sub.SACCode, AmountMinor: sub.TotalMinor,
		}},
		TaxableMinor: tax.Taxable, CGSTMinor: tax.CGST, SGSTMinor: tax.SGST, IGSTMinor: tax.IGST,
		RoundOffMinor: tax.RoundOff, TotalMinor: sub.TotalMinor, IssuedAt: now,
	}
}

func cycleWords(cycle string) string {
	switch cycle {
	case "MONTHLY":
		return "one month"
	case "QUARTERLY":
		return "three months"
	case "YEARLY":
		return "one year"
	default:
		return "for life"
	}
}

// invoiceNumber writes INV/26-27/000001. Rule 46 of the CGST Rules allows 16
// characters; a series that outgrows them must be split, not cut.
func invoiceNumber(prefix, fy string, n int64) (string, error) {
	number := fmt.Sprintf("%s/%s/%06d", prefix, fy, n)
	if len(number) > 16 {
		return "", fmt.Errorf("invoice series %s of %s is full", prefix, fy)
	}
	return number, nil
}
