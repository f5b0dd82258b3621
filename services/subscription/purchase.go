package subscription

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	"github.com/manas360/platform/services/subscription/gst"
)

// What a payment that a customer begins is for.
const (
	forSubscription = "subscription"
	forProduct      = "product"
	oneTime         = "ONE_TIME"
	paidState       = "PAID"
)

// purchase is one user's order of something sold once.
type purchase struct {
	ID          uuid.UUID
	UserID      uuid.UUID
	ProductCode string
	PlanVersion int32
	PriceID     uuid.UUID
	TotalMinor  int64
	State       string
	PaymentID   *uuid.UUID
	DueAt       *time.Time
	PaidAt      *time.Time
	CreatedAt   time.Time

	ProductName string
	Currency    string
	AmountMinor int64
	TaxMode     string
	TaxCategory string
	SACCode     string
}

func (p purchase) price() price {
	return price{Currency: p.Currency, AmountMinor: p.AmountMinor, TaxMode: p.TaxMode, TaxCategory: p.TaxCategory, SACCode: p.SACCode}
}

// prepared is an order and what it costs.
type prepared struct {
	ID       uuid.UUID
	Currency string
	Cycle    string
	Tax      gst.Split
}

// prepare makes the order that a payment is about to settle, or finds the open
// one of the same thing. failed, unless nil, is an order that no money will come
// for any more; it is closed first.
func (s *Service) prepare(ctx context.Context, userID uuid.UUID, purpose, code, cycle string, failed uuid.UUID) (prepared, error) {
	if failed != uuid.Nil {
		if err := s.giveUp(ctx, failed, userID); err != nil {
			return prepared{}, err
		}
	}
	p, err := s.catalog.sold(ctx, code)
	if err != nil {
		return prepared{}, err
	}
	if purpose == forProduct && p.Kind == kindPlan {
		return prepared{}, fail.New(fail.InvalidArgument, "%s is a plan", p.Name).Field("productCode", "is a plan, not a product")
	}
	if pr, ok := p.once(cycle); ok && purpose == forProduct {
		pur, err := s.placePurchase(ctx, userID, p, pr)
		return prepared{ID: pur.ID, Currency: pur.Currency, Cycle: oneTime, Tax: s.ownTax(pur.price())}, err
	}
	pr, err := p.orderable(cycle)
	if err != nil {
		return prepared{}, err
	}
	_, pay, err := s.place(ctx, userID, p, pr, wanted{PlanCode: code, Cycle: pr.Cycle})
	if err == nil && pay.Zero {
		err = fail.New(fail.Conflict, "there is nothing to pay")
	}
	return prepared{ID: pay.OrderID, Currency: pay.Currency, Cycle: pay.Cycle, Tax: pay.Tax}, err
}

// ownTax takes a price apart as sold in the supplier's own state: things bought
// once are not sold by the customer's.
func (s *Service) ownTax(pr price) gst.Split { return split(pr, s.supplier.State, s.supplier.State) }

// once finds the price of something that is sold once.
func (p plan) once(cycle string) (price, bool) {
	for _, pr := range p.Prices {
		if pr.Cycle == oneTime && (cycle == "" || cycle == oneTime) && pr.AmountMinor > 0 {
			return pr, true
		}
	}
	return price{}, false
}

// giveUp closes a user's open order; another's, and one that is not open, stays.
func (s *Service) giveUp(ctx context.Context, orderID, userID uuid.UUID) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		by := serviceActor("payment")
		sub, err := s.subscription(ctx, tx, orderID)
		if err == nil && sub.UserID == userID {
			return s.abandonIn(ctx, tx, orderID, "payment failed", by)
		}
		if err != nil && !errors.Is(err, errNone) {
			return err
		}
		pur, err := s.purchase(ctx, tx, orderID)
		if err == nil && pur.UserID == userID {
			return s.lapsePurchase(ctx, tx, orderID, by)
		}
		if errors.Is(err, errNone) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}

// placePurchase finds the user's open order of the product, or makes it.
func (s *Service) placePurchase(ctx context.Context, userID uuid.UUID, p plan, pr price) (pur purchase, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		if err := s.lockUser(ctx, tx, userID); err != nil {
			return err
		}
		if pur, err = s.openPurchase(ctx, tx, userID, p.Code); !errors.Is(err, errNone) {
			return err
		}
		now := s.now()
		due, purID := now.Add(openFor), s.ids.New()
		if err := s.insertPurchase(ctx, tx, purchase{
			ID: purID, UserID: userID, ProductCode: p.Code, PlanVersion: p.Version, PriceID: pr.ID, TotalMinor: s.ownTax(pr).Total(), DueAt: &due, CreatedAt: now,
		}); err != nil {
			return err
		}
		if pur, err = s.purchase(ctx, tx, purID); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditPurchase(ctx, trail.PurchaseStarted, actorOf(ctx), pur, now,
			change{"state", "", pur.State}, change{"productCode", "", pur.ProductCode}, change{"totalMinor", "", pur.TotalMinor}))
	})
	if err != nil {
		return purchase{}, err
	}
	s.outbox.Wake()
	return pur, nil
}

