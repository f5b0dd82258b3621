package gateway

import (
	"net/http"
	"strings"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

const (
	maxSignatureHeader  = 4 << 10
	maxSignatureHeaders = 32
)

// webhookRoutes take providers' callbacks. They need no token: the signature is
// the proof, over the bytes as they came.
func (e *Edge) webhookRoutes() error {
	for _, pattern := range []string{apiBase + "/payments/webhooks/{provider}", apiBase + "/payments/webhook"} {
		err := e.routes.add(&route{
			method: http.MethodPost, pattern: pattern, rule: publicRule, raw: true, serve: e.webhook,
			rpc: paymentv1.PaymentInternalService_ReceiveEvent_FullMethodName,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// webhookCharges count callbacks with bad signatures only: shedding a genuine
// one would lose news of money.
func webhookCharges(prefix string, q *request) []charge {
	return []charge{newCharge(prefix, limitBadWebhook, "a:"+limitKey(q.client))}
}

func (e *Edge) webhook(w http.ResponseWriter, r *http.Request, params map[string]string) {
	q := requestOf(r.Context())
	provider, ok := params["provider"]
	if !ok {
		provider = "phonepe" // the old path knew no other
	}
	if len(provider) > 32 { // the contract's bound; no such provider anyway
		e.problem(w, r, fail.New(fail.NotFound, "no such provider"))
		return
	}
	body, err := readBody(w, r, maxWebhookBody)
	if err != nil {
		e.problem(w, r, err)
		return
	}
	ctx := token.NewContext(rpc.WithRequestID(r.Context(), q.id), q.caller)
	answer, err := e.payments.ReceiveEvent(ctx, &paymentv1.ReceiveEventRequest{
		Provider: provider, Body: body, Headers: signatureHeaders(r.Header),
	})
	if err != nil {
		if p := asProblem(err); p.Kind.Reason == fail.InvalidSignature.Reason {
			if limited := e.limit(w, r, webhookCharges(e.prefix, q)); limited != nil {
				err = limited
				e.refusedAt(r.Method, q, err)
			}
		}
		e.problem(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Received  bool `json:"received"`
		Duplicate bool `json:"duplicate"`
	}{true, answer.GetDuplicate()})
}

// signatureHeaders picks the headers that providers sign with, by lower-case
// name. Values that are not text of a bearable size stay out.
func signatureHeaders(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		name = strings.ToLower(name)
		value := strings.Join(values, ",")
		if !signs(name) || len(value) > maxSignatureHeader || !printable(value) || len(out) == maxSignatureHeaders {
			continue
		}
		out[name] = value
	}
	return out
}

func signs(name string) bool {
	switch name {
	case "authorization", "x-verify", "x-signature", "x-timestamp", "x-event-id", "stripe-signature":
		return true
	default:
		return strings.HasPrefix(name, "x-webhook-") || strings.HasPrefix(name, "x-razorpay-")
	}
}
