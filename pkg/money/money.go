// Package money is amounts in minor units of a currency: paise, cents, yen.
// Integers only; whatever does not fit is an error, never a wrapped number.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// BasisPoints is the whole of a rate: 18 % is 1,800 of them.
const BasisPoints = 10_000

// What arithmetic fails with.
var (
	ErrOverflow = errors.New("amount does not fit")
	ErrCurrency = errors.New("currencies differ")
	ErrWeights  = errors.New("weights are not above nothing")
)

// exponents are the minor digits of the currencies whose number is not two
// (ISO 4217).
var exponents = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
	"UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// Exponent is the number of minor digits of a currency: 2 for INR.
func Exponent(currency string) int {
	if e, ok := exponents[currency]; ok {
		return e
	}
	return 2
}

// Money is an amount. The zero Money is nothing of no currency.
type Money struct {
	Minor    int64
	Currency string // ISO 4217, upper case
}

// Of makes an amount of minor units.
func Of(minor int64, currency string) Money { return Money{Minor: minor, Currency: currency} }

// INR is an amount in paise.
func INR(paise int64) Money { return Of(paise, "INR") }

// Add fails with ErrCurrency or ErrOverflow.
func (m Money) Add(o Money) (Money, error) {
	if m.Currency != o.Currency {
		return Money{}, fmt.Errorf("add %s to %s: %w", o, m, ErrCurrency)
	}
	sum := m.Minor + o.Minor
	if (m.Minor^sum)&(o.Minor^sum) < 0 { // both signs differ from the sum's
		return Money{}, fmt.Errorf("add %s to %s: %w", o, m, ErrOverflow)
	}
	return Of(sum, m.Currency), nil
}

// Neg fails with ErrOverflow for the one amount that has no opposite.
func (m Money) Neg() (Money, error) {
	if m.Minor == math.MinInt64 {
		return Money{}, fmt.Errorf("negate %s: %w", m, ErrOverflow)
	}
	return Of(-m.Minor, m.Currency), nil
}

// Sub fails with ErrCurrency or ErrOverflow.
func (m Money) Sub(o Money) (Money, error) {
	if m.Currency != o.Currency {
		return Money{}, fmt.Errorf("take %s from %s: %w", o, m, ErrCurrency)
	}
	diff := m.Minor - o.Minor
	if (m.Minor^o.Minor)&(m.Minor^diff) < 0 {
		return Money{}, fmt.Errorf("take %s from %s: %w", o, m, ErrOverflow)
	}
	return Of(diff, m.Currency), nil
}

// Sum adds amounts of one currency; nothing of currency when there are none.
func Sum(currency string, all ...Money) (Money, error) {
	total := Of(0, currency)
	for _, m := range all {
		var err error
		if total, err = total.Add(m); err != nil {
			return Money{}, err
		}
	}
	return total, nil
}

// Fraction is the amount times num/den, rounded half away from nothing, as tax
// is. Fails with ErrOverflow, and with ErrWeights unless den > 0 and num ≥ 0.
func (m Money) Fraction(num, den int64) (Money, error) {
	if den <= 0 || num < 0 {
		return Money{}, fmt.Errorf("%d/%d of %s: %w", num, den, m, ErrWeights)
	}
	q, r, ok := mulDiv(m.Minor, num, den)
	if !ok {
		return Money{}, fmt.Errorf("%d/%d of %s: %w", num, den, m, ErrOverflow)
	}
	if r >= uint64(den)-r { // twice the rest is the whole or more
		if q == math.MaxInt64 {
			return Money{}, fmt.Errorf("%d/%d of %s: %w", num, den, m, ErrOverflow)
		}
		q++
	}
	if m.Minor < 0 {
		q = -q
	}
	return Of(q, m.Currency), nil
}

// mulDiv is |a|·num/den by 128 bits, with the rest.
func mulDiv(a, num, den int64) (q int64, rest uint64, ok bool) {
	hi, lo := bits.Mul64(magnitude(a), uint64(num)) //nolint:gosec // num ≥ 0
	if hi >= uint64(den) {                          //nolint:gosec // den > 0
		return 0, 0, false
	}
	quo, rest := bits.Div64(hi, lo, uint64(den)) //nolint:gosec // den > 0
	if quo > math.MaxInt64 {
		return 0, 0, false
	}
	return int64(quo), rest, true
}

// magnitude holds the one amount that has no opposite, too.
func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a) //nolint:gosec // two's complement: what is meant
	}
	return uint64(a)
}

// Allocate takes an amount apart by weights so that the parts add up to it: each
// gets its share rounded towards nothing, and what is left goes one unit each to
// the largest rests, the earlier first. Fails with ErrWeights when a weight is
// below nothing or all are nothing, with ErrOverflow when they do not add up.
func (m Money) Allocate(weights ...int64) ([]Money, error) {
	var whole int64
	for _, w := range weights {
		if w < 0 {
			return nil, fmt.Errorf("allocate %s by %v: %w", m, weights, ErrWeights)
		}
		if whole > math.MaxInt64-w {
			return nil, fmt.Errorf("allocate %s by %v: %w", m, weights, ErrOverflow)
		}
		whole += w
	}
	if whole == 0 {
		return nil, fmt.Errorf("allocate %s by %v: %w", m, weights, ErrWeights)
	}
	parts := make([]Money, len(weights))
	rests := make([]uint64, len(weights))
	left := magnitude(m.Minor)
	for i, w := range weights {
		q, rest, ok := mulDiv(m.Minor, w, whole)
		if !ok { // all of the one amount that has no opposite
			return nil, fmt.Errorf("allocate %s by %v: %w", m, weights, ErrOverflow)
		}
		left -= uint64(q) //nolint:gosec // q ≥ 0
		parts[i], rests[i] = Of(q, m.Currency), rest
	}
	for ; left > 0; left-- {
		largest := 0
		for i, rest := range rests {
			if rest > rests[largest] {
				largest = i
			}
		}
		parts[largest].Minor++
		rests[largest] = 0
	}
	if m.Minor < 0 {
		for i := range parts {
			parts[i].Minor = -parts[i].Minor
		}
	}
	return parts, nil
}

// String prints the amount with its minor digits: "INR 299.00".
func (m Money) String() string {
	exp := Exponent(m.Currency)
	digits := strconv.FormatUint(magnitude(m.Minor), 10)
	if short := exp + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	if exp > 0 {
		digits = digits[:len(digits)-exp] + "." + digits[len(digits)-exp:]
	}
	if m.Minor < 0 {
		digits = "-" + digits
	}
	return strings.TrimSpace(m.Currency + " " + digits)
}
