package document

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// Whatever people are called and things are named, there is a paper, soon,
// with its text inside the page.
func FuzzWrite(f *testing.F) {
	for _, s := range []string{
		"", "Asha", "\x00\x01\x1b[31m", strings.Repeat("W", 5000), strings.Repeat("क्ष्म्य", 700), strings.Repeat("\u094d", 5000),
		"شركة الصحة النفسية", "\u202eevil\u202c", "ไทย 한국어 தமிழ்", "a\xff\xfe\xfdb", ") Tj ET (", "%%EOF\nendobj", "\\(\\)<>[]",
		strings.Repeat("a\u0300", 2000), "👩‍👩‍👧‍👦", strings.Repeat("‱ ", 400), "e\u200d\u200c\u200d", "\U0010ffff\ue000",
	} {
		f.Add(s, s, s, int64(29900), uint8(1), "hi")
		f.Add("Asha", s, "999319", int64(1), uint8(40), "en")
	}
	f.Fuzz(func(t *testing.T, name, description, code string, minor int64, n uint8, lang string) {
		d := monthly()
		d.Supplier.Name, d.Customer.Name, d.Customer.Email = name, name, description
		d.Customer.Address = []string{description, name, code, description, name, code, description, name, code}
		d.Number, d.State, d.PaymentReference, d.Reason, d.PlaceOfSupply, d.SHA256 = code, code, name, description, code, code
		d.Original = &Original{Number: code, IssuedAt: time.Unix(minor, 0)}
		d.Lines = nil
		for range n {
			d.Lines = append(d.Lines, Line{Description: description, SAC: code, Quantity: minor, TaxableMinor: minor, RateBP: minor, TaxMinor: minor, AmountMinor: minor})
		}
		d.TaxableMinor, d.CGST, d.SGST, d.IGST, d.RoundOffMinor, d.TotalMinor = minor, Tax{}, Tax{}, Tax{}, 0, minor
		var b bytes.Buffer
		start := time.Now()
		err := Write(&b, d, lang)
		if minor < 0 || minor > maxTotal {
			if !errors.Is(err, ErrTotal) {
				t.Fatalf("Write of %d = %v", minor, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		// Hundreds of times what it takes: a bound, not a measure.
		if took := time.Since(start); took > 20*time.Second {
			t.Fatalf("took %s", took)
		}
		if p := readPDF(t, b.Bytes()); len(p.pages) == 0 || len(p.pages) > 300 {
			t.Fatalf("%d pages", len(p.pages))
		}
	})
}
