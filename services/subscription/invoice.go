package subscription

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/services/subscription/gst"
)

// States and kinds of documents.
const (
	draftState = "DRAFT"
	finalState = "FINAL"

	ofOrder      = "ORDER"
	ofRenewal    = "RENEWAL"
	ofCreditNote = "CREDIT_NOTE"
)

// creditSeries numbers credit notes by themselves, as CGST rule 53 has it.
const creditSeries = "CRN"

// abroad is the place of supply outside India, as returns name it.
const abroad = "96"

// invoice is a tax document: a draft until its money comes, then final with a
// number, and never changed again but by a credit note.
type invoice struct {
	ID             uuid.UUID
	UserID         uuid.UUID
	SubscriptionID *uuid.UUID // this or PurchaseID
	PurchaseID     *uuid.UUID
	PaymentID      *uuid.UUID // nil: a draft, or nothing was to pay
	Kind           string
	PeriodNo       *int
	State          string
	Number         *string
	PlaceOfSupply  string
	Customer       customer
	Corrects       *uuid.UUID
	Currency       string
	Lines          []invoiceLine
	CreditMinor    int64 // of it that unused time paid
	TaxableMinor   int64
	CGSTMinor      int64
	SGSTMinor      int64
	IGSTMinor      int64
	RoundOffMinor  int64
	TotalMinor     int64
	Hash           []byte
	IssuedAt       time.Time // of a draft: when it was made
}

// invoiceLine is one thing sold, or taken off.
type invoiceLine struct {
	Description string `json:"description"`
	SACCode     string `json:"sacCode"`
	AmountMinor int64  `json:"amountMinor"` // tax included
}

// tax is the document's amounts.
func (v invoice) tax() gst.Split {
	return gst.Split{Taxable: v.TaxableMinor, CGST: v.CGSTMinor, SGST: v.SGSTMinor, IGST: v.IGSTMinor, RoundOff: v.RoundOffMinor}
}

// taxedAs puts amounts on a document.
func (v invoice) taxedAs(t gst.Split) invoice {
	v.TaxableMinor, v.CGSTMinor, v.SGSTMinor, v.IGSTMinor, v.RoundOffMinor = t.Taxable, t.CGST, t.SGST, t.IGST, t.RoundOff
	v.TotalMinor = t.Total()
	return v
}

// digest is the SHA-256 of all that a final document says.
func (v invoice) digest() ([]byte, error) {
	b, err := json.Marshal([]any{
		v.ID, v.Kind, v.Number, v.PlaceOfSupply, v.Customer, v.Corrects, v.Currency, v.Lines, v.TaxableMinor, v.CGSTMinor,
		v.SGSTMinor, v.IGSTMinor, v.RoundOffMinor, v.TotalMinor, v.IssuedAt.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return nil, fmt.Errorf("encode invoice %s: %w", v.ID, err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// of is the price at another amount, tax included.
func (pr price) of(gross int64) price {
	pr.AmountMinor, pr.TaxMode = gross, "INCLUSIVE"
	return pr
}

// split takes a price apart for a place of supply: the supplier's own state
// shares the tax, another's leaves it to the union, and abroad there is none.
func split(pr price, place, supplier string) gst.Split {
	rate := gst.Rate(pr.TaxCategory)
	if place == abroad {
		rate = 0
	}
	if pr.TaxMode == "EXCLUSIVE" {
		return gst.Exclusive(pr.AmountMinor, rate, place != supplier)
	}
	return gst.Inclusive(pr.AmountMinor, rate, place != supplier)
}

// draft makes the invoice of what was quoted.
func (s *Service) draft(userID uuid.UUID, q quote, now time.Time) invoice {
	return invoice{
		ID: s.ids.New(), UserID: userID, Kind: ofOrder, State: draftState, PlaceOfSupply: q.Place, Customer: q.Customer,
		Currency: q.Price.Currency, Lines: q.Lines, CreditMinor: q.Credit, IssuedAt: now,
	}.taxedAs(q.Tax)
}

// bill makes the invoice of an order that was placed before there were drafts.
func (s *Service) bill(sub subscription, now time.Time) invoice {
	return invoice{
		ID: s.ids.New(), UserID: sub.UserID, SubscriptionID: &sub.ID, Kind: ofOrder, State: draftState,
		PlaceOfSupply: s.supplier.State, Currency: sub.Currency, IssuedAt: now,
		Lines: []invoiceLine{{
			Description: sub.PlanName + " (" + cycleWords(sub.Cycle) + ")", SACCode: sub.SACCode, AmountMinor: sub.TotalMinor,
		}},
	}.taxedAs(split(sub.price().of(sub.TotalMinor), s.supplier.State, s.supplier.State))
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

// creditNote takes back a part of an invoice. What earlier notes took counts:
// the taxes are differences of running shares, so all notes together take back
// the invoice exactly, and rounding goes with the value.
func (s *Service) creditNote(of invoice, before, now int64, at time.Time) invoice {
	note := of
	note.ID, note.Kind, note.Corrects, note.IssuedAt = s.ids.New(), ofCreditNote, &of.ID, at
	note.PeriodNo, note.Number, note.Hash, note.CreditMinor = nil, nil, nil, 0
	share := func(part, back int64) int64 { return part * back / of.TotalMinor }
	tax := func(part int64) int64 { return share(part, now) - share(part, before) }
	if before == 0 && now == of.TotalMinor {
		return note.taxedAs(of.tax())
	}
	t := gst.Split{CGST: tax(of.CGSTMinor), SGST: tax(of.SGSTMinor), IGST: tax(of.IGSTMinor)}
	t.Taxable = now - before - t.CGST - t.SGST - t.IGST
	note.Lines = []invoiceLine{{Description: "Refund", AmountMinor: now - before}}
	if len(of.Lines) > 0 {
		note.Lines[0].SACCode = of.Lines[0].SACCode
		note.Lines[0].Description = "Refund of " + of.Lines[0].Description
	}
	return note.taxedAs(t)
}
