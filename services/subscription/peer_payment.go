package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	"github.com/manas360/platform/services/subscription/gst"
)

const defaultProvider = "phonepe"

// paymentPeer is what subscription asks of payment.
type paymentPeer struct {
	client   paymentv1.PaymentInternalServiceClient
	mandates paymentv1.MandateInternalServiceClient
}

func newPaymentPeer(conn grpc.ClientConnInterface) paymentPeer {
	return paymentPeer{client: paymentv1.NewPaymentInternalServiceClient(conn), mandates: paymentv1.NewMandateInternalServiceClient(conn)}
}

// setUp opens the payment of an order by which the customer consents to its
// renewals. Safe to repeat, as open is.
func (p paymentPeer) setUp(ctx context.Context, o payable) (payment, error) {
	r, err := p.mandates.SetUpMandate(ctx, &paymentv1.SetUpMandateRequest{
		RequestId: o.OrderID[:], UserId: o.UserID[:], ProductCode: o.ProductCode, Provider: defaultProvider,
		Amount: &typev1.Money{CurrencyCode: o.Currency, AmountMinor: o.Tax.Total()}, Tax: packTax(o.Tax),
		MaxAmount: &typev1.Money{CurrencyCode: o.Currency, AmountMinor: o.MaxMinor}, AmountType: paymentv1.Mandate_VARIABLE,
		Frequency: paymentv1.Mandate_Frequency(paymentv1.Mandate_Frequency_value[o.Cycle]),
	})
	if err != nil {
		return payment{}, fmt.Errorf("set up the mandate of order %s: %w", o.OrderID, fail.FromError(err))
	}
	return unpackPayment(r.GetPayment())
}

// debit promises one debit of a mandate, of which the customer is told now. Safe
// to repeat.
func (p paymentPeer) debit(ctx context.Context, mandateID uuid.UUID, o payable, now time.Time) (payment, error) {
	r, err := p.mandates.ScheduleDebit(ctx, &paymentv1.ScheduleDebitRequest{
		MandateId: mandateID[:], RequestId: o.OrderID[:], ProductCode: o.ProductCode, DueAt: timestamppb.New(now),
		Amount: &typev1.Money{CurrencyCode: o.Currency, AmountMinor: o.Tax.Total()}, Tax: packTax(o.Tax),
	})
	if err != nil {
		return payment{}, fmt.Errorf("schedule the debit of order %s: %w", o.OrderID, fail.FromError(err))
	}
	return unpackPayment(r.GetPayment())
}

// endMandate ends a mandate. One that is not there has ended.
func (p paymentPeer) endMandate(ctx context.Context, mandateID uuid.UUID) error {
	_, err := p.mandates.EndMandate(ctx, &paymentv1.EndMandateRequest{MandateId: mandateID[:]})
	if err == nil || fail.Is(fail.FromError(err), fail.NotFound) {
		return nil
	}
	return fmt.Errorf("end mandate %s: %w", mandateID, fail.FromError(err))
}

// open opens the payment of an order, or finds the one there is. Safe to
// repeat: the order's id is the request's. Never call it in a transaction.
func (p paymentPeer) open(ctx context.Context, o payable, provider string) (payment, error) {
	if provider == "" {
		provider = defaultProvider
	}
	r, err := p.client.CreatePayment(ctx, &paymentv1.CreatePaymentRequest{
		RequestId: o.OrderID[:], UserId: o.UserID[:], Purpose: "subscription", ProductCode: o.ProductCode, Provider: provider, Cycle: o.Cycle,
		Amount: &typev1.Money{CurrencyCode: o.Currency, AmountMinor: o.Tax.Total()}, Tax: packTax(o.Tax),
	})
	if err != nil {
		return payment{}, fmt.Errorf("open payment of order %s: %w", o.OrderID, fail.FromError(err))
	}
	return unpackPayment(r.GetPayment())
}

func packTax(t gst.Split) *typev1.TaxBreakdown {
	return &typev1.TaxBreakdown{
		TaxableMinor: t.Taxable, CgstMinor: t.CGST, SgstMinor: t.SGST, IgstMinor: t.IGST, RoundOffMinor: t.RoundOff,
	}
}

// find reads the payment of an order; errNone when none was opened.
func (p paymentPeer) find(ctx context.Context, orderID uuid.UUID) (payment, error) {
	r, err := p.client.FindPayment(ctx, &paymentv1.FindPaymentRequest{RequestId: orderID[:]})
	if err != nil {
		err = fail.FromError(err)
		if fail.Is(err, fail.NotFound) {
			return payment{}, errNone
		}
		return payment{}, fmt.Errorf("find payment of order %s: %w", orderID, err)
	}
	return unpackPayment(r.GetPayment())
}

func unpackPayment(m *paymentv1.Payment) (payment, error) {
	payID, err := id.Parse("pay", m.GetId())
	if err != nil {
		return payment{}, fmt.Errorf("unpack payment: %w", err)
	}
	return payment{
		ID: payID, State: m.GetState().String(), RedirectURL: m.GetRedirectUrl(),
		AmountMinor: m.GetAmount().GetAmountMinor(), Currency: m.GetAmount().GetCurrencyCode(),
	}, nil
}

// captured unpacks the event of money that moved.
func captured(m *paymentv1.PaymentStateChanged) (capture, error) {
	c := capture{
		AmountMinor: m.GetAmount().GetAmountMinor(), Currency: m.GetAmount().GetCurrencyCode(), RefundedMinor: m.GetRefundedAmount().GetAmountMinor(),
	}
	for _, f := range []struct {
		into *uuid.UUID
		from []byte
	}{{&c.OrderID, m.GetRequestId()}, {&c.PaymentID, m.GetPaymentId()}, {&c.UserID, m.GetUserId()}} {
		var err error
		if *f.into, err = uuid.FromBytes(f.from); err != nil {
			return capture{}, fail.New(fail.InvalidArgument, "an id of the event is malformed").Wrap(err)
		}
	}
	if m.GetPaidAt().IsValid() {
		c.PaidAt = m.GetPaidAt().AsTime()
	}
	return c, nil
}

// giveBack asks payment to return money that nothing can be given for. payment
// does it once, however often it is asked.
func giveBack(paymentID uuid.UUID, now time.Time) outbox.Event {
	return outbox.Event{
		Key: id.Format("pay", paymentID), Destinations: []string{"payment"}, OccurredAt: now,
		Payload: &paymentv1.RefundRequested{PaymentId: paymentID[:], Reason: "late_capture"},
	}
}
