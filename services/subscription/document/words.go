package document

import "strings"

// speech is how a language says numbers in the Indian system.
type speech struct {
	small                          [100]string // to ninety-nine
	hundred, thousand, lakh, crore string
	minus, only, and               string
	rupee, rupees, paisa, paise    string
	before                         bool // the unit stands before its number
}

// words says an amount: Rupees Two Hundred Ninety-Nine Only.
func (s *speech) words(minor int64) string {
	abs := magnitude(minor)
	whole, part := abs/100, abs%100
	var out []string
	if minor < 0 {
		out = append(out, s.minus)
	}
	if whole > 0 || part == 0 {
		unit := s.rupees
		if whole == 1 {
			unit = s.rupee
		}
		if s.before {
			out = append(append(out, unit), s.number(whole)...)
		} else {
			out = append(append(out, s.number(whole)...), unit)
		}
	}
	if part > 0 {
		if whole > 0 && s.and != "" {
			out = append(out, s.and)
		}
		unit := s.paise
		if part == 1 {
			unit = s.paisa
		}
		out = append(out, s.small[part], unit)
	}
	return strings.Join(append(out, s.only), " ")
}

// number says n in groups of crore, lakh, thousand and hundred; what is above
// a crore of crores counts its crores the same way.
func (s *speech) number(n uint64) []string {
	if n < 100 {
		return []string{s.small[n]}
	}
	for _, g := range []struct {
		size uint64
		name string
	}{{10_000_000, s.crore}, {100_000, s.lakh}, {1000, s.thousand}, {100, s.hundred}} {
		if n < g.size {
			continue
		}
		out := append(s.number(n/g.size), g.name)
		if rest := n % g.size; rest > 0 {
			out = append(out, s.number(rest)...)
		}
		return out
	}
	return nil
}

func englishSpeech() *speech {
	s := &speech{
		hundred: "Hundred", thousand: "Thousand", lakh: "Lakh", crore: "Crore",
		minus: "Minus", only: "Only", and: "and",
		rupee: "Rupee", rupees: "Rupees", paisa: "Paisa", paise: "Paise", before: true,
	}
	units := strings.Fields(`Zero One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve Thirteen Fourteen
		Fifteen Sixteen Seventeen Eighteen Nineteen`)
	tens := strings.Fields("Twenty Thirty Forty Fifty Sixty Seventy Eighty Ninety")
	copy(s.small[:], units)
	for n := len(units); n < len(s.small); n++ {
		s.small[n] = tens[n/10-2]
		if n%10 > 0 {
			s.small[n] += "-" + units[n%10]
		}
	}
	return s
}

// hindiSpeech: every number to ninety-nine has a word of its own. Spelling of
// the Central Hindi Directorate.
func hindiSpeech() *speech {
	s := &speech{
		hundred: "सौ", thousand: "हज़ार", lakh: "लाख", crore: "करोड़",
		minus: "ऋण", only: "मात्र",
		rupee: "रुपया", rupees: "रुपये", paisa: "पैसा", paise: "पैसे",
	}
	copy(s.small[:], strings.Fields(`
		शून्य एक दो तीन चार पाँच छह सात आठ नौ
		दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस
		बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस
		तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस
		चालीस इकतालीस बयालीस तैंतालीस चवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास
		पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ
		साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर
		सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उनासी
		अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी
		नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे`))
	return s
}
