package document

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModelOfAnInvoice(t *testing.T) {
	want := model{
		lang: "en-IN", title: "TAX INVOICE", state: "PAID", number: "INV/26-27/000123",
		supplier: block{"Supplier", []string{
			"Manas360 Mental Wellness Private Limited", "4th Floor, Prestige Atlanta, 80 Feet Road",
			"Koramangala, Bengaluru 560034", "GSTIN: 29AAFCM1234K1Z5", "State: 29 – Karnataka",
		}},
		customer: block{"Billed to", []string{
			"Asha Kulkarni", "12, 3rd Cross, Jayanagar", "Bengaluru 560011", "State: 29 – Karnataka", "E-mail: asha.kulkarni@example.in",
		}},
		facts: []fact{
			{"Invoice number", "INV/26-27/000123"},
			{"Date of issue", "23 November 2026, 19:44 IST"},
			{"Financial year", "2026-27"},
			{"Place of supply", "29 – Karnataka"},
			{"Reverse charge", "No"},
			{"Payment reference", "pay_0199f3a2c7d17b5e"},
		},
		rows: [][]string{{"1", "Manas360 Plus (one month)", "999319", "1", "₹253.39", "18%", "₹45.62", "₹299.01"}},
		totals: []fact{
			{"Taxable value", "₹253.39"},
			{"CGST @ 9%", "₹22.81"},
			{"SGST @ 9%", "₹22.81"},
			{"Round-off", "-₹0.01"},
			{"Total", "₹299.00"},
		},
		words: fact{"Amount in words", "Rupees Two Hundred Ninety-Nine Only"},
		small: []string{
			"Computer-generated under the Information Technology Act, 2000; no signature is required. Amounts in Indian rupees.",
			"SHA-256 of the record: " + strings.Repeat("9f86d081884c7d65", 4),
		},
		pageOf: "Page %d of %d", more: "continued",
	}
	compare(t, modelOf(monthly(), english()), want, "# | Description of service | SAC | Qty | Taxable value | Rate | Tax | Amount")
}

func TestModelOfACreditNoteInHindi(t *testing.T) {
	want := model{
		lang: "hi-IN", title: "क्रेडिट नोट", subtitle: "CREDIT NOTE", state: "जारी", number: "CRN/26-27/000003",
		supplier: block{"आपूर्तिकर्ता", []string{
			"Manas360 Mental Wellness Private Limited", "4th Floor, Prestige Atlanta, 80 Feet Road",
			"Koramangala, Bengaluru 560034", "GSTIN: 29AAFCM1234K1Z5", "राज्य: 29 – कर्नाटक",
		}},
		customer: block{"ग्राहक", []string{
			"Asha Kulkarni", "12, 3rd Cross, Jayanagar", "Bengaluru 560011", "राज्य: 29 – कर्नाटक", "ई-मेल: asha.kulkarni@example.in",
		}},
		facts: []fact{
			{"क्रेडिट नोट संख्या", "CRN/26-27/000003"},
			{"जारी करने की तिथि", "23 नवंबर 2026, 19:44 IST"},
			{"वित्तीय वर्ष", "2026-27"},
			{"मूल बीजक", "INV/26-27/000123"},
			{"दिनांक", "14 नवंबर 2026"},
			{"कारण", "Service withdrawn by the customer within the cooling-off period"},
			{"आपूर्ति का स्थान", "29 – कर्नाटक"},
			{"रिवर्स चार्ज", "नहीं"},
			{"भुगतान संदर्भ", "pay_0199f3a2c7d17b5e"},
		},
		rows: [][]string{{"1", "Manas360 Plus (one month)", "999319", "1", "₹253.39", "18%", "₹45.62", "₹299.01"}},
		totals: []fact{
			{"कर योग्य मूल्य", "₹253.39"},
			{"केंद्रीय कर (CGST) @ 9%", "₹22.81"},
			{"राज्य कर (SGST) @ 9%", "₹22.81"},
			{"पूर्णांकन", "-₹0.01"},
			{"कुल वापसी", "₹299.00"},
		},
		words: fact{"राशि शब्दों में", "दो सौ निन्यानवे रुपये मात्र"},
		notes: []string{"CGST अधिनियम, 2017 की धारा 34 के अंतर्गत क्रेडिट नोट।"},
		small: []string{
			"सूचना प्रौद्योगिकी अधिनियम, 2000 के अधीन कंप्यूटर द्वारा निर्मित; हस्ताक्षर आवश्यक नहीं। सभी राशियाँ भारतीय रुपये में हैं।",
			"अभिलेख का SHA-256: " + strings.Repeat("9f86d081884c7d65", 4),
		},
		pageOf: "पृष्ठ %d / %d", more: "आगे जारी",
	}
	compare(t, modelOf(credit(), hindi()), want, "क्र. | सेवा का विवरण | SAC | मात्रा | कर योग्य मूल्य | दर | कर | राशि")
}

