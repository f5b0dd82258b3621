package rpc

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

const edge = "gateway"

var rules sync.Map // full method -> *authzv1.Rule; only methods that have one

// Rule gives the access rule of "/package.Service/Method" from its descriptor.
// There is none for an unknown method and for one whose contract forgot it:
// both are refused.
func Rule(fullMethod string) (*authzv1.Rule, bool) {
	if r, ok := rules.Load(fullMethod); ok {
		rule, isRule := r.(*authzv1.Rule)
		return rule, isRule
	}
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok {
		return nil, false
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return nil, false
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok || !proto.HasExtension(m.Options(), authzv1.E_Rule) {
		return nil, false
	}
	rule, ok := proto.GetExtension(m.Options(), authzv1.E_Rule).(*authzv1.Rule)
	if !ok || rule == nil {
		return nil, false
	}
	rules.Store(fullMethod, rule)
	return rule, true
}

// Allow decides what rule says about the caller alone: everything but peers and
// the bearer of sensitive methods. The edge asks it before it forwards, the
// service asks again. A nil caller is nobody.
func Allow(rule *authzv1.Rule, caller *token.Caller, now time.Time) error {
	permission := ""
	switch access := rule.GetAccess().(type) {
	case *authzv1.Rule_Public:
		if !access.Public {
			return denied()
		}
		return nil
	case *authzv1.Rule_Internal:
		if !access.Internal {
			return denied()
		}
		return nil
	case *authzv1.Rule_Authenticated:
		if !access.Authenticated {
			return denied()
		}
	case *authzv1.Rule_Permission:
		if access.Permission == "" {
			return denied()
		}
		permission = access.Permission
	default:
		return denied()
	}
	if !caller.SignedIn() {
		return fail.New(fail.Unauthenticated, "sign-in required")
	}
	if caller.ByAPIKey() && !openToKeys(rule, permission) {
		return fail.New(fail.PermissionDenied, "no API key may do this")
	}
	if caller.Impersonated() && closedToImpersonation(rule) {
		return fail.New(fail.PermissionDenied, "not while acting in another's name")
	}
	if caller.MFAPending && !rule.GetEnrolment() {
		return fail.New(fail.MFARequired, "a second factor is required")
	}
	if caller.LegalPending && !rule.GetBeforeLegal() && !rule.GetEnrolment() {
		return fail.New(fail.LegalAcceptanceRequired, "accept the current terms and privacy notice first, see /legal/required")
	}
	if permission != "" && !caller.Has(permission) {
		return denied()
	}
	if rule.GetMfa() && !caller.HasSecondFactor() {
		return fail.New(fail.MFARequired, "a second factor is required")
	}
	if limit := time.Duration(rule.GetStepUpSeconds()) * time.Second; limit > 0 && now.Sub(caller.AuthTime) > limit {
		return fail.New(fail.StepUpRequired, "a recent sign-in is required")
	}
	return nil
}

// openToKeys reports whether an API key may call: what asks for a permission,
// which a key can hold, or says so itself; never what asks for a person.
func openToKeys(rule *authzv1.Rule, permission string) bool {
	return !rule.GetMfa() && rule.GetStepUpSeconds() == 0 && (permission != "" || rule.GetApiKey())
}

// closedToImpersonation reads the rule's decision. Where nobody has made one,
// what asks for more than a session is closed.
func closedToImpersonation(rule *authzv1.Rule) bool {
	if rule.NoImpersonation != nil {
		return rule.GetNoImpersonation()
	}
	return rule.GetSensitive() || rule.GetMfa() || rule.GetStepUpSeconds() > 0
}

func denied() error { return fail.New(fail.PermissionDenied, "permission denied") }

// guard enforces rules at a service.
type guard struct {
	process  *boot.Process
	verifier *token.Verifier
}

// check decides about a call and gives the context its handler runs with.
func (g *guard) check(ctx context.Context, method string) (context.Context, error) {
	rule, ok := Rule(method)
	if !ok || !allowedPeer(rule, Peer(ctx)) {
		return ctx, denied()
	}
	caller, _ := token.FromContext(ctx)
	now := g.process.Now()
	if err := Allow(rule, caller, now); err != nil || !rule.GetSensitive() {
		return ctx, err
	}
	own, err := g.verifyBearer(ctx, caller)
	if err != nil {
		return ctx, err
	}
	if err := Allow(rule, own, now); err != nil {
		return ctx, err
	}
	return token.NewContext(ctx, own), nil
}

// allowedPeer reports whether the process at the other end may call: for
// internal methods the listed ones alone, for the others the edge as well.
func allowedPeer(rule *authzv1.Rule, peer string) bool {
	if peer == "" {
		return false
	}
	if slices.Contains(rule.GetPeers(), peer) {
		return true
	}
	return !rule.GetInternal() && peer == edge
}

// verifyBearer makes sure that a compromised peer cannot act for anybody it has
// no live token of, nor for more than that token says: it gives the caller that
// the token itself stands for. What roles give by now is this process's own
// table's word, which must be as new as the peer's; a process without a table
// takes the peer's.
func (g *guard) verifyBearer(ctx context.Context, caller *token.Caller) (*token.Caller, error) {
	if g.verifier == nil {
		return nil, fail.New(fail.Internal, "sensitive method served without a verifier")
	}
	if !g.verifier.Ready() {
		return nil, fail.New(fail.Unavailable, "signing keys not loaded yet").RetryAfter(time.Second)
	}
	if !caller.SignedIn() {
		return nil, fail.New(fail.Unauthenticated, "sign-in required")
	}
	claims, err := g.verifier.VerifyForwarded(ctx, caller.Raw)
	if err != nil {
		return nil, err //nolint:wrapcheck // already what the caller must see
	}
	current := g.verifier.ReachRoles(ctx, caller.RolesEpoch)
	if !current && g.verifier.HasSource() {
		return nil, fail.New(fail.Unavailable, "roles are being loaded").RetryAfter(time.Second)
	}
	own, err := g.verifier.Caller(claims)
	if err != nil {
		return nil, err //nolint:wrapcheck // already what the caller must see
	}
	if own.UserID != caller.UserID {
		return nil, fail.New(fail.InvalidToken, "invalid token")
	}
	if !current {
		own.Permissions, own.RolesEpoch = caller.Permissions, caller.RolesEpoch
		own.MFAPending = own.MFAPending || caller.MFAPending
	}
	own.ClientIP, own.UserAgent, own.RequestID, own.Locale, own.Raw = caller.ClientIP, caller.UserAgent, caller.RequestID, caller.Locale, caller.Raw
	return own, nil
}
