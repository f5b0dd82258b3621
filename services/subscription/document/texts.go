package document

import (
	"fmt"
	"time"
)

// texts is everything a document says in one language.
type texts struct {
	lang   string
	column int // in states
	speech *speech
	months [12]string

	titles  perKind
	numbers perKind
	states  map[string]string // of the document

	supplier, customer, to               string
	date, year                           string
	placeOfSupply, reverseCharge         string
	payment, original, originalDate      string
	reason, gstin, state, email, id      string
	yes, no                              string
	serial, description, sac, quantity   string
	value, taxable, rate, tax, amount    string
	cgst, sgst, igst, roundOff, total    string
	returned, inWords, continued, pageOf string
	export, exempt, note, signature      string
	digest                               string
}

// perKind is what is said otherwise on each kind of paper.
type perKind struct{ invoice, bill, note string }

func (p perKind) of(k Kind) string {
	switch k {
	case BillOfSupply:
		return p.bill
	case CreditNote:
		return p.note
	default:
		return p.invoice
	}
}

func textsOf(lang string) *texts {
	if lang == "hi" {
		return hindi()
	}
	return english()
}

// kolkata needs no zone files: India has had no other offset since 1945.
var kolkata = time.FixedZone("IST", 5*60*60+30*60)

// day writes 23 November 2026.
func (t *texts) day(at time.Time) string {
	at = at.In(kolkata)
	return fmt.Sprintf("%d %s %d", at.Day(), t.months[at.Month()-1], at.Year())
}

// moment writes the day and the time.
func (t *texts) moment(at time.Time) string {
	return t.day(at) + ", " + at.In(kolkata).Format("15:04") + " IST"
}

func english() *texts {
	return &texts{
		lang: "en-IN", column: 0, speech: englishSpeech(),
		months: [12]string{
			"January", "February", "March", "April", "May", "June",
			"July", "August", "September", "October", "November", "December",
		},
		titles:  perKind{"TAX INVOICE", "BILL OF SUPPLY", "CREDIT NOTE"},
		numbers: perKind{"Invoice number", "Bill number", "Credit note number"},
		states: map[string]string{
			"ISSUED": "ISSUED", "OPEN": "DUE", "PAID": "PAID", "VOID": "VOID",
			"CANCELLED": "CANCELLED", "REFUNDED": "REFUNDED", "DRAFT": "DRAFT",
		},
		supplier: "Supplier", customer: "Billed to", to: "Credited to",
		date: "Date of issue", year: "Financial year",
		placeOfSupply: "Place of supply", reverseCharge: "Reverse charge",
		payment: "Payment reference", original: "Original invoice", originalDate: "Dated",
		reason: "Reason", gstin: "GSTIN", state: "State", email: "E-mail", id: "Customer ID", yes: "Yes", no: "No",
		serial: "#", description: "Description of service", sac: "SAC", quantity: "Qty",
		value: "Value", taxable: "Taxable value", rate: "Rate", tax: "Tax", amount: "Amount",
		cgst: "CGST", sgst: "SGST", igst: "IGST", roundOff: "Round-off", total: "Total", returned: "Total credited",
		inWords: "Amount in words", continued: "continued", pageOf: "Page %d of %d",
		export: "Supply meant for export under bond or letter of undertaking without payment of integrated tax; zero rated (section 16 of the IGST Act, 2017).",
		exempt: "Exempt supply: no tax is charged (section 31(3)(c) of the CGST Act, 2017).",
		note:   "Credit note under section 34 of the CGST Act, 2017.",
		signature: "Computer-generated under the Information Technology Act, 2000; no signature is required. " +
			"Amounts in Indian rupees.",
		digest: "SHA-256 of the record",
	}
}

func hindi() *texts {
	return &texts{
		lang: "hi-IN", column: 1, speech: hindiSpeech(),
		months: [12]string{
			"जनवरी", "फ़रवरी", "मार्च", "अप्रैल", "मई", "जून",
			"जुलाई", "अगस्त", "सितंबर", "अक्तूबर", "नवंबर", "दिसंबर",
		},
		titles:  perKind{"कर बीजक", "आपूर्ति बिल", "क्रेडिट नोट"},
		numbers: perKind{"बीजक संख्या", "बिल संख्या", "क्रेडिट नोट संख्या"},
		states: map[string]string{
			"ISSUED": "जारी", "OPEN": "देय", "PAID": "भुगतान प्राप्त", "VOID": "अमान्य",
			"CANCELLED": "रद्द", "REFUNDED": "राशि वापस", "DRAFT": "प्रारूप",
		},
		supplier: "आपूर्तिकर्ता", customer: "ग्राहक", to: "ग्राहक",
		date: "जारी करने की तिथि", year: "वित्तीय वर्ष",
		placeOfSupply: "आपूर्ति का स्थान", reverseCharge: "रिवर्स चार्ज",
		payment: "भुगतान संदर्भ", original: "मूल बीजक", originalDate: "दिनांक",
		reason: "कारण", gstin: "GSTIN", state: "राज्य", email: "ई-मेल", id: "ग्राहक आईडी", yes: "हाँ", no: "नहीं",
		serial: "क्र.", description: "सेवा का विवरण", sac: "SAC", quantity: "मात्रा",
		value: "मूल्य", taxable: "कर योग्य मूल्य", rate: "दर", tax: "कर", amount: "राशि",
		cgst: "केंद्रीय कर (CGST)", sgst: "राज्य कर (SGST)", igst: "एकीकृत कर (IGST)",
		roundOff: "पूर्णांकन", total: "कुल राशि", returned: "कुल वापसी",
		inWords: "राशि शब्दों में", continued: "आगे जारी", pageOf: "पृष्ठ %d / %d",
		export: "निर्यात के लिए आपूर्ति: बॉन्ड या वचन-पत्र (LUT) के अधीन, एकीकृत कर के भुगतान के बिना; शून्य दर (IGST अधिनियम, 2017 की धारा 16)।",
		exempt: "छूट प्राप्त आपूर्ति: कोई कर नहीं लिया गया (CGST अधिनियम, 2017 की धारा 31(3)(c))।",
		note:   "CGST अधिनियम, 2017 की धारा 34 के अंतर्गत क्रेडिट नोट।",
		signature: "सूचना प्रौद्योगिकी अधिनियम, 2000 के अधीन कंप्यूटर द्वारा निर्मित; हस्ताक्षर आवश्यक नहीं। " +
			"सभी राशियाँ भारतीय रुपये में हैं।",
		digest: "अभिलेख का SHA-256",
	}
}
