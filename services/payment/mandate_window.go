package payment

import "time"

// ist is the zone of the network's rules; India has no other and no summer time.
var ist = time.FixedZone("IST", 5*60*60+30*60)

const (
	noticeAhead    = 24 * time.Hour // by law, between the notice and the debit
	retryGap       = 90 * time.Minute
	debitTries     = 4              // one, and three more
	debitGivenUp   = 72 * time.Hour // after due_at, when the customer could not be told until then
	mandateMaxOnce = 1_500_000      // paise: above ₹15,000 the law wants the person's own hand
)

// offPeak gives the first moment from at on in which a debit may be asked for:
// 21:31 to 09:59 and 13:01 to 16:59 IST.
func offPeak(at time.Time) time.Time {
	local := at.In(ist)
	h, m, _ := local.Clock()
	day := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, ist)
	switch minute := h*60 + m; {
	case minute >= 10*60 && minute <= 13*60:
		return day.Add(13*time.Hour + time.Minute)
	case minute >= 17*60 && minute <= 21*60+30:
		return day.Add(21*time.Hour + 31*time.Minute)
	default:
		return at
	}
}
