package payment

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/services/payment/factstate"
)

const (
	soon         = 5 * time.Second // after an answer that was lost
	notSentPause = time.Minute     // after a call that never left
	pausedPause  = time.Hour       // of a debit whose mandate is paused; a change wakes it
)

// mandates is the worker that asks about mandates and takes debits on.
func (s *Service) mandates(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		_, err := s.mandateBatch(ctx)
		return 0, err // never at once again: the pace is bounded
	})
}

func (s *Service) mandateBatch(ctx context.Context) (int, error) {
	claim, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	list, err := s.leaseMandates(claim)
	if err != nil {
		return 0, err
	}
	debits, err := s.leaseDebits(claim)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	do := func(ref string, work func(context.Context) error) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*callLimit+2*storeLimit)
			defer cancel()
			if err := work(ctx); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Str("ref", ref).Msg("mandate or debit comes back when its lease ends")
			}
		})
	}
	for _, m := range list {
		do(m.MerchantRef, func(ctx context.Context) error { return s.followThrough(ctx, m.ID) })
	}
	for _, d := range debits {
		do(d.MerchantOrderID, func(ctx context.Context) error { return s.takeOn(ctx, d) })
	}
	wg.Wait()
	return len(list) + len(debits), nil
}

// debitWork is a leased debit with what it hangs on.
type debitWork struct {
	debit
	payment payment
	mandate mandate
	bank    mandater
}

func (w debitWork) order() debitOrder {
	return debitOrder{
		MerchantOrderID: w.MerchantOrderID, MandateRef: w.mandate.MerchantRef, AmountMinor: w.payment.AmountMinor,
		PaymentID: id.Format("pay", w.payment.ID), UserID: id.Format("usr", w.payment.UserID),
	}
}

// expired reports that the order's own life and a margin are over.
func (w debitWork) expired(now time.Time) bool {
	return w.ExpiresAt != nil && now.After(w.ExpiresAt.Add(expiryMargin))
}

func (s *Service) gather(ctx context.Context, d debit) (debitWork, error) {
	w := debitWork{debit: d}
	var err error
	if w.payment, err = s.payment(ctx, d.PaymentID); err != nil {
		return w, err
	}
	if w.mandate, err = s.mandate(ctx, d.MandateID); err != nil {
		return w, err
	}
	w.bank, err = s.mandater(w.mandate.Provider)
	return w, err
}

// takeOn takes a leased debit one step further. An error leaves it to the end
// of its lease.
func (s *Service) takeOn(ctx context.Context, d debit) error {
	w, err := s.gather(ctx, d)
	if err != nil {
		return err
	}
	idle := d.State == debitPrepared || d.State == debitNotified
	switch {
	case idle && (w.mandate.State.over() || w.mandate.CancelRequestedAt != nil):
		return s.closeDebit(ctx, w, factstate.Declined, cancelledCode(w.mandate.State))
	case d.State == debitPrepared:
		return s.tell(ctx, w)
	case d.State == debitNotified && d.NoticeVoid:
		return s.renew(ctx, d)
	case d.State == debitNotified && !w.expired(s.now()):
		return s.take(ctx, w)
	default:
		return s.askDebit(ctx, w)
	}
}

// cancelledCode is why a debit is not made though nothing refused it.
func cancelledCode(state mandateState) string {
	if !state.over() {
		state = mandateCancelled // it is about to be
	}
	return "MANDATE_" + string(state)
}

// isCancelled tells a debit we gave up from one that was refused.
func isCancelled(code string) bool { return strings.HasPrefix(code, "MANDATE_") }

// closeDebit ends a debit of which the provider is not doing anything.
func (s *Service) closeDebit(ctx context.Context, w debitWork, kind factstate.Fact, code string) error {
	_, err := s.applyFact(ctx, fact{
		Kind: kind, MerchantOrderID: w.MerchantOrderID, Currency: w.payment.Currency, FailureCode: code,
	}, origin{by: byProvider})
	return err
}

// tell has the customer told of a debit that is due.
func (s *Service) tell(ctx context.Context, w debitWork) error {
	now := s.now()
	switch {
	case now.Before(w.DueAt):
		return s.postpone(ctx, w.debit, w.DueAt)
	case now.After(w.DueAt.Add(debitGivenUp)):
		return s.closeDebit(ctx, w, factstate.Lapsed, "NOT_NOTIFIED")
	}
	m, err := s.asked(ctx, w)
	if err != nil {
		return err
	}
	if m.State != mandateActive {
		return s.postpone(ctx, w.debit, now.Add(pausedPause))
	}
	begun, err := s.beginNotify(ctx, w.debit)
	if err != nil || !begun {
		return err
	}
	expires := now.Add(debitOrderLife)
	w.State, w.ExpiresAt, w.Fence = debitNotifying, &expires, w.Fence+1
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := w.bank.notify(call, w.order())
	var refused *refusedError
	switch {
	case err == nil:
		return s.applyDebitFact(ctx, w, f)
	case errors.As(err, &refused):
		return s.refusedNotice(ctx, w, refused)
	case errors.Is(err, errNotSent):
		return s.become(ctx, w, debitPrepared, s.now().Add(notSentPause))
	default: // it has it, or nobody knows
		return errors.Join(s.become(ctx, w, debitNotifying, s.now().Add(soon)), quiet(err))
	}
}

// refusedNotice: the provider has no order. It may be because the mandate has
// changed since we asked; then the debit waits, or ends with it.
func (s *Service) refusedNotice(ctx context.Context, w debitWork, refused *refusedError) error {
	m, err := s.asked(ctx, w)
	if err != nil {
		return err
	}
	if m.State != mandateActive {
		return s.become(ctx, w, debitPrepared, s.now())
	}
	code := clip(refused.Code, maxFailureCodeLen)
	if code == "" {
		code = "NOTICE_REFUSED"
	}
	return s.closeDebit(ctx, w, factstate.Declined, code)
}

// asked gives the mandate as it stands by the provider's word of just now.
func (s *Service) asked(ctx context.Context, w debitWork) (mandate, error) {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return s.refresh(call, w.MandateID, origin{by: byProvider})
}

// quiet drops what is no failure of ours: the order is there already.
func quiet(err error) error {
	if errors.Is(err, errDuplicate) {
		return nil
	}
	return err
}

// take asks for the debit, when the law and the network let us and both mandate
// and order are as they should be by the provider's word of just now.
func (s *Service) take(ctx context.Context, w debitWork) error {
	now := s.now()
	if at := w.mayTake(); at.After(now) {
		return s.postpone(ctx, w.debit, at)
	}
	m, err := s.asked(ctx, w)
	if err != nil {
		return err
	}
	if m.State != mandateActive {
		return s.postpone(ctx, w.debit, now.Add(notSentPause)) // a change wakes it at once
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := w.bank.debitStatus(call, w.order())
	if err != nil {
		return err //nolint:wrapcheck // of our own kinds
	}
	a, err := s.attempt(ctx, s.db.Pool, w.MerchantOrderID)
	if err != nil {
		return err
	}
	if f.Kind != debitTold || decide(w.payment, a, f.fact()).mismatch != "" {
		return s.applyDebitFact(ctx, w, f)
	}
	begun, err := s.beginRedeem(ctx, w.debit)
	if err != nil || !begun {
		return err
	}
	return s.redeem(ctx, w)
}

// mayTake is when a notified debit may be asked for; after its last try, when
// its order has ended.
func (w debitWork) mayTake() time.Time {
	at := *w.RedeemAfter
	if w.TriedAt != nil && w.TriedAt.Add(retryGap).After(at) {
		at = w.TriedAt.Add(retryGap)
	}
	at = offPeak(at)
	if w.Tries >= debitTries || !at.Before(*w.ExpiresAt) {
		return w.ExpiresAt.Add(expiryMargin + time.Second)
	}
	return at
}

// redeem asks for money that beginRedeem has committed to ask for. An answer
// that is lost is asked about, and the money asked for again only as the next try.
func (s *Service) redeem(ctx context.Context, w debitWork) error {
	now := s.now()
	w.State, w.TriedAt, w.Tries, w.Fence = debitRedeeming, &now, w.Tries+1, w.Fence+1
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := w.bank.redeem(call, w.order())
	var refused *refusedError
	switch {
	case err == nil:
		return s.become(ctx, w, debitPending, s.now().Add(firstPoll))
	case errors.As(err, &refused):
		w.FailureCode = clip(refused.Code, maxFailureCodeLen)
		return s.become(ctx, w, debitNotified, s.now().Add(retryGap))
	case errors.Is(err, errNotSent):
		w.Tries--
		return s.become(ctx, w, debitNotified, s.now().Add(retryGap))
	default:
		return errors.Join(s.become(ctx, w, debitUnknown, s.now().Add(soon)), quiet(err))
	}
}

// become keeps a debit in a state, and when to look at it again.
func (s *Service) become(ctx context.Context, w debitWork, state string, next time.Time) error {
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	d := w.debit
	before := d.State
	if state == before {
		return s.postpone(keep, d, next)
	}
	d.State, d.NextAt = state, &next
	return s.moveDebit(keep, d, before)
}

// askDebit asks what became of a debit and takes what the provider says.
func (s *Service) askDebit(ctx context.Context, w debitWork) error {
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := w.bank.debitStatus(call, w.order())
	switch {
	case errors.Is(err, errNoOrder) && w.expired(s.now()):
		return s.closeDebit(ctx, w, factstate.Lapsed, "ORDER_NOT_FOUND")
	case errors.Is(err, errNoOrder) && w.State == debitNotifying:
		return s.become(ctx, w, debitPrepared, s.now().Add(soon)) // the notice was lost; the same order takes it once
	case errors.Is(err, errNoOrder):
		return s.postpone(ctx, w.debit, s.now().Add(notSentPause))
	case err != nil:
		return err //nolint:wrapcheck // of our own kinds
	}
	return s.applyDebitFact(ctx, w, f)
}

// applyDebitFact takes what a provider says of a debit in answer to our own
// question. What ends it goes through applyFact, as for any payment.
func (s *Service) applyDebitFact(ctx context.Context, w debitWork, f debitFact) error {
	a, err := s.attempt(ctx, s.db.Pool, f.MerchantOrderID)
	if err != nil {
		return err
	}
	g := f.fact()
	ends := g.Kind == factstate.Captured || g.Kind == factstate.Declined || g.Kind == factstate.Lapsed
	if ends || f.Kind != debitSilent && decide(w.payment, a, g).mismatch != "" {
		res, err := s.applyFact(ctx, g, origin{by: byProvider})
		if err == nil && res.integrity {
			return s.park(ctx, w.debit)
		}
		return err
	}
	return s.applyProgress(ctx, w, f)
}

func (f debitFact) fact() fact {
	g := fact{
		MerchantOrderID: f.MerchantOrderID, EchoedOrderID: f.EchoedOrderID, ProviderOrderID: f.ProviderOrderID,
		AmountMinor: f.AmountMinor, Currency: f.Currency, Method: f.Method, FailureCode: f.FailureCode, PaidAt: f.PaidAt,
	}
	switch f.Kind {
	case debitDone:
		g.Kind = factstate.Captured
	case debitRefused:
		g.Kind = factstate.Declined
		if strings.Contains(f.FailureCode, "EXPIRED") {
			g.Kind = factstate.Lapsed
		}
	case debitTelling, debitTold, debitInFlight:
		g.Kind = factstate.Opened
	default:
	}
	return g
}

// applyProgress moves a debit that has not ended.
func (s *Service) applyProgress(ctx context.Context, w debitWork, f debitFact) error {
	now := s.now()
	flying := f.Kind == debitInFlight && w.NotifiedAt != nil
	switch {
	case !flying && w.expired(now):
		return s.closeDebit(ctx, w, factstate.Lapsed, "ORDER_EXPIRED")
	case flying:
		return s.inFlight(ctx, w)
	case f.Kind == debitTold && w.State == debitNotifying:
		w.told(f, now)
		return s.become(ctx, w, debitNotified, w.mayTake())
	case f.Kind == debitTold && w.State != debitPrepared:
		return s.become(ctx, w, debitNotified, w.mayTake()) // the last try came to nothing
	default:
		pause, _ := nextPoll(now.Sub(w.UpdatedAt))
		return s.become(ctx, w, w.State, now.Add(max(pause, soon)))
	}
}

// told notes a notice. The provider's time for the debit is taken when it can
// be true; else a day from now, when we have just learnt of it.
func (w *debitWork) told(f debitFact, now time.Time) {
	at := now
	if g := f.RedeemAfter.Add(-noticeAhead); !f.RedeemAfter.IsZero() && !g.After(now) && !g.Before(w.UpdatedAt.Add(-time.Minute)) {
		at = g
	}
	after := at.Add(noticeAhead)
	w.NotifiedAt, w.RedeemAfter = &at, &after
	if f.ExpiresAt.After(now) && f.ExpiresAt.Before(now.Add(debitOrderLife+time.Hour)) {
		w.ExpiresAt = &f.ExpiresAt
	}
}

// inFlight asks again as often as PhonePe wants of any order, and leaves to a
// person what days do not decide.
func (s *Service) inFlight(ctx context.Context, w debitWork) error {
	now := s.now()
	since := w.UpdatedAt
	if w.TriedAt != nil {
		since = *w.TriedAt
	}
	pause, again := nextPoll(now.Sub(since))
	if again {
		return s.become(ctx, w, debitPending, now.Add(pause))
	}
	if err := s.review(ctx, w.PaymentID); err != nil {
		return err
	}
	zerolog.Ctx(ctx).Error().Stringer("payment_id", w.PaymentID).Msg("debit undecided for days, a person must look")
	return s.park(ctx, w.debit)
}

// onMandate takes a callback about a mandate or a debit as what it is: a hint
// to ask now.
func (s *Service) onMandate(ctx context.Context, ev webhookEvent) error {
	var known bool
	if ev.MerchantOrderID != "" {
		p, a, err := s.orderOf(ctx, ev.MerchantOrderID)
		switch {
		case noSuch(err):
		case err != nil:
			return err
		default:
			known = true
			if err := s.hint(ctx, ev, p, a); err != nil {
				return err
			}
		}
	}
	if ev.Subject != "" {
		m, err := s.mandateByRef(ctx, ev.Subject)
		switch {
		case noSuch(err):
		case err != nil:
			return err
		default:
			known = true
			call, cancel := context.WithTimeout(ctx, callLimit)
			defer cancel()
			if err := s.followThrough(call, m.ID); err != nil {
				return err
			}
		}
	}
	if !known {
		return s.orphan(ctx, ev, "neither the order nor the mandate is ours")
	}
	return s.endEvent(ctx, ev, eventProcessed, "")
}

// hint asks about the order that a callback names. It takes no lease: a worker
// that is at it goes on, unless the answer changes the debit under its hands.
func (s *Service) hint(ctx context.Context, ev webhookEvent, p payment, a attempt) error {
	if !a.isDebit() {
		if a.State != attemptSucceeded {
			return s.askAbout(ctx, a, origin{by: byProvider, event: ev.ID})
		}
		return nil
	}
	d, err := s.debit(ctx, p.ID)
	if err != nil || d.State == debitSucceeded {
		return err
	}
	w, err := s.gather(ctx, d)
	if err != nil {
		return err
	}
	if a.MerchantOrderID != d.MerchantOrderID || d.NextAt == nil { // an older order, or one that ended: only money is news
		return s.lateNews(ctx, w, a)
	}
	if d.State == debitPrepared {
		return nil // the provider may not have heard of it; the worker knows
	}
	if err := s.askDebit(ctx, w); err != nil {
		return err
	}
	if after, err := s.debit(ctx, p.ID); err != nil || after.NextAt == nil || ev.Attempts >= lagAttempts ||
		!strings.HasPrefix(ev.Event, "subscription.redemption.order.") {
		return err
	}
	return errLag
}

// lateNews takes a capture of an order that we no longer count on.
func (s *Service) lateNews(ctx context.Context, w debitWork, a attempt) error {
	w.MerchantOrderID = a.MerchantOrderID
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	f, err := w.bank.debitStatus(call, w.order())
	if errors.Is(err, errNoOrder) {
		return nil
	}
	if err != nil || f.Kind != debitDone {
		return err //nolint:wrapcheck // of our own kinds
	}
	_, err = s.applyFact(ctx, f.fact(), origin{by: byProvider})
	return err
}
