package token_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/token"
)

func fullCaller() *token.Caller {
	calls := int64(-1)
	return &token.Caller{
		UserID: uuid.UUID{1}, SessionID: uuid.UUID{2}, Roles: []string{"user"}, Permissions: []string{"a.b"},
		Plan: "free", Features: []string{"mood"}, Epoch: 7, AMR: []string{"pwd", "otp"},
		AuthTime: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ClientIP: "127.0.0.9", UserAgent: "x", RequestID: "r",
		MFAPending: true, Raw: "a.b.c", Locale: "hi", LegalPending: true,
		EntitledUntil: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), APICalls: &calls,
	}
}

func TestCallerRoundTrip(t *testing.T) {
	for _, want := range []*token.Caller{fullCaller(), {}, {ClientIP: "::1"}} {
		got, err := token.Unmarshal(want.Marshal())
		if err != nil {
			t.Fatalf("Unmarshal: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("caller (-want +got):\n%s", diff)
		}
	}
	if _, err := token.Unmarshal((&token.Caller{UserAgent: "\xff"}).Marshal()); err == nil {
		t.Error("half a caller was read")
	}
}

func TestCallerFacts(t *testing.T) {
	var nobody *token.Caller
	if nobody.Has("a.b") || nobody.SignedIn() || nobody.HasSecondFactor() || (&token.Caller{}).SignedIn() {
		t.Error("nobody may do something")
	}
	c := fullCaller()
	if !c.Has("a.b") || c.Has("a") || c.Has("") || !c.HasSecondFactor() || !c.SignedIn() {
		t.Errorf("facts of %+v are wrong", c)
	}
	if end := c.EntitledUntil; c.EntitlementEnded(end.Add(-time.Second)) || !c.EntitlementEnded(end) || (&token.Caller{}).EntitlementEnded(end) || nobody.EntitlementEnded(end) {
		t.Error("the plan ends at the wrong time")
	}
	if got, ok := token.FromContext(token.NewContext(context.Background(), c)); !ok || got != c {
		t.Error("the context lost the caller")
	}
	if _, ok := token.FromContext(token.NewContext(context.Background(), nil)); ok {
		t.Error("a nil caller was found")
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(fullCaller().Marshal())
	f.Add([]byte{0x0a, 0x01, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := token.Unmarshal(b)
		if err != nil {
			return
		}
		again, err := token.Unmarshal(c.Marshal())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("caller (-first +second):\n%s", diff)
		}
	})
}
