// Package document draws tax invoices, bills of supply and credit notes as PDF
// in English and Hindi. It is pure: the same Document gives the same bytes, so
// their hash can be kept. No database, no clock, no floating point.
package document

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Kind is what a paper is in law.
type Kind string

// The kinds.
const (
	TaxInvoice   Kind = "TAX_INVOICE"    // section 31 of the CGST Act
	BillOfSupply Kind = "BILL_OF_SUPPLY" // section 31(3)(c): what is exempt
	CreditNote   Kind = "CREDIT_NOTE"    // section 34
)

const (
	maxLines    = 1000
	maxRoundOff = 100                     // section 170 rounds to the rupee
	maxTotal    = 100_000_000_000_000_000 // ₹10¹⁵, above any price
)

// What Write refuses to draw.
var (
	ErrTotal = errors.New("the amounts of the document do not add up")
	ErrSize  = errors.New("the document has too many lines")
	ErrKind  = errors.New("the document is of no known kind, or of one without tax")
)

// Document is everything a reader sees, in paise. An empty field leaves its
// line out.
type Document struct {
	Kind             Kind
	Number           string
	IssuedAt         time.Time // shown in Asia/Kolkata
	State            string    // PAID, ISSUED, VOID: shown beside the title
	FinancialYear    string    // 26-27
	Supplier         Party
	Customer         Party
	PlaceOfSupply    string // state code, 96 abroad
	Export           bool   // zero rated: the words of rule 46 are printed
	ReverseCharge    bool
	Lines            []Line
	TaxableMinor     int64
	CGST, SGST, IGST Tax // what is zero is left out
	RoundOffMinor    int64
	TotalMinor       int64
	PaymentReference string
	Original         *Original // of a credit note
	Reason           string    // of a credit note
	SHA256           string    // of the record the paper was drawn from
}

// Party is a supplier or a customer.
type Party struct {
	Name      string
	Email     string
	ID        string // shown when there is no e-mail
	Address   []string
	Country   string // of a customer abroad
	GSTIN     string
	StateCode string // GST code: 29 is Karnataka
}

// Line is one thing sold.
type Line struct {
	Description  string
	SAC          string
	Quantity     int64 // zero is one
	TaxableMinor int64
	RateBP       int64 // all taxes together, in basis points
	TaxMinor     int64
	AmountMinor  int64
}

// Tax is one tax of the whole document. RateBP is zero when the lines differ.
type Tax struct {
	RateBP int64
	Minor  int64
}

// Original is the invoice a credit note takes back from.
type Original struct {
	Number   string
	IssuedAt time.Time
}

// Write draws d as PDF. lang is "en" or "hi"; anything else reads as "en". It
// fails with ErrTotal, ErrSize or ErrKind before it writes anything, or as w
// fails.
func Write(w io.Writer, d Document, lang string) error {
	if err := d.check(); err != nil {
		return fmt.Errorf("draw %s %q: %w", d.Kind, d.Number, err)
	}
	fonts, err := faces()
	if err != nil {
		return err
	}
	p := newPrinter(fonts)
	p.draw(modelOf(d, textsOf(lang)))
	if _, err := w.Write(p.pdf(d.IssuedAt)); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

// check refuses what an accountant would send back.
func (d Document) check() error {
	if len(d.Lines) > maxLines {
		return ErrSize
	}
	if d.Kind != TaxInvoice && d.Kind != BillOfSupply && d.Kind != CreditNote {
		return ErrKind
	}
	// No part is more than the total and the total is far from the end of
	// int64, so that no sum below overflows.
	if d.RoundOffMinor < -maxRoundOff || d.RoundOffMinor > maxRoundOff || d.TotalMinor > maxTotal {
		return ErrTotal
	}
	for _, part := range []int64{d.TaxableMinor, d.CGST.Minor, d.SGST.Minor, d.IGST.Minor, d.TotalMinor} {
		if part < 0 || part > d.TotalMinor+maxRoundOff {
			return ErrTotal
		}
	}
	tax := d.CGST.Minor + d.SGST.Minor + d.IGST.Minor
	if d.TaxableMinor+tax+d.RoundOffMinor != d.TotalMinor {
		return ErrTotal
	}
	if tax != 0 && (d.Kind == BillOfSupply || d.Export) {
		return ErrKind
	}
	return nil
}
