package subscription

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/lifecycle"
)

// States of a charge.
const (
	chargeOpen   = "OPEN"
	chargePaid   = "PAID"
	chargeFailed = "FAILED"
)

// placeRenewal finds or makes the draft and the open charge of the period after
// the paid ones. While one attempt is undecided there is no other: money.md
// B14. A charge's id follows from draft and attempt alone: money.md B20, B21.
func (s *Service) placeRenewal(ctx context.Context, tx txn, sub subscription) (subscription, payable, error) {
	next, err := s.nextPeriodNo(ctx, tx, sub.ID)
	if err != nil {
		return sub, payable{}, err
	}
	inv, err := s.draftOf(ctx, tx, sub.ID, ofRenewal, &next)
	if errors.Is(err, errNone) {
		inv, err = s.draftRenewal(ctx, tx, sub, next)
	}
	if err != nil {
		return sub, payable{}, err
	}
	last, err := s.lastCharge(ctx, tx, inv.ID)
	switch {
	case errors.Is(err, errNone):
		last = charge{InvoiceID: inv.ID}
	case err != nil:
		return sub, payable{}, err
	case last.State == chargeOpen:
		return sub, sub.payable(last.OrderID, inv), nil
	}
	last.AttemptNo++
	last.OrderID, last.CreatedAt = chargeID(inv.ID, last.AttemptNo), s.now()
	return sub, sub.payable(last.OrderID, inv), s.insertCharge(ctx, tx, last)
}

// chargeID names an attempt.
func chargeID(invoiceID uuid.UUID, attempt int) uuid.UUID {
	var no [8]byte
	binary.BigEndian.PutUint64(no[:], uint64(attempt)) //nolint:gosec // counts up from 1
	return uuid.NewSHA1(invoiceID, no[:])
}

// renewalPrice gives the price that was bought, or that of the plan which is to
// follow, and the plan's name.
func (s *Service) renewalPrice(ctx context.Context, q querier, sub subscription) (pr price, name string, err error) {
	if sub.PendingPriceID == nil {
		return sub.price(), sub.PlanName, nil
	}
	next, err := s.priceOf(ctx, q, *sub.PendingPriceID)
	return next.price(), next.PlanName, err
}

// draftRenewal makes the draft of the next period.
func (s *Service) draftRenewal(ctx context.Context, tx txn, sub subscription, no int) (invoice, error) {
	pr, name, err := s.renewalPrice(ctx, tx, sub)
	if err != nil {
		return invoice{}, err
	}
	who, err := s.customer(ctx, tx, sub.UserID)
	if err != nil {
		return invoice{}, err
	}
	place := who.place(s.supplier.State)
	tax := split(pr, place, s.supplier.State)
	inv := s.draft(sub.UserID, quote{
		Price: pr, Place: place, Customer: who, Tax: tax,
		Lines: []invoiceLine{{Description: name + " (" + cycleWords(pr.Cycle) + ")", SACCode: pr.SACCode, AmountMinor: tax.Total()}},
	}, sub.at(s.now()))
	inv.Kind, inv.SubscriptionID, inv.PeriodNo = ofRenewal, &sub.ID, &no
	if err := s.insertDraft(ctx, tx, inv); err != nil {
		return inv, err
	}
	return inv, s.outbox.Append(ctx, tx, also(audit(ctx, trail.InvoiceDrafted, actorOf(ctx), sub, s.now(),
		change{"totalMinor", "", inv.TotalMinor}), "invoice", "inv", inv.ID))
}

