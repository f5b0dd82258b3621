package document

import (
	"bytes"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// harfbuzz is what HarfBuzz itself (hb-shape 6.0, the font of this package)
// makes of the Hindi words that a document says, and of hard conjuncts:
//
//	hb-shape --no-glyph-names --no-clusters --script=deva --language=hi --direction=ltr FONT WORD
//
//go:embed testdata/harfbuzz.txt
var harfbuzz string

func testSetter(tb testing.TB) *setter {
	tb.Helper()
	types, err := faces()
	if err != nil {
		tb.Fatal(err)
	}
	return newSetter(types)
}

func TestHindiIsShapedAsHarfBuzzDoes(t *testing.T) {
	s := testSetter(t)
	for row := range strings.Lines(harfbuzz) {
		word, want, _ := strings.Cut(strings.TrimSuffix(row, "\n"), "\t")
		var glyphs []string
		for _, p := range s.word(word, regular) {
			for _, g := range p.glyphs {
				text := strconv.Itoa(int(g.id))
				if g.dx != 0 || g.dy != 0 {
					text += fmt.Sprintf("@%d,%d", g.dx, g.dy)
				}
				glyphs = append(glyphs, fmt.Sprintf("%s+%d", text, g.advance))
			}
		}
		if got := "[" + strings.Join(glyphs, "|") + "]"; got != want {
			t.Errorf("%s: glyphs %s, HarfBuzz has %s", word, got, want)
		}
	}
}

// Whatever a document says of itself has a glyph in the fonts.
func TestFontsHoldTheTexts(t *testing.T) {
	s := testSetter(t)
	for _, tx := range []*texts{english(), hindi()} {
		m := modelOf(yearly(), tx)
		said := fmt.Sprint(m, tx.titles, tx.numbers, tx.states, tx.speech.small, tx.months, states, tx.export, tx.exempt, tx.note)
		for _, w := range []weight{regular, bold} {
			for _, word := range strings.Fields(said) {
				for _, p := range s.word(word, w) {
					for _, g := range p.glyphs {
						if g.id == 0 {
							t.Errorf("%s: %q of %q has no glyph", s.types[p.face].name, p.text, word)
						}
					}
				}
			}
		}
	}
}

func TestSubsetIsAFont(t *testing.T) {
	types, err := faces()
	if err != nil {
		t.Fatal(err)
	}
	for _, face := range types {
		used := make([]bool, len(face.advances))
		for g := range used {
			used[g] = g%3 == 0
		}
		cut := &typeface{name: face.name}
		err := cut.read(face.subset(used))
		if err != nil {
			t.Fatalf("%s: %v", face.name, err)
		}
		for g, ok := range used {
			if ok && !bytes.HasPrefix(cut.outline(g), face.outline(g)) {
				t.Errorf("%s: glyph %d is not as it was", face.name, g)
			}
		}
	}
}

func (t *typeface) outline(g int) []byte { return t.tables["glyf"][t.loca[g]:t.loca[g+1]] }

func TestWrap(t *testing.T) {
	s := testSetter(t)
	for _, tt := range []struct {
		name, text string
		room       int
		want       []string
	}{
		{"nothing", "", 5000, []string{""}},
		{"one line", "two words", 5000, []string{"two words"}},
		{"at spaces", "one two three four", 5000, []string{"one two", "three four"}},
		{"a long word", "mmmmmmmmmm", 4000, []string{"mmmm", "mmmm", "mm"}},
		{"never inside a conjunct", "क्षक्षक्षक्ष", 1500, []string{"क्षक्ष", "क्षक्ष"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, s.wrap(tt.text, regular, tt.room)); diff != "" {
				t.Errorf("wrap(%q, %d) (-want +got):\n%s", tt.text, tt.room, diff)
			}
		})
	}
}

// Nothing is lost in wrapping, and no line is wider than there is room, but
// for a cluster that is wider by itself.
func TestWrapKeepsEveryCharacter(t *testing.T) {
	s := testSetter(t)
	alphabet := []rune("aWi. ₹9é क्षि्रं़ािर्ॉ\u200dء한")
	rapid.Check(t, func(t *rapid.T) {
		text := clean(rapid.StringOf(rapid.SampledFrom(alphabet)).Draw(t, "text"), 200)
		room := rapid.IntRange(300, 9000).Draw(t, "room")
		lines := s.wrap(text, regular, room)
		if got, want := squeeze(strings.Join(lines, "")), squeeze(text); got != want {
			t.Fatalf("wrap(%q) has %q", text, got)
		}
		for _, l := range lines {
			if got := s.measure(l, regular); got > room && len(clusters(l)) > 1 {
				t.Fatalf("wrap(%q, %d): line %q is %d wide", text, room, l, got)
			}
		}
	})
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }
