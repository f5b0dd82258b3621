// Package gst takes a price apart into taxable value and Indian goods and
// services tax. Integers only, in minor units; no database.
package gst

// StandardRate is the rate of services under the standard category, in basis
// points: 9 % central and 9 % state, or 18 % integrated.
const StandardRate = 1800

const whole = 10_000 // basis points

// Split is a total taken apart: Taxable + CGST + SGST + IGST + RoundOff is the
// total, CGST equals SGST, and RoundOff is at most one unit either way.
type Split struct {
	Taxable, CGST, SGST, IGST, RoundOff int64
}

// Total is what the customer pays.
func (s Split) Total() int64 { return s.Taxable + s.CGST + s.SGST + s.IGST + s.RoundOff }

// Rate gives the rate of a tax category of the catalogue in basis points.
func Rate(category string) int64 {
	if category == "standard_18" {
		return StandardRate
	}
	return 0 // exempt_health, zero_export
}

// Inclusive takes apart a total that holds the tax. rate is in basis points;
// interState means that the customer is in another state than the supplier.
func Inclusive(total, rate int64, interState bool) Split {
	s := taxed(divide(total*whole, whole+rate), rate, interState)
	// Taxable value and each tax are rounded by themselves, as the return asks;
	// what that leaves over is shown, not hidden in one of them.
	s.RoundOff = total - s.Total()
	return s
}

// Exclusive adds the tax to a base.
func Exclusive(base, rate int64, interState bool) Split { return taxed(base, rate, interState) }

func taxed(taxable, rate int64, interState bool) Split {
	if interState {
		return Split{Taxable: taxable, IGST: divide(taxable*rate, whole)}
	}
	half := divide(taxable*rate, 2*whole)
	return Split{Taxable: taxable, CGST: half, SGST: half}
}

// divide rounds half up. a is never negative here.
func divide(a, b int64) int64 { return (a + b/2) / b }