// renew takes the money of a charge: the period it pays is written, once, and
// begins when the running one is over.
func (s *Service) renew(ctx context.Context, tx txn, ch charge, c capture, by actor) error {
	inv, sub, err := s.charged(ctx, tx, ch)
	if err != nil {
		return err
	}
	if c.AmountMinor != inv.TotalMinor || c.Currency != inv.Currency || c.UserID != sub.UserID {
		sub.TotalMinor = inv.TotalMinor
		return s.mistrust(ctx, sub, c, by)
	}
	done, err := s.invoiced(ctx, tx, c.PaymentID)
	if done || err != nil {
		return err
	}
	if ch, err = s.chargeOf(ctx, tx, ch.OrderID); err != nil || ch.State == chargePaid { // now that the user is locked
		return err
	}
	wall := s.now()
	if err := s.closeCharge(ctx, tx, ch.OrderID, chargePaid, c.PaymentID, wall); err != nil {
		return err
	}
	if err := s.pass(ctx, tx, &sub, wall); err != nil {
		return err
	}
	now := sub.at(wall)
	if inv.State != draftState || !lifecycle.State(sub.State).Live() { // it has ended, is not wanted, or another attempt paid
		return s.late(ctx, tx, sub, c.PaymentID, by, now)
	}
	start := sub.life().PaidUntil
	end, err := s.nextEnd(sub, sub.months(), *inv.PeriodNo)
	if err != nil {
		return err
	}
	if err := s.insertPeriod(ctx, tx, sub.ID, *inv.PeriodNo, start, &end, &inv.ID); err != nil {
		return err
	}
	sub.PaymentID, sub.PaidUntil, sub.ChargeStep = &c.PaymentID, &end, notCharged
	if _, err := s.apply(ctx, tx, &sub, step{
		fact: lifecycle.Renewal, action: trail.SubscriptionRenewed, reason: "renewed", by: by, now: now, paid: c.PaymentID,
		also: []change{{"paidUntil", "", end}},
	}); err != nil {
		return err
	}
	if err := s.pass(ctx, tx, &sub, wall); err != nil { // it may be over as well
		return err
	}
	return s.receipt(ctx, tx, sub, inv, c, by, now)
}

// declineCharge notes that an attempt brought no money.
func (s *Service) declineCharge(ctx context.Context, tx txn, orderID, paymentID uuid.UUID, by actor) error {
	ch, err := s.chargeOf(ctx, tx, orderID)
	if err != nil {
		return err
	}
	inv, sub, err := s.charged(ctx, tx, ch)
	if err != nil {
		return err
	}
	if ch, err = s.chargeOf(ctx, tx, orderID); err != nil || ch.State != chargeOpen {
		return err
	}
	now := s.now()
	if err := s.closeCharge(ctx, tx, orderID, chargeFailed, paymentID, now); err != nil {
		return err
	}
	if inv.State != draftState { // nobody waits for it any more
		return nil
	}
	if err := s.outbox.Append(ctx, tx, s.notice(sub.UserID, "payment_failed", map[string]string{
		"detail": offerWords(sub), "link": "/subscription",
	})); err != nil {
		return err
	}
	if !sub.AutoRenew {
		return s.outbox.Append(ctx, tx, audit(ctx, trail.SubscriptionRenewalFailed, by, sub, now))
	}
	_, err = s.apply(ctx, tx, &sub, step{
		fact: lifecycle.Declined, action: trail.SubscriptionRenewalFailed, reason: "renewal failed", by: by, now: sub.at(now), paid: paymentID,
	})
	return err
}

// charged reads what an attempt is for, under the user's lock.
func (s *Service) charged(ctx context.Context, tx txn, ch charge) (invoice, subscription, error) {
	inv, err := s.invoiceByID(ctx, tx, ch.InvoiceID)
	if err != nil {
		return inv, subscription{}, err
	}
	if inv.SubscriptionID == nil {
		return inv, subscription{}, fail.New(fail.Internal, "charge %s is of no subscription", ch.OrderID)
	}
	sub, err := s.locked(ctx, tx, *inv.SubscriptionID)
	if err != nil {
		return inv, sub, err
	}
	inv, err = s.invoiceByID(ctx, tx, ch.InvoiceID) // as it is now that nobody else may change it
	return inv, sub, err
}
