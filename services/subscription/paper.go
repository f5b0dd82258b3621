package subscription

import (
	"encoding/hex"
	"io"
	"strings"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/services/subscription/document"
	"github.com/manas360/platform/services/subscription/gst"
	"github.com/manas360/platform/services/subscription/period"
)

// paper draws a final invoice, or a credit note for original.
func (s *Service) paper(w io.Writer, inv invoice, original *invoice, lang string) error {
	d := document.Document{
		Kind: kindOf(inv), Number: *inv.Number, IssuedAt: inv.IssuedAt, State: inv.State,
		FinancialYear: period.FinancialYear(inv.IssuedAt, s.zone),
		Supplier:      document.Party{Name: s.supplier.Name, Address: lines(s.supplier.Address, "|"), GSTIN: s.supplier.GSTIN, StateCode: s.supplier.State},
		Customer: document.Party{
			Name: inv.Customer.Name, ID: id.Format("usr", inv.UserID), Address: lines(inv.Customer.Address, "\n"), GSTIN: inv.Customer.GSTIN,
			StateCode: inv.Customer.State,
		},
		PlaceOfSupply: inv.PlaceOfSupply, Export: inv.PlaceOfSupply == abroad,
		TaxableMinor: inv.TaxableMinor, RoundOffMinor: inv.RoundOffMinor, TotalMinor: inv.TotalMinor,
		SHA256: hex.EncodeToString(inv.Hash),
	}
	if inv.CGSTMinor > 0 {
		d.CGST = document.Tax{RateBP: gst.StandardRate / 2, Minor: inv.CGSTMinor}
		d.SGST = document.Tax{RateBP: gst.StandardRate / 2, Minor: inv.SGSTMinor}
	}
	if inv.IGSTMinor > 0 {
		d.IGST = document.Tax{RateBP: gst.StandardRate, Minor: inv.IGSTMinor}
	}
	if inv.Customer.Country != home {
		d.Customer.Country = inv.Customer.Country
	}
	if inv.PaymentID != nil {
		d.PaymentReference = id.Format("pay", *inv.PaymentID)
	}
	if original != nil && original.Number != nil {
		d.Original = &document.Original{Number: *original.Number, IssuedAt: original.IssuedAt}
		d.Reason = "Refund"
	}
	d.Lines = papered(inv)
	return document.Write(w, d, lang)
}

// papered are the lines of the paper: each with its value and its tax, which
// add up to the document's. The first takes what rounding leaves.
func papered(inv invoice) []document.Line {
	rate := int64(0)
	if inv.CGSTMinor+inv.SGSTMinor+inv.IGSTMinor > 0 {
		rate = gst.StandardRate
	}
	tax, taxable := inv.CGSTMinor+inv.SGSTMinor+inv.IGSTMinor, inv.TaxableMinor
	out := make([]document.Line, len(inv.Lines))
	for i := len(inv.Lines) - 1; i >= 0; i-- {
		l := inv.Lines[i]
		out[i] = document.Line{Description: l.Description, SAC: l.SACCode, Quantity: 1, RateBP: rate, AmountMinor: l.AmountMinor}
		if i > 0 {
			gross := max(l.AmountMinor, -l.AmountMinor)
			value := gst.Inclusive(gross, rate, true).Taxable
			if l.AmountMinor < 0 {
				value = -value
			}
			out[i].TaxableMinor, out[i].TaxMinor = value, l.AmountMinor-value
			taxable, tax = taxable-value, tax-out[i].TaxMinor
			continue
		}
		out[i].TaxableMinor, out[i].TaxMinor = taxable, tax
	}
	return out
}

func kindOf(inv invoice) document.Kind {
	switch {
	case inv.Kind == ofCreditNote:
		return document.CreditNote
	case inv.CGSTMinor+inv.IGSTMinor == 0 && inv.PlaceOfSupply != abroad && inv.TotalMinor > 0:
		return document.BillOfSupply
	default:
		return document.TaxInvoice
	}
}

// lines parts a text, without the empty ones.
func lines(text, by string) []string {
	var out []string
	for l := range strings.SplitSeq(text, by) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}
