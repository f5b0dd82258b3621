package document

import (
	"strconv"
	"strings"
)

// magnitude is the amount without its sign; it holds the lowest int64 too.
func magnitude(minor int64) uint64 {
	if minor < 0 {
		return -uint64(minor) //nolint:gosec // two's complement: the wrap is the answer
	}
	return uint64(minor)
}

// rupees writes paise as people in India do: ₹1,23,456.78.
func rupees(minor int64) string {
	abs := magnitude(minor)
	sign := ""
	if minor < 0 {
		sign = "-"
	}
	paise := strconv.FormatUint(100+abs%100, 10)[1:]
	return sign + "₹" + group(abs/100) + "." + paise
}

// group puts a comma before the last three digits and then before every two.
func group(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	if len(digits) <= 3 {
		return digits
	}
	head, tail := digits[:len(digits)-3], digits[len(digits)-3:]
	var b strings.Builder
	for i := range len(head) {
		if i > 0 && (len(head)-i)%2 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(head[i])
	}
	return b.String() + "," + tail
}

// percent writes basis points: 1800 is 18%, 250 is 2.5%.
func percent(bp int64) string {
	abs := magnitude(bp)
	s := strconv.FormatUint(abs/100, 10)
	if rest := abs % 100; rest != 0 {
		s += "." + strings.TrimRight(strconv.FormatUint(100+rest, 10)[1:], "0")
	}
	if bp < 0 {
		s = "-" + s
	}
	return s + "%"
}
