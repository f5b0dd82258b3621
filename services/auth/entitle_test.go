package auth

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/outbox"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

// Tokens say when the plan ends, those of keys also how many calls it allows;
// until subscription has told, neither says anything.
func TestTokensSayWhatThePlanAllows(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	asha := someone(b.as(g.GetAccessToken())).UserID
	key := b.mustKey(g.GetAccessToken()).GetSecret()
	in := outbox.NewInbox(b.db, schema, b.now, func(context.Context) string { return "subscription" }, b.handlers())
	tell := func(m *subscriptionv1.EntitlementChanged) {
		t.Helper()
		m.UserId = asha[:]
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		evID := b.ids.New()
		r, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{{
			Id: evID[:], Type: "manas.subscription.v1.EntitlementChanged", Payload: payload, OccurredAt: timestamppb.New(b.now()),
		}}})
		if err != nil || r.GetResults()[0].GetOutcome() != eventv1.DeliverResponse_Result_APPLIED {
			t.Fatalf("deliver: %v, %v", r, err)
		}
	}
	check := func(until, calls int64) {
		t.Helper()
		r, err := b.tryRefresh(g.GetRefreshToken())
		if err != nil {
			t.Fatal(err)
		}
		g = r
		person, err := b.keys.verifier.Verify(r.GetAccessToken())
		if err != nil || person.EntitledUntil != until || person.APICalls != nil {
			t.Errorf("a person's token: until %d, calls %v, %v; want %d, none", person.EntitledUntil, person.APICalls, err, until)
		}
		program, err := b.exchange(key)
		if err != nil || program.EntitledUntil != until || calls == 0 != (program.APICalls == nil) || calls != 0 && *program.APICalls != calls {
			t.Errorf("a key's token: %+v, %v; want until %d, calls %d", program, err, until, calls)
		}
	}
	check(0, 0)
	ends := b.now().Add(30*24*time.Hour + 700*time.Millisecond)
	tell(&subscriptionv1.EntitlementChanged{Epoch: 2, Plan: "premium", EndsAt: timestamppb.New(ends), Limits: map[string]int64{"api_calls": 100_000, "users": 10}})
	check(ends.Unix(), 100_000)
	tell(&subscriptionv1.EntitlementChanged{Epoch: 3, Plan: "enterprise", EndsAt: timestamppb.New(ends), Limits: map[string]int64{"api_calls": -1}})
	check(ends.Unix(), -1)
	tell(&subscriptionv1.EntitlementChanged{Epoch: 4, Plan: "free", Limits: map[string]int64{"api_calls": 100}})
	check(0, 100)
}
