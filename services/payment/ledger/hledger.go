package ledger

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/manas360/platform/pkg/money"
)

// Account is a row of the chart.
type Account struct {
	Code string
	Kind string // asset, liability, income or expense
}

// types are hledger's names of the kinds.
var types = map[string]string{"asset": "Asset", "liability": "Liability", "income": "Revenue", "expense": "Expense"}

// AppendAccounts declares the chart and the currency for hledger, so that its
// strict checks know both.
func AppendAccounts(b []byte, accounts []Account) []byte {
	b = append(b, "commodity 1000.00 INR\n\n"...)
	for _, a := range accounts {
		b = append(append(b, "account "...), accountName(a.Code)...)
		b = append(append(append(b, "  ; type: "...), types[a.Kind]...), '\n')
	}
	return append(b, '\n')
}

// accountName is one level of hledger's names: a parent would have to be declared too.
func accountName(code string) string { return strings.ReplaceAll(code, ":", "_") }

// AppendEntry writes a sealed journal for hledger.
func AppendEntry(b []byte, e Entry, seq int64, hash []byte) []byte {
	b = e.PostedAt.UTC().AppendFormat(b, time.DateOnly)
	b = append(append(append(b, " ("...), strconv.FormatInt(seq, 10)...), ") "...)
	b = append(b, clean(e.Ref)...)
	b = append(append(append(b, "  ; id:"...), e.ID.String()...), ", seal:"...)
	b = append(hex.AppendEncode(b, hash), '\n')
	for _, l := range e.Lines {
		b = append(append(b, "    "...), accountName(l.Account)...)
		b = append(append(b, "  "...), amount(l.AmountMinor, l.Currency)...)
		b = append(b, '\n')
	}
	return append(b, '\n')
}

// amount puts the currency after the number: hledger takes a sign before neither.
func amount(minor int64, currency string) string {
	return strings.TrimPrefix(money.Of(minor, currency).String(), currency+" ") + " " + currency
}

// clean keeps what would end a description from doing so.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == ';' || r == '|' {
			return '_'
		}
		return r
	}, s)
}
