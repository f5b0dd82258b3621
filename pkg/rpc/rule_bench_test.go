package rpc_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// BenchmarkAllow is one permission decision for a caller with many permissions.
func BenchmarkAllow(b *testing.B) {
	rule := &authzv1.Rule{Access: &authzv1.Rule_Permission{Permission: "users.manage"}}
	c := &token.Caller{UserID: uuid.New(), SessionID: uuid.New(), AMR: []string{"pwd", "otp"}, AuthTime: time.Now(), Permissions: []string{
		"audit.read", "payments.manage", "payments.read", "plans.manage", "profile.read", "profile.update", "roles.manage", "subscriptions.manage", "system.read", "users.manage",
	}}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if err := rpc.Allow(rule, c, now); err != nil {
			b.Fatal(err)
		}
	}
}
