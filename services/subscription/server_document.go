package subscription

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func (s *publicServer) GetInvoicePdf(ctx context.Context, r *subscriptionv1.GetInvoicePdfRequest) (*subscriptionv1.GetInvoicePdfResponse, error) {
	inv, err := s.ownInvoice(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	if inv.Number == nil {
		return nil, fail.New(fail.NotFound, "a draft has no paper")
	}
	var original *invoice
	if inv.Corrects != nil {
		of, err := s.invoice(ctx, inv.UserID, *inv.Corrects)
		if err != nil && !errors.Is(err, errNone) {
			return nil, err
		}
		original = &of
	}
	var out bytes.Buffer
	if err := s.paper(&out, inv, original, language(ctx)); err != nil {
		return nil, fmt.Errorf("draw invoice %s: %w", inv.ID, err)
	}
	return &subscriptionv1.GetInvoicePdfResponse{Pdf: &httpbody.HttpBody{ContentType: "application/pdf", Data: out.Bytes()}}, nil
}

// language is the first that the caller accepts.
func language(ctx context.Context) string {
	v := metadata.ValueFromIncomingContext(ctx, "accept-language")
	if len(v) > 0 && strings.HasPrefix(strings.ToLower(strings.TrimSpace(v[0])), "hi") {
		return "hi"
	}
	return "en"
}
