package rpc_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

func TestAllow(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	authenticated := func(change func(*authzv1.Rule)) *authzv1.Rule {
		r := &authzv1.Rule{Access: &authzv1.Rule_Authenticated{Authenticated: true}}
		change(r)
		return r
	}
	stepUp := authenticated(func(r *authzv1.Rule) { r.StepUpSeconds = 300 })
	mfa := authenticated(func(r *authzv1.Rule) { r.Mfa = true })
	enrol := authenticated(func(r *authzv1.Rule) { r.Enrolment = true })
	user := func(age time.Duration, pending bool, amr ...string) *token.Caller {
		return &token.Caller{UserID: uuid.UUID{1}, Permissions: []string{"a.b"}, AMR: amr, AuthTime: now.Add(-age), MFAPending: pending}
	}
	owing := user(0, false, "pwd")
	owing.LegalPending = true
	acting := user(0, false, "pwd", "otp")
	acting.Impersonator = uuid.UUID{9}
	for _, tt := range []struct {
		name   string
		rule   *authzv1.Rule
		caller *token.Caller
		want   string // reason, empty for success
	}{
		{"no rule", nil, user(0, false), "PERMISSION_DENIED"},
		{"empty rule", &authzv1.Rule{}, user(0, false), "PERMISSION_DENIED"},
		{"false authenticated", &authzv1.Rule{Access: &authzv1.Rule_Authenticated{}}, user(0, false), "PERMISSION_DENIED"},
		{"empty permission", permission(""), user(0, false), "PERMISSION_DENIED"},
		{"has", permission("a.b"), user(0, false, "pwd"), ""},
		{"has not", permission("a.c"), user(0, false, "pwd"), "PERMISSION_DENIED"},
		{"pending has", permission("a.b"), user(0, true, "pwd"), "MFA_REQUIRED"},
		{"pending has not", permission("a.c"), user(0, true, "pwd"), "MFA_REQUIRED"},
		{"pending enrols", enrol, user(0, true, "pwd"), ""},
		{"nobody enrols", enrol, nil, "UNAUTHENTICATED"},
		{"password alone", mfa, user(0, false, "pwd"), "MFA_REQUIRED"},
		{"one-time code", mfa, user(0, false, "pwd", "otp"), ""},
		{"mailed code alone", mfa, user(0, false, "otp"), "MFA_REQUIRED"}, // identity.md row 50
		{"hardware key", mfa, user(0, false, "hwk"), ""},
		{"recovery code", mfa, user(0, false, "pwd", "mfa"), ""},
		{"fresh", stepUp, user(300*time.Second, false), ""},
		{"old", stepUp, user(301*time.Second, false), "STEP_UP_REQUIRED"},
		{"key with the permission", permission("a.b"), user(0, false, token.APIKey), ""},
		{"key without the permission", permission("a.c"), user(0, false, token.APIKey), "PERMISSION_DENIED"},
		{"key where a person is meant", authenticated(func(*authzv1.Rule) {}), user(0, false, token.APIKey), "PERMISSION_DENIED"},
		{"key where keys may", authenticated(func(r *authzv1.Rule) { r.ApiKey = true }), user(0, false, token.APIKey), ""},
		{"key at a recent sign-in", authenticated(func(r *authzv1.Rule) { r.ApiKey, r.StepUpSeconds = true, 600 }), user(0, false, token.APIKey), "PERMISSION_DENIED"},
		{"key at a second factor", authenticated(func(r *authzv1.Rule) { r.ApiKey, r.Mfa = true, true }), user(0, false, token.APIKey, "mfa"), "PERMISSION_DENIED"},
		{"legal owed", permission("a.b"), owing, "LEGAL_ACCEPTANCE_REQUIRED"},
		{"legal owed, lacks the permission", permission("a.c"), owing, "LEGAL_ACCEPTANCE_REQUIRED"},
		{"legal owed, open before", authenticated(func(r *authzv1.Rule) { r.BeforeLegal = true }), owing, ""},
		{"legal owed, enrols", enrol, owing, ""},
		{"legal owed, public", &authzv1.Rule{Access: &authzv1.Rule_Public{Public: true}}, owing, ""},
		{"in another's name", permission("a.b"), acting, ""},
		{"in another's name, closed", authenticated(func(r *authzv1.Rule) { r.NoImpersonation = proto.Bool(true) }), acting, "PERMISSION_DENIED"},
		{"in another's name, nobody decided, sensitive", authenticated(func(r *authzv1.Rule) { r.Sensitive = true }), acting, "PERMISSION_DENIED"},
		{"in another's name, nobody decided, fresh", stepUp, acting, "PERMISSION_DENIED"},
		{"in another's name, nobody decided, factor", mfa, acting, "PERMISSION_DENIED"},
		{"in another's name, open", authenticated(func(r *authzv1.Rule) { r.NoImpersonation = proto.Bool(false) }), acting, ""},
		{"oneself, closed", authenticated(func(r *authzv1.Rule) { r.NoImpersonation = proto.Bool(true) }), user(0, false, "pwd"), ""},
		{"never authenticated", stepUp, &token.Caller{UserID: uuid.UUID{1}}, "STEP_UP_REQUIRED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(rpc.Allow(tt.rule, tt.caller, now)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