func compare(t *testing.T, got, want model, columns string) {
	t.Helper()
	var titles []string
	for _, c := range got.columns {
		titles = append(titles, c.title)
	}
	if diff := cmp.Diff(columns, strings.Join(titles, " | ")); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	got.columns = nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(model{}, block{}, fact{})); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
}

// What each kind must say, and what it must not.
func TestKindsSayWhatTheLawAsks(t *testing.T) {
	for _, tt := range []struct {
		name    string
		doc     Document
		totals  string
		columns int
		note    string
	}{
		{"at home: rule 46", monthly(), "Taxable value, CGST @ 9%, SGST @ 9%, Round-off, Total", 8, ""},
		{"another state", yearly(), "Taxable value, IGST @ 18%, Total", 8, ""},
		{"abroad: zero rated", abroad(), "Taxable value, IGST @ 0%, Total", 8, "Supply meant for export"},
		{"exempt: rule 49, no word of tax", exempt(), "Value, Total", 5, "Exempt supply"},
		{"credit: section 34", credit(), "Taxable value, CGST @ 9%, SGST @ 9%, Round-off, Total credited", 8, "Credit note under section 34"},
		{"credit of an exempt bill", creditOfExempt(), "Value, Total credited", 5, "Credit note under section 34"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := modelOf(tt.doc, english())
			var labels []string
			for _, f := range m.totals {
				labels = append(labels, f.label)
			}
			if got := strings.Join(labels, ", "); got != tt.totals {
				t.Errorf("totals %q, want %q", got, tt.totals)
			}
			if len(m.columns) != tt.columns || len(m.rows[0]) != tt.columns {
				t.Errorf("%d columns of %d, want %d", len(m.rows[0]), len(m.columns), tt.columns)
			}
			if got := strings.Join(m.notes, " "); !strings.HasPrefix(got, tt.note) || tt.note == "" && got != "" {
				t.Errorf("notes %q, want %q", got, tt.note)
			}
			sum := 0
			for _, c := range m.columns {
				sum += c.width
			}
			if sum != 515 {
				t.Errorf("columns are %d wide together", sum)
			}
		})
	}
}

func creditOfExempt() Document {
	d := exempt()
	d.Kind = CreditNote
	return d
}

func TestClean(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "Asha Kulkarni", "Asha Kulkarni"},
		{"lines and tabs", " a\r\n\tb\x00c ", "a b c"},
		{"a turned name", "gpj.\u202eexe\u202c", "gpj.exe"},
		{"marks of isolation", "\u2067x\u2069\ufeff", "x"},
		{"joiners stay", "क्\u200dष", "क्\u200dष"},
		{"broken bytes", "a\xff\xfeb", "a\uFFFDb"},
		{"long", strings.Repeat("x", 50), strings.Repeat("x", 19) + "…"},
		{"just as long", strings.Repeat("ह", 20), strings.Repeat("ह", 20)},
		{"cut within a character", strings.Repeat("é", 500), strings.Repeat("é", 19) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := clean(tt.in, 20); got != tt.want {
				t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}
