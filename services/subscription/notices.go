package subscription

import (
	"context"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// What is told before a paid period ends: who does not renew hears of the end,
// who renews of the debit, with time to cancel it. Longest before first.
var (
	expiryNotices  = []time.Duration{7 * day, 3 * day, day}
	renewalNotices = []time.Duration{3 * day, day}
	trialNotices   = []time.Duration{3 * day, day}
)

// noticesOf gives the template and the times of what a subscription's user is
// told before its end; none for one that never ends.
func noticesOf(sub subscription) (template string, ahead []time.Duration) {
	life := sub.life()
	switch {
	case life.Ends.IsZero():
		return "", nil
	case sub.State == trialingState:
		return "trial_ending", trialNotices
	case sub.State == activeState && sub.AutoRenew && !sub.CancelAtPeriodEnd:
		return "renewal_notice", renewalNotices
	case sub.State == activeState && life.PaidUntil.Equal(life.Ends):
		return "subscription_expiring", expiryNotices
	default:
		return "", nil
	}
}

// nextNotice gives the instant of the next notice; zero is none.
func nextNotice(sub subscription) time.Time {
	_, ahead := noticesOf(sub)
	if sub.Noticed >= len(ahead) {
		return time.Time{}
	}
	return sub.life().Ends.Add(-ahead[sub.Noticed])
}

// noticeDue tells what has become due, the latest only: after an outage nobody
// is told three times.
func (s *Service) noticeDue(ctx context.Context, tx txn, sub *subscription, now time.Time) error {
	template, ahead := noticesOf(*sub)
	ends, told := sub.life().Ends, sub.Noticed
	for sub.Noticed < len(ahead) && !now.Before(ends.Add(-ahead[sub.Noticed])) {
		sub.Noticed++
	}
	if sub.Noticed == told {
		return nil
	}
	// A period shorter than a notice is long begins with it already due; who has
	// just paid need not hear of the end.
	if sub.Noticed < len(ahead) && ends.Sub(deref(sub.CurrentPeriodStart)) <= ahead[sub.Noticed-1] {
		return nil
	}
	return s.outbox.Append(ctx, tx, s.notice(sub.UserID, template, map[string]string{
		"detail": offerWords(*sub), "date": s.when(ends), "link": "/subscription",
	}))
}

// noticeTurn tells what time has done.
func (s *Service) noticeTurn(ctx context.Context, tx txn, sub subscription) error {
	var template string
	params := map[string]string{"detail": sub.PlanName, "link": "/subscription"}
	switch sub.State {
	case "GRACE":
		template, params["date"] = "grace_started", s.when(deref(sub.UnpaidUntil))
	case expiredState, cancelledState:
		template = "subscription_expired"
	default:
		return nil
	}
	return s.outbox.Append(ctx, tx, s.notice(sub.UserID, template, params))
}

// when writes a time for a person, by the clock of India.
func (s *Service) when(t time.Time) string { return t.In(s.zone).Format("2006-01-02 15:04") + " IST" }

// offerWords is a plan and its price, as "Premium, one month: ₹1,499.00".
func offerWords(sub subscription) string {
	return sub.PlanName + ", " + cycleWords(sub.Cycle) + ": " + rupees(sub.Currency, sub.AmountMinor)
}

// rupees writes an amount as India groups it: three digits, then pairs.
func rupees(currency string, minor int64) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	whole := strconv.FormatInt(minor/100, 10)
	out := whole[max(0, len(whole)-3):]
	for rest := whole[:max(0, len(whole)-3)]; rest != ""; rest = rest[:max(0, len(rest)-2)] {
		out = rest[max(0, len(rest)-2):] + "," + out
	}
	cents := strconv.FormatInt(100+minor%100, 10)[1:]
	if currency == inr {
		return sign + "₹" + out + "." + cents
	}
	return sign + currency + " " + out + "." + cents
}
