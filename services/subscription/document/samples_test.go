package document

import (
	"fmt"
	"strings"
	"time"
)

var issued = time.Date(2026, 11, 23, 14, 14, 5, 0, time.UTC)

func home() Party {
	return Party{
		Name:    "Manas360 Mental Wellness Private Limited",
		Address: []string{"4th Floor, Prestige Atlanta, 80 Feet Road", "Koramangala, Bengaluru 560034"},
		GSTIN:   "29AAFCM1234K1Z5", StateCode: "29",
	}
}

// monthly is ₹299 to a customer of the supplier's state.
func monthly() Document {
	return Document{
		Kind: TaxInvoice, Number: "INV/26-27/000123", IssuedAt: issued, State: "PAID", FinancialYear: "2026-27",
		Supplier:      home(),
		Customer:      Party{Name: "Asha Kulkarni", Email: "asha.kulkarni@example.in", Address: []string{"12, 3rd Cross, Jayanagar", "Bengaluru 560011"}, StateCode: "29"},
		PlaceOfSupply: "29",
		Lines: []Line{{
			Description: "Manas360 Plus (one month)", SAC: "999319", Quantity: 1,
			TaxableMinor: 25339, RateBP: 1800, TaxMinor: 4562, AmountMinor: 29901,
		}},
		TaxableMinor: 25339, CGST: Tax{900, 2281}, SGST: Tax{900, 2281}, RoundOffMinor: -1, TotalMinor: 29900,
		PaymentReference: "pay_0199f3a2c7d17b5e", SHA256: strings.Repeat("9f86d081884c7d65", 4),
	}
}

// yearly is ₹9,999 to a company of another state.
func yearly() Document {
	d := monthly()
	d.Number = "INV/26-27/000124"
	d.Customer = Party{
		Name: "Sahyadri Hospitality LLP", Email: "accounts@sahyadri.example",
		Address: []string{"Office 402, Amar Business Park", "Baner Road, Pune 411045"}, GSTIN: "27ABCFS9876L1ZQ", StateCode: "27",
	}
	d.PlaceOfSupply = "27"
	d.Lines = []Line{{
		Description: "Manas360 for Teams (one year), with sessions by licensed therapists and a quarterly report on well-being for the people team",
		SAC:         "999319", Quantity: 1, TaxableMinor: 847373, RateBP: 1800, TaxMinor: 152527, AmountMinor: 999900,
	}}
	d.TaxableMinor, d.CGST, d.SGST, d.IGST, d.RoundOffMinor, d.TotalMinor = 847373, Tax{}, Tax{}, Tax{1800, 152527}, 0, 999900
	return d
}

func abroad() Document {
	d := monthly()
	d.Number = "EXP/26-27/000007"
	d.Customer = Party{Name: "Léa Fournier", Email: "lea@example.fr", Address: []string{"8 rue des Écoles", "75005 Paris"}, Country: "France"}
	d.PlaceOfSupply, d.Export = "96", true
	d.Lines = []Line{{Description: "Manas360 Plus (one year)", SAC: "999319", TaxableMinor: 12345678, AmountMinor: 12345678}}
	d.TaxableMinor, d.CGST, d.SGST, d.RoundOffMinor, d.TotalMinor = 12345678, Tax{}, Tax{}, 0, 12345678
	return d
}

func exempt() Document {
	d := monthly()
	d.Kind, d.Number = BillOfSupply, "BOS/26-27/000042"
	d.Customer = Party{Name: "राजेश्वरी श्रीवास्तव", ID: "0199f3a2-c7d1-7b5e-8d3f-2f5f1c9a7e10", StateCode: "29"}
	d.Lines = []Line{{Description: "Session with a clinical psychologist, 50 minutes", SAC: "999312", Quantity: 1, TaxableMinor: 150000, AmountMinor: 150000}}
	d.TaxableMinor, d.CGST, d.SGST, d.RoundOffMinor, d.TotalMinor = 150000, Tax{}, Tax{}, 0, 150000
	return d
}

func credit() Document {
	d := monthly()
	d.Kind, d.Number, d.State = CreditNote, "CRN/26-27/000003", "ISSUED"
	d.Original = &Original{"INV/26-27/000123", issued.AddDate(0, 0, -9)}
	d.Reason = "Service withdrawn by the customer within the cooling-off period"
	return d
}

// long has n lines, some of many words.
func long(n int) Document {
	d := yearly()
	d.Lines, d.TaxableMinor, d.IGST, d.TotalMinor = nil, 0, Tax{1800, 0}, 0
	for i := range n {
		l := Line{Description: fmt.Sprintf("Session %d with a counselling psychologist", i+1), SAC: "999312", Quantity: int64(i%3 + 1), TaxableMinor: 100000, RateBP: 1800, TaxMinor: 18000, AmountMinor: 118000}
		if i%7 == 3 {
			l.Description += ", by video, for the employee and a member of the family, in the language they asked for, with notes kept for the statutory time"
		}
		if i%5 == 4 {
			l.Description = "मनोवैज्ञानिक परामर्श सत्र, क्लिनिकल पर्यवेक्षण सहित"
		}
		d.Lines = append(d.Lines, l)
		d.TaxableMinor += l.TaxableMinor
		d.IGST.Minor += l.TaxMinor
		d.TotalMinor += l.AmountMinor
	}
	return d
}

// samples are drawn by every test that looks at whole documents.
func samples() []struct {
	name string
	doc  Document
} {
	return []struct {
		name string
		doc  Document
	}{
		{"monthly", monthly()},
		{"yearly", yearly()},
		{"export", abroad()},
		{"exempt", exempt()},
		{"credit", credit()},
		{"long", long(60)},
	}
}
