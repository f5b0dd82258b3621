package document

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRupees(t *testing.T) {
	for _, tt := range []struct {
		minor int64
		want  string
	}{
		{0, "₹0.00"},
		{5, "₹0.05"},
		{-1, "-₹0.01"},
		{29900, "₹299.00"},
		{999900, "₹9,999.00"},
		{12345678, "₹1,23,456.78"},
		{10_000_000_00, "₹1,00,00,000.00"},
		{math.MaxInt64, "₹92,23,37,20,36,85,47,758.07"},
		{math.MinInt64, "-₹92,23,37,20,36,85,47,758.08"},
	} {
		if got := rupees(tt.minor); got != tt.want {
			t.Errorf("rupees(%d) = %s, want %s", tt.minor, got, tt.want)
		}
	}
}

func TestRupeesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minor := rapid.Int64().Draw(t, "minor")
		text := rupees(minor)
		var back int64
		for _, r := range text {
			if r >= '0' && r <= '9' {
				back = back*10 - int64(r-'0') // below nothing, where int64 has one more
			}
		}
		if !strings.HasPrefix(text, "-") {
			back = -back
		}
		if back != minor {
			t.Fatalf("rupees(%d) = %s reads as %d", minor, text, back)
		}
		whole := strings.TrimPrefix(strings.TrimPrefix(text[:len(text)-3], "-"), "₹")
		for i, part := range strings.Split(whole, ",") {
			last := i == strings.Count(whole, ",")
			if i > 0 && (last && len(part) != 3 || !last && len(part) != 2) {
				t.Fatalf("rupees(%d) = %s is grouped wrongly", minor, text)
			}
		}
	})
}

func TestPercent(t *testing.T) {
	for bp, want := range map[int64]string{0: "0%", 5: "0.05%", 250: "2.5%", 900: "9%", 1800: "18%", 10000: "100%", -250: "-2.5%"} {
		if got := percent(bp); got != want {
			t.Errorf("percent(%d) = %s, want %s", bp, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		minor  int64
		en, hi string
	}{
		{0, "Rupees Zero Only", "शून्य रुपये मात्र"},
		{1, "One Paisa Only", "एक पैसा मात्र"},
		{50, "Fifty Paise Only", "पचास पैसे मात्र"},
		{100, "Rupee One Only", "एक रुपया मात्र"},
		{29900, "Rupees Two Hundred Ninety-Nine Only", "दो सौ निन्यानवे रुपये मात्र"},
		{999900, "Rupees Nine Thousand Nine Hundred Ninety-Nine Only", "नौ हज़ार नौ सौ निन्यानवे रुपये मात्र"},
		{100_000_00, "Rupees One Lakh Only", "एक लाख रुपये मात्र"},
		{
			12345678, "Rupees One Lakh Twenty-Three Thousand Four Hundred Fifty-Six and Seventy-Eight Paise Only",
			"एक लाख तेईस हज़ार चार सौ छप्पन रुपये अठहत्तर पैसे मात्र",
		},
		{10_000_000_00, "Rupees One Crore Only", "एक करोड़ रुपये मात्र"},
		{100_000_000_000_000, "Rupees One Lakh Crore Only", "एक लाख करोड़ रुपये मात्र"},
		{-100, "Minus Rupee One Only", "ऋण एक रुपया मात्र"},
	} {
		if got := english().speech.words(tt.minor); got != tt.en {
			t.Errorf("English of %d = %q, want %q", tt.minor, got, tt.en)
		}
		if got := hindi().speech.words(tt.minor); got != tt.hi {
			t.Errorf("Hindi of %d = %q, want %q", tt.minor, got, tt.hi)
		}
	}
}

func TestEveryNumberHasItsWord(t *testing.T) {
	for name, s := range map[string]*speech{"English": englishSpeech(), "Hindi": hindiSpeech()} {
		seen := map[string]int{}
		for n, word := range s.small {
			if before, ok := seen[word]; word == "" || ok {
				t.Errorf("%s of %d = %q, which is %d too", name, n, word, before)
			}
			seen[word] = n
		}
	}
}

// The words say the number and nothing else: reading them gives it back.
func TestNumberReadsBack(t *testing.T) {
	for name, s := range map[string]*speech{"English": englishSpeech(), "Hindi": hindiSpeech()} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				n := rapid.Uint64().Draw(t, "n") >> rapid.IntRange(0, 63).Draw(t, "shift")
				if got := s.read(s.number(n)); got != n {
					t.Fatalf("%d is said %q, which reads as %d", n, s.number(n), got)
				}
			})
		})
	}
}

// read is the other way of number.
func (s *speech) read(words []string) uint64 {
	for _, g := range []struct {
		size uint64
		name string
	}{{10_000_000, s.crore}, {100_000, s.lakh}, {1000, s.thousand}, {100, s.hundred}} {
		for i := len(words) - 1; i >= 0; i-- {
			if words[i] == g.name {
				return s.read(words[:i])*g.size + s.read(words[i+1:])
			}
		}
	}
	for n, word := range s.small {
		if len(words) == 1 && words[0] == word {
			return uint64(n)
		}
	}
	return 0
}
