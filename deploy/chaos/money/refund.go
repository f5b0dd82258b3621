package money

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// GiveBack asks payment for a part of a captured payment back, as admin does.
// Repeated with the same request it must move the money once.
type GiveBack func(ctx context.Context, request uuid.UUID, paymentID string, minor int64) error

const (
	refundWithin = 15 * time.Minute // a payment whose callback was lost is SUCCEEDED only after 22 s, or many minutes later under load
	paysUp       = 75               // percent of customers, at least
	patient      = 100              // refunds; a shorter run, once it has enough, does not wait for keys of the dead
	enough       = 15
)

// refunder gives money back as an administrator does, under a key that makes it
// repeatable.
func (r *run) refunder() (GiveBack, error) {
	conn, err := r.dial("admin")
	if err != nil {
		return nil, err
	}
	r.wires.ends = append(r.wires.ends, conn)
	client := paymentv1.NewRefundInternalServiceClient(conn)
	r.approve = func(ctx context.Context, refundID uuid.UUID) error {
		_, err := client.DecideRefund(asAdmin(ctx, r.Now(), 2), &paymentv1.DecideRefundRequest{RefundId: refundID[:], Approve: true, Reason: "the chaos wants it back"})
		if fail.Is(fail.FromError(err), fail.Conflict) { // the answer to the first decision was lost
			return nil
		}
		return err //nolint:wrapcheck // the caller reads its reason
	}
	return func(ctx context.Context, request uuid.UUID, paymentID string, minor int64) error {
		a, err := client.RequestRefund(asAdmin(ctx, r.Now(), 1, "idempotency-key", request.String()), &paymentv1.RequestRefundRequest{
			PaymentId: paymentID, Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: minor}, Reason: "the chaos wants it back",
		})
		if err != nil || a.GetRefund().GetState() != paymentv1.Refund_REQUESTED {
			return err //nolint:wrapcheck // the caller reads its reason
		}
		refundID, err := id.Parse("rfd", a.GetRefund().GetId())
		if err != nil {
			return err //nolint:wrapcheck // payment's ids are well formed
		}
		return r.approve(ctx, refundID)
	}, nil
}

// regret lets some who paid ask for money back, whole or in part, until they
// are answered. It takes a customer of its own: the next one need not wait.
func (c customer) regret(ctx context.Context, paymentID string) {
	if c.Refunds == 0 || c.luck*paysUp*int64(c.Payments) >= 100*100*int64(c.Refunds) || c.asked.Add(1) > int64(c.Refunds) {
		return
	}
	request := c.request
	binary.BigEndian.PutUint64(request[:8], ^binary.BigEndian.Uint64(request[:8])) // another, and the same at every run
	minor := max(c.amount*c.part/100, 100)
	if c.part > 80 {
		minor = c.amount
	}
	c.regrets.Go(func() {
		began := c.Now()
		for {
			call, cancel := context.WithTimeout(ctx, callLimit)
			err := c.giveBack(call, request, paymentID, minor)
			cancel()
			if err == nil {
				c.tally.note("asked for money back")
				c.given.Add(1)
				return
			}
			// It is not captured as far as payment knows; soon it is.
			soon := fail.Is(fail.FromError(err), fail.RefundNotAllowed) && c.Now().Sub(began) < refundWithin
			busy := fail.Is(fail.FromError(err), fail.IdempotencyInProgress) // by who was killed: it holds the key for a while
			if busy && c.Refunds < patient && c.given.Load() >= enough {
				c.tally.note("asked for money back, and did not wait")
				return
			}
			if !soon && !busy {
				c.refused("refund of", err)
			}
			wait := 2 * repeatWait
			if busy {
				wait = time.Second
			}
			if !pause(ctx, wait) {
				return
			}
		}
	})
}

// approveAll decides on the refunds whose customers did not wait to hear that
// they need a second administrator.
func (r *run) approveAll(ctx context.Context) error {
	for {
		waiting, err := r.waiting(ctx)
		if err != nil || len(waiting) == 0 {
			return err
		}
		for _, refundID := range waiting {
			if err := r.approve(ctx, refundID); err != nil {
				return err
			}
		}
	}
}

// asAdmin makes the call one of an administrator's, with a second factor.
func asAdmin(ctx context.Context, now time.Time, admin byte, kv ...string) context.Context {
	caller := &token.Caller{
		UserID: uuid.UUID{admin}, SessionID: uuid.UUID{admin, 1}, Roles: []string{"admin"}, Permissions: []string{"payments.manage"},
		AMR: []string{"pwd", "otp", "mfa"}, AuthTime: now, RequestID: "chaos",
	}
	return metadata.AppendToOutgoingContext(ctx, append(kv, token.MetadataKey, string(caller.Marshal()))...)
}
