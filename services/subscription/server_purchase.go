package subscription

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/page"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

type purchaseServer struct {
	subscriptionv1.UnimplementedPurchaseServiceServer
	*Service
}

func (s *purchaseServer) ListPurchases(ctx context.Context, r *subscriptionv1.ListPurchasesRequest) (*subscriptionv1.ListPurchasesResponse, error) {
	caller, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	query := "purchases " + caller.UserID.String()
	before, err := s.before(query, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := page.Size(r.GetPageSize())
	list, err := s.purchases(ctx, caller.UserID, before, size+1)
	if err != nil {
		return nil, err
	}
	out := &subscriptionv1.ListPurchasesResponse{}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = s.pages.Seal(query, list[size-1].ID)
	}
	for _, p := range list {
		out.Purchases = append(out.Purchases, packPurchase(p))
	}
	return out, nil
}

func packPurchase(p purchase) *subscriptionv1.Purchase {
	m := &subscriptionv1.Purchase{
		Id: id.Format("pur", p.ID), ProductCode: p.ProductCode, State: subscriptionv1.Purchase_State(subscriptionv1.Purchase_State_value[p.State]),
		Amount: money(p.Currency, p.TotalMinor), CreatedAt: timestamppb.New(p.CreatedAt),
	}
	if p.PaymentID != nil {
		pay := id.Format("pay", *p.PaymentID)
		m.PaymentId = &pay
	}
	if p.PaidAt != nil {
		m.PaidAt = timestamppb.New(*p.PaidAt)
	}
	return m
}

type purchaseInternalServer struct {
	subscriptionv1.UnimplementedPurchaseInternalServiceServer
	*Service
}

func (s *purchaseInternalServer) PreparePurchase(ctx context.Context, r *subscriptionv1.PreparePurchaseRequest) (*subscriptionv1.PreparePurchaseResponse, error) {
	userID, err := personOf(r.GetUserId())
	if err != nil {
		return nil, err
	}
	var failed uuid.UUID
	if len(r.GetFailedOrderId()) > 0 {
		if failed, err = uuid.FromBytes(r.GetFailedOrderId()); err != nil {
			return nil, fail.New(fail.InvalidArgument, "the order's id is malformed").Wrap(err)
		}
	}
	cycle := ""
	if r.GetCycle() != subscriptionv1.Price_CYCLE_UNSPECIFIED {
		cycle = r.GetCycle().String()
	}
	o, err := s.prepare(ctx, userID, r.GetPurpose(), r.GetProductCode(), cycle, failed)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.PreparePurchaseResponse{
		OrderId: o.ID[:], Amount: money(o.Currency, o.Tax.Total()), Cycle: packCycle(o.Cycle), Tax: packTax(o.Tax),
	}, nil
}
