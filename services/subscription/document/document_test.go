package document

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/sums.txt anew; -pdf DIR writes the papers too")

var pdfDir = flag.String("pdf", "", "directory to write the samples to, for the eye")

func paperOf(tb testing.TB, d Document, lang string) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := Write(&b, d, lang); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// A reader of the PDF finds every word of the model on it, in both languages:
// what is drawn, what is copied and what was meant are the same.
func TestPaperSaysTheModel(t *testing.T) {
	for _, s := range samples() {
		for _, tx := range []*texts{english(), hindi()} {
			t.Run(s.name+"-"+tx.lang, func(t *testing.T) {
				m := modelOf(s.doc, tx)
				paper := readPDF(t, paperOf(t, s.doc, tx.lang[:2]))
				said := " " + strings.Join(strings.Fields(strings.Join(paper.texts, " ")), " ") + " "
				for _, want := range m.everything() {
					for word := range strings.FieldsSeq(want) {
						if !strings.Contains(said, " "+word+" ") {
							t.Errorf("%q of %q is not on the paper", word, want)
						}
					}
				}
				if got, want := len(paper.pages), map[string]int{"long": 4}[s.name]; got != max(want, 1) {
					t.Errorf("%d pages, want %d", got, max(want, 1))
				}
				for i, page := range paper.pages {
					for _, want := range []string{m.number, m.columns[0].title, m.page(i+1, len(paper.pages))} {
						if !strings.Contains(page, want) {
							t.Errorf("page %d does not say %q", i+1, want)
						}
					}
				}
			})
		}
	}
}

func (m model) everything() []string {
	all := []string{m.title, m.subtitle, m.state, m.number, m.supplier.title, m.customer.title}
	all = append(append(all, m.supplier.lines...), m.customer.lines...)
	for _, f := range append(append(m.facts[:len(m.facts):len(m.facts)], m.totals...), m.words) {
		all = append(all, f.label, f.value)
	}
	for _, row := range m.rows {
		all = append(all, row...)
	}
	return append(append(all, m.notes...), m.small...)
}

//go:embed testdata/sums.txt
var sums string

// The hash of a paper is kept with its record, so a change of its bytes must
// be meant: go test ./document -update.
func TestBytesStayAsTheyAre(t *testing.T) {
	var got strings.Builder
	for _, s := range samples() {
		for _, lang := range []string{"en", "hi"} {
			data := paperOf(t, s.doc, lang)
			if again := paperOf(t, s.doc, lang); !bytes.Equal(data, again) {
				t.Errorf("%s in %s differs when it is drawn again", s.name, lang)
			}
			sum := sha256.Sum256(data)
			fmt.Fprintf(&got, "%s %s-%s\n", hex.EncodeToString(sum[:]), s.name, lang)
			if *pdfDir != "" {
				if err := os.WriteFile(filepath.Join(*pdfDir, s.name+"-"+lang+".pdf"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if *update {
		if err := os.WriteFile("testdata/sums.txt", []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(sums, got.String()); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

// Where the process runs and in which zone a time was read changes nothing.
func TestZoneDoesNotMatter(t *testing.T) {
	d := monthly()
	want := paperOf(t, d, "en")
	d.IssuedAt = d.IssuedAt.In(time.FixedZone("", -8*60*60))
	if !bytes.Equal(paperOf(t, d, "en"), want) {
		t.Error("the same moment in another zone gives another paper")
	}
	if !bytes.Equal(paperOf(t, d, "ta"), want) {
		t.Error("a language that is not known does not read as English")
	}
}

func TestDrawnAtOnce(t *testing.T) {
	want := paperOf(t, monthly(), "hi")
	done := make(chan []byte)
	for range 8 {
		go func() {
			var b bytes.Buffer
			_ = Write(&b, monthly(), "hi")
			done <- b.Bytes()
		}()
	}
	for range 8 {
		if !bytes.Equal(<-done, want) {
			t.Error("drawn beside others, the paper differs")
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Document)
		want   error
	}{
		{"a total that is not the sum", func(d *Document) { d.TotalMinor++ }, ErrTotal},
		{"less than nothing", func(d *Document) { d.TaxableMinor -= 40000; d.TotalMinor -= 40000 }, ErrTotal},
		{"a round-off above a rupee", func(d *Document) { d.RoundOffMinor -= 100; d.TaxableMinor += 100 }, ErrTotal},
		{"sums that overflow", func(d *Document) {
			d.TaxableMinor, d.CGST.Minor, d.SGST.Minor, d.IGST.Minor = 1<<62, 1<<62, 1<<62, 1<<62
			d.RoundOffMinor, d.TotalMinor = 0, 0
		}, ErrTotal},
		{"a bill of supply with tax", func(d *Document) { d.Kind = BillOfSupply }, ErrKind},
		{"an export with tax", func(d *Document) { d.Export = true }, ErrKind},
		{"no kind", func(d *Document) { d.Kind = "" }, ErrKind},
		{"too many lines", func(d *Document) { d.Lines = make([]Line, maxLines+1) }, ErrSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := monthly()
			tt.change(&d)
			var b bytes.Buffer
			if err := Write(&b, d, "en"); !errors.Is(err, tt.want) || b.Len() > 0 {
				t.Errorf("Write = %v with %d bytes, want %v and none", err, b.Len(), tt.want)
			}
		})
	}
	errFull := errors.New("full")
	if err := Write(refuser{errFull}, monthly(), "en"); !errors.Is(err, errFull) {
		t.Errorf("Write to a full disk = %v", err)
	}
}

type refuser struct{ err error }

func (r refuser) Write([]byte) (int, error) { return 0, r.err }

func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		name, lang string
		doc        Document
	}{
		{"one line, English", "en", monthly()},
		{"one line, Hindi", "hi", monthly()},
		{"60 lines, Hindi", "hi", long(60)},
		{"1000 lines, English", "en", long(1000)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(io.Discard, bb.doc, bb.lang); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
