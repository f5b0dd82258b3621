package payment

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// shopPeer is what payment asks of subscription.
type shopPeer struct {
	client subscriptionv1.PurchaseInternalServiceClient
}

func newShopPeer(conn grpc.ClientConnInterface) shopPeer {
	return shopPeer{client: subscriptionv1.NewPurchaseInternalServiceClient(conn)}
}

// prepare has the order made that the payment settles. Safe to repeat: the open
// order of the same thing is found again.
func (p shopPeer) prepare(ctx context.Context, b bought, failed uuid.UUID) (newPayment, error) {
	q := &subscriptionv1.PreparePurchaseRequest{
		UserId: b.UserID[:], Purpose: b.Purpose, ProductCode: b.ProductCode,
		Cycle: subscriptionv1.Price_Cycle(subscriptionv1.Price_Cycle_value[b.Cycle]),
	}
	if failed != uuid.Nil {
		q.FailedOrderId = failed[:]
	}
	r, err := p.client.PreparePurchase(ctx, q)
	if err != nil {
		return newPayment{}, fmt.Errorf("prepare the order of %s: %w", b.ProductCode, fail.FromError(err))
	}
	orderID, err := uuid.FromBytes(r.GetOrderId())
	if err != nil {
		return newPayment{}, fmt.Errorf("order of %s: %w", b.ProductCode, err)
	}
	t := r.GetTax()
	return newPayment{
		RequestID: orderID, UserID: b.UserID, Purpose: b.Purpose, ProductCode: b.ProductCode, Cycle: r.GetCycle().String(),
		AmountMinor: r.GetAmount().GetAmountMinor(), Currency: r.GetAmount().GetCurrencyCode(),
		TaxableMinor: t.GetTaxableMinor(), CGSTMinor: t.GetCgstMinor(), SGSTMinor: t.GetSgstMinor(), IGSTMinor: t.GetIgstMinor(), RoundOffMinor: t.GetRoundOffMinor(),
	}, nil
}