// deliver gives what was paid for, once, with its invoice.
func (s *Service) deliver(ctx context.Context, tx txn, pur purchase, c capture, by actor) error {
	if err := s.lockUser(ctx, tx, pur.UserID); err != nil {
		return err
	}
	pur, err := s.purchase(ctx, tx, pur.ID) // as it is now that nobody else may change it
	if err != nil {
		return err
	}
	if c.AmountMinor != pur.TotalMinor || c.Currency != pur.Currency || c.UserID != pur.UserID {
		return s.mistrustPurchase(ctx, pur, c, by)
	}
	now := s.now()
	done, err := s.invoiced(ctx, tx, c.PaymentID)
	if done || err != nil {
		return err
	}
	if pur.State == paidState { // by another payment: this one must go back
		zerolog.Ctx(ctx).Warn().Stringer("purchase_id", pur.ID).Msg("money for a purchase that is paid")
		return s.outbox.Append(ctx, tx, alsoPaid(auditPurchase(ctx, trail.PurchaseLatePayment, by, pur, now,
			change{"totalMinor", "", pur.TotalMinor}), c.PaymentID), giveBack(c.PaymentID, now))
	}
	// One that was closed for want of money is honoured when the money comes:
	// nothing else has taken its place.
	from := pur.State
	if err := s.payPurchase(ctx, tx, pur.ID, c.PaymentID, now); err != nil {
		return err
	}
	inv := s.billPurchase(pur, c.PaymentID, now)
	if err := s.insertDraft(ctx, tx, inv); err != nil {
		return err
	}
	if err := s.outbox.Append(ctx, tx,
		alsoPaid(auditPurchase(ctx, trail.PurchasePaid, by, pur, now, change{"state", from, paidState}), c.PaymentID)); err != nil {
		return err
	}
	return s.receipt(ctx, tx, subscription{ID: pur.ID, UserID: pur.UserID}, inv, c, by, now)
}

// mistrustPurchase refuses money that is not what the order asks for, as
// mistrust does.
func (s *Service) mistrustPurchase(ctx context.Context, pur purchase, c capture, by actor) error {
	zerolog.Ctx(ctx).Error().Stringer("purchase_id", pur.ID).Stringer("payment_id", c.PaymentID).
		Int64("want_minor", pur.TotalMinor).Int64("got_minor", c.AmountMinor).Str("currency", c.Currency).
		Msg("payment does not match its order")
	err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
		return s.outbox.Append(ctx, tx, alsoPaid(auditPurchase(ctx, trail.PaymentIntegrityFailed, by, pur, s.now(),
			change{"amountMinor", pur.TotalMinor, c.AmountMinor}), c.PaymentID))
	})
	if err != nil {
		return err
	}
	return fail.New(fail.InvalidArgument, "payment %s does not match order %s", c.PaymentID, pur.ID)
}

// lapsePurchase closes an order that nobody paid; one that is not open stays.
func (s *Service) lapsePurchase(ctx context.Context, tx txn, purID uuid.UUID, by actor) error {
	now := s.now()
	closed, err := s.expirePurchase(ctx, tx, purID, now)
	if err != nil || !closed {
		return err
	}
	pur, err := s.purchase(ctx, tx, purID)
	if err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, auditPurchase(ctx, trail.PurchaseExpired, by, pur, now, change{"state", pendingState, pur.State}))
}

// billPurchase makes the invoice of a paid purchase.
func (s *Service) billPurchase(pur purchase, paymentID uuid.UUID, now time.Time) invoice {
	return invoice{
		ID: s.ids.New(), UserID: pur.UserID, PurchaseID: &pur.ID, PaymentID: &paymentID, Kind: ofOrder,
		State: draftState, PlaceOfSupply: s.supplier.State, Currency: pur.Currency, IssuedAt: now,
		Lines: []invoiceLine{{Description: pur.ProductName, SACCode: pur.SACCode, AmountMinor: pur.TotalMinor}},
	}.taxedAs(s.ownTax(pur.price()))
}

// sweepPurchase closes an order nobody paid. While payment does not know
// whether money will come, it stays open.
func (s *Service) sweepPurchase(ctx context.Context, purID uuid.UUID) error {
	pay, err := s.payment.find(ctx, purID)
	switch {
	case errors.Is(err, errNone) || err == nil && pay.failed():
		err := s.db.InTx(ctx, func(ctx context.Context, tx txn) error {
			return s.lapsePurchase(ctx, tx, purID, serviceActor(schema))
		})
		s.outbox.Wake()
		return err
	case err != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Stringer("purchase_id", purID).Msg("payment does not answer")
		return s.postponePurchase(ctx, purID, s.now().Add(askSoon))
	default:
		return s.postponePurchase(ctx, purID, s.now().Add(askAgain))
	}
}
