package document

import (
	"strings"
	"unicode"

	"github.com/go-text/typesetting/di"
	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
)

// weight is regular or bold; with the script it picks the typeface.
type weight int

const (
	regular weight = 0
	bold    weight = 2
)

// maxCluster is the runes that a line is never broken within; more than a
// script joins is an attack on the width of a column.
const maxCluster = 12

// glyph is a drawn sign, its measures in thousandths of the size.
type glyph struct {
	id              uint16
	advance, dx, dy int
}

// piece is text in one typeface, shaped.
type piece struct {
	face   int
	glyphs []glyph
	text   string
	plain  bool // every glyph says its own character
	width  int
}

type wordKey struct {
	text   string
	weight weight
}

// setter shapes words and remembers them, for one document.
type setter struct {
	types  []*typeface
	faces  []*font.Face
	shaper shaping.HarfbuzzShaper
	words  map[wordKey][]piece
	said   []map[uint16]string // by typeface and glyph: what it says
}

func newSetter(types []*typeface) *setter {
	s := &setter{types: types, words: map[wordKey][]piece{}}
	for _, t := range types {
		s.faces = append(s.faces, font.NewFace(t.font))
		s.said = append(s.said, map[uint16]string{})
	}
	return s
}

// word shapes text that holds no break, each script in its typeface.
func (s *setter) word(text string, w weight) []piece {
	key := wordKey{text, w}
	if pieces, ok := s.words[key]; ok {
		return pieces
	}
	var pieces []piece
	runes := []rune(text)
	for start := 0; start < len(runes); {
		hindi := devanagari(runes[start])
		end := start + 1
		for end < len(runes) && (devanagari(runes[end]) == hindi || joins(runes[end])) {
			end++
		}
		pieces = append(pieces, s.piece(runes[start:end], w, hindi))
		start = end
	}
	s.words[key] = pieces
	return pieces
}

func devanagari(r rune) bool {
	return unicode.Is(unicode.Devanagari, r) || r == '\u0964' || r == '\u0965' || 0x1cd0 <= r && r <= 0x1cff
}

// joins tells signs that belong to the one before them whatever their script.
func joins(r rune) bool { return r == '\u200c' || r == '\u200d' || unicode.Is(unicode.Mn, r) }

func (s *setter) piece(runes []rune, w weight, hindi bool) piece {
	in := shaping.Input{
		Text: runes, RunEnd: len(runes), Direction: di.DirectionLTR, Size: em << 6,
		Script: language.Latin, Language: language.NewLanguage("en"),
	}
	p := piece{face: int(w), text: string(runes), plain: true}
	if hindi {
		p.face++
		in.Script, in.Language = language.Devanagari, language.NewLanguage("hi")
	}
	in.Face = s.faces[p.face]
	for _, g := range s.shaper.Shape(in).Glyphs {
		out := glyph{id: uint16(g.GlyphID), advance: int(g.Advance >> 6), dx: int(g.XOffset >> 6), dy: int(g.YOffset >> 6)} //nolint:gosec // TrueType counts glyphs in 16 bits
		p.glyphs = append(p.glyphs, out)
		p.width += out.advance
		at, n := g.TextIndex(), g.RunesCount()
		p.plain = p.plain && g.GlyphsCount() == 1 && at+n <= len(runes) && s.says(p.face, out.id, string(runes[at:at+n]))
	}
	return p
}

// says notes what a glyph stands for. A glyph stands for one thing alone; the
// second use of it for another makes the piece carry its text beside it.
func (s *setter) says(face int, id uint16, text string) bool {
	if id == 0 {
		return false
	}
	if _, ok := s.said[face][id]; !ok {
		s.said[face][id] = text
	}
	return s.said[face][id] == text
}

func width(pieces []piece) int {
	sum := 0
	for _, p := range pieces {
		sum += p.width
	}
	return sum
}

// measure is the width of a line in thousandths of its size.
func (s *setter) measure(text string, w weight) int { return width(s.line(text, w)) }

// line shapes a line, word by word.
func (s *setter) line(text string, w weight) []piece {
	var out []piece
	for i, word := range strings.Split(text, " ") {
		if i > 0 {
			out = append(out, s.word(" ", w)...)
		}
		out = append(out, s.word(word, w)...)
	}
	return out
}

// wrap breaks text into lines no wider than room, in thousandths of the size.
// There is one line at least. A word wider than a line is broken anywhere but
// inside a cluster.
func (s *setter) wrap(text string, w weight, room int) []string {
	var lines []string
	line, used := "", 0
	space := s.measure(" ", w)
	put := func(word string, wide int) {
		switch {
		case line == "":
			line, used = word, wide
		case used+space+wide <= room:
			line, used = line+" "+word, used+space+wide
		default:
			lines = append(lines, line)
			line, used = word, wide
		}
	}
	for _, word := range strings.Fields(text) {
		for _, part := range s.split(word, w, room) {
			put(part, s.measure(part, w))
		}
	}
	return append(lines, line)
}

// split breaks a word that is wider than a line into parts that are not, but
// for a cluster that is so by itself.
func (s *setter) split(word string, w weight, room int) []string {
	if s.measure(word, w) <= room {
		return []string{word}
	}
	var parts []string
	for rest := clusters(word); len(rest) > 0; {
		n, used := 0, 0
		for n < len(rest) {
			if used += s.measure(rest[n], w); used > room && n > 0 {
				break
			}
			n++
		}
		// Side by side, clusters may join or be kerned: the widths do not just
		// add up.
		part := strings.Join(rest[:n], "")
		for n > 1 && s.measure(part, w) > room {
			n--
			part = strings.Join(rest[:n], "")
		}
		parts = append(parts, part)
		rest = rest[n:]
	}
	return parts
}

// clusters splits a word where a reader of it would.
func clusters(word string) []string {
	var out []string
	runes := []rune(word)
	start := 0
	for i := 1; i <= len(runes); i++ {
		if i < len(runes) && i-start < maxCluster && (joins(runes[i]) || unicode.Is(unicode.Mc, runes[i]) ||
			runes[i-1] == '\u094d' || runes[i-1] == '\u200d') {
			continue
		}
		out = append(out, string(runes[start:i]))
		start = i
	}
	return out
}
