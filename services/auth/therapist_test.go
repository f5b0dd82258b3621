package auth

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/outbox"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// TestTherapistRole gives the role on user's word and takes it again; each time
// the tokens that are out go stale, and repeated news changes nothing.
func TestTherapistRole(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	asha := someone(b.as(g.GetAccessToken())).UserID
	from := "user"
	in := outbox.NewInbox(b.db, schema, b.now, func(context.Context) string { return from }, b.handlers())
	tell := func(user uuid.UUID, verified bool) eventv1.DeliverResponse_Result_Outcome {
		payload, err := proto.Marshal(&userv1.TherapistVerified{UserId: user[:], Verified: verified})
		if err != nil {
			t.Fatal(err)
		}
		evID := uuid.Must(uuid.NewV7())
		got, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{{
			Id: evID[:], Type: "manas.user.v1.TherapistVerified", Payload: payload, OccurredAt: timestamppb.New(b.now()), RequestId: "req-9",
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetResults()[0].GetOutcome()
	}
	before, err := b.getAccount(t.Context(), asha)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		verified bool
		raised   int64
		roles    []string
	}{
		{false, 0, []string{"user"}},
		{true, 1, []string{"therapist", "user"}},
		{true, 1, []string{"therapist", "user"}},
		{false, 2, []string{"user"}},
	} {
		if got := tell(asha, tt.verified); got != eventv1.DeliverResponse_Result_APPLIED {
			t.Fatalf("news %d: %v", i, got)
		}
		acc, err := b.getAccount(t.Context(), asha)
		if err != nil || !slices.Equal(acc.Roles, tt.roles) || acc.Epoch != before.Epoch+tt.raised || acc.Version != before.Version+tt.raised {
			t.Errorf("news %d: roles %v, epoch %d, version %d, %v", i, acc.Roles, acc.Epoch, acc.Version, err)
		}
	}
	var actions []string
	for _, ev := range b.audited() {
		if ev.GetActor().GetType() == "service" {
			actions = append(actions, ev.GetAction())
			if ev.GetRequestId() != "req-9" {
				t.Errorf("%s has request id %q", ev.GetAction(), ev.GetRequestId())
			}
		}
	}
	if !slices.Equal(actions, []string{"role.granted", "role.revoked"}) {
		t.Errorf("on record: %v", actions)
	}
	if got := tell(uuid.New(), true); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("of nobody: %v", got)
	}
	from = "payment"
	if got := tell(asha, true); got != eventv1.DeliverResponse_Result_REJECTED {
		t.Errorf("from another service: %v", got)
	}
}
