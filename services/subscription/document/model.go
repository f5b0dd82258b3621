package document

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// model is a document as words, before any of it has a place on a page. What
// it says is tested here; how it looks is the printer's.
type model struct {
	lang     string
	title    string
	subtitle string // the title in English, on a paper in Hindi
	state    string
	number   string
	supplier block
	customer block
	facts    []fact
	columns  []column
	rows     [][]string
	totals   []fact // the last is the total
	words    fact
	notes    []string
	small    []string
	pageOf   string
	more     string // continued
}

type block struct {
	title string
	lines []string // the first is the name
}

type fact struct{ label, value string }

// column is a column of the table; its width is a share of 515.
type column struct {
	title string
	width int
	right bool
}

func modelOf(d Document, t *texts) model {
	m := model{
		lang: t.lang, title: t.titles.of(d.Kind), number: clean(d.Number, 40), state: clean(d.State, 40),
		supplier: block{t.supplier, d.Supplier.lines(t)},
		customer: block{t.customer, d.Customer.lines(t)},
		words:    fact{t.inWords, t.speech.words(d.TotalMinor)},
		small:    []string{t.signature},
		pageOf:   t.pageOf, more: t.continued,
	}
	if t.column > 0 {
		m.subtitle = english().titles.of(d.Kind)
	}
	if word, ok := t.states[d.State]; ok {
		m.state = word
	}
	if d.Kind == CreditNote {
		m.customer.title = t.to
	}
	m.facts = d.facts(t)
	m.columns, m.rows = d.table(t)
	m.totals = d.totals(t)
	if d.Export {
		m.notes = append(m.notes, t.export)
	}
	switch d.Kind {
	case BillOfSupply:
		m.notes = append(m.notes, t.exempt)
	case CreditNote:
		m.notes = append(m.notes, t.note)
	case TaxInvoice:
	}
	if d.SHA256 != "" {
		m.small = append(m.small, t.digest+": "+clean(d.SHA256, 64))
	}
	return m
}

func (p Party) lines(t *texts) []string {
	lines := []string{clean(p.Name, 200)}
	for _, l := range p.Address[:min(len(p.Address), 8)] {
		lines = append(lines, clean(l, 120))
	}
	lines = append(lines, clean(p.Country, 60))
	for _, f := range []fact{{t.gstin, clean(p.GSTIN, 20)}, {t.state, t.place(clean(p.StateCode, 10))}} {
		if f.value != "" {
			lines = append(lines, f.label+": "+f.value)
		}
	}
	if p.Email != "" {
		lines = append(lines, t.email+": "+clean(p.Email, 200))
	} else if p.ID != "" {
		lines = append(lines, t.id+": "+clean(p.ID, 80))
	}
	kept := lines[:0]
	for _, l := range lines {
		if l != "" {
			kept = append(kept, l)
		}
	}
	return kept
}

func (d Document) facts(t *texts) []fact {
	number, reverse := t.numbers.of(d.Kind), t.no
	if d.ReverseCharge {
		reverse = t.yes
	}
	all := []fact{
		{number, clean(d.Number, 40)},
		{t.date, t.moment(d.IssuedAt)},
		{t.year, clean(d.FinancialYear, 20)},
	}
	if d.Original != nil {
		all = append(all, fact{t.original, clean(d.Original.Number, 40)}, fact{t.originalDate, t.day(d.Original.IssuedAt)})
	}
	all = append(all,
		fact{t.reason, clean(d.Reason, 200)},
		fact{t.placeOfSupply, t.place(clean(d.PlaceOfSupply, 10))},
		fact{t.reverseCharge, reverse},
		fact{t.payment, clean(d.PaymentReference, 120)},
	)
	kept := all[:0]
	for _, f := range all {
		if f.value != "" {
			kept = append(kept, f)
		}
	}
	return kept
}

// taxed tells whether the paper speaks of tax at all. A bill of supply does
// not (rule 49), nor does the credit note of one.
func (d Document) taxed() bool {
	tax := d.CGST != Tax{} || d.SGST != Tax{} || d.IGST != Tax{}
	return d.Kind == TaxInvoice || d.Export || tax
}

// table has its columns of tax only on a paper that speaks of it.
func (d Document) table(t *texts) ([]column, [][]string) {
	columns := []column{
		{t.serial, 24, false},
		{t.description, 157, false},
		{t.sac, 46, false},
		{t.quantity, 34, true},
		{t.taxable, 80, true},
		{t.rate, 36, true},
		{t.tax, 64, true},
		{t.amount, 74, true},
	}
	if !d.taxed() {
		columns = []column{{t.serial, 24, false}, {t.description, 287, false}, {t.sac, 60, false}, {t.quantity, 50, true}, {t.value, 94, true}}
	}
	rows := make([][]string, 0, len(d.Lines))
	for i, l := range d.Lines {
		row := []string{
			strconv.Itoa(i + 1), clean(l.Description, 500), clean(l.SAC, 12), strconv.FormatInt(max(l.Quantity, 1), 10),
			rupees(l.TaxableMinor), percent(l.RateBP), rupees(l.TaxMinor), rupees(l.AmountMinor),
		}
		if !d.taxed() {
			row = append(row[:4], rupees(l.AmountMinor))
		}
		rows = append(rows, row)
	}
	return columns, rows
}

func (d Document) totals(t *texts) []fact {
	var all []fact
	if !d.taxed() {
		all = append(all, fact{t.value, rupees(d.TaxableMinor)})
	} else {
		all = append(all, fact{t.taxable, rupees(d.TaxableMinor)})
	}
	for _, tax := range []struct {
		name string
		Tax
	}{{t.cgst, d.CGST}, {t.sgst, d.SGST}, {t.igst, d.IGST}} {
		if tax.Tax == (Tax{}) {
			continue
		}
		label := tax.name
		if tax.RateBP != 0 {
			label += " @ " + percent(tax.RateBP)
		}
		all = append(all, fact{label, rupees(tax.Minor)})
	}
	if d.Export {
		all = append(all, fact{t.igst + " @ 0%", rupees(0)})
	}
	if d.RoundOffMinor != 0 {
		all = append(all, fact{t.roundOff, rupees(d.RoundOffMinor)})
	}
	total := t.total
	if d.Kind == CreditNote {
		total = t.returned
	}
	return append(all, fact{total, rupees(d.TotalMinor)})
}

// clean makes one line of at most limit runes. Controls and marks of direction
// go: a name must not turn the text around it.
func clean(s string, limit int) string {
	// A byte past any limit cannot show; what comes in huge is cut before it is read.
	if len(s) > 8*limit {
		s = s[:8*limit]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Cc, r):
			return ' '
		case r == '\u200c', r == '\u200d': // joiners, which conjuncts need
			return r
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Cs, r):
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Join(strings.Fields(s), " ")
	runes := []rune(s)
	if len(runes) > limit {
		return strings.TrimRight(string(runes[:limit-1]), " ") + "…"
	}
	return s
}

func (m model) page(n, of int) string { return fmt.Sprintf(m.pageOf, n, of) }
