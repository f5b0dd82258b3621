package proto_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// mutates reports whether a method changes something: any REST method but GET,
// inside the suite any verb but those that read.
func mutates(m protoreflect.MethodDescriptor) bool {
	if rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule); ok && rule != nil {
		return rule.GetGet() == ""
	}
	return !slices.ContainsFunc([]string{"Get", "List", "BatchGet"}, func(verb string) bool { return strings.HasPrefix(string(m.Name()), verb) })
}

// TestImpersonationIsDecided wants a decision from whoever adds a method that
// changes something where an operator in somebody's name could do harm.
// identity.md row 67
func TestImpersonationIsDecided(t *testing.T) {
	guarded := []protoreflect.FullName{"manas.auth.v1", "manas.subscription.v1", "manas.payment.v1", "manas.admin.v1", "manas.user.v1"}
	methods(t, func(m protoreflect.MethodDescriptor, r *authzv1.Rule) {
		if r.GetInternal() {
			return // no person behind it, or the handler's own decision
		}
		if mutates(m) && slices.Contains(guarded, m.ParentFile().Package()) && r.NoImpersonation == nil {
			t.Errorf("%s: changes something, and says nothing about no_impersonation", m.FullName())
		}
	})
}

// TestImpersonationStaysOut: what asks for more than a session is closed to one
// in another's name, and so is every door of the console.
// identity.md row 67
func TestImpersonationStaysOut(t *testing.T) {
	methods(t, func(m protoreflect.MethodDescriptor, r *authzv1.Rule) {
		console := m.ParentFile().Package() == "manas.admin.v1"
		if (console || r.GetMfa() || r.GetSensitive() || r.GetStepUpSeconds() > 0) && r.NoImpersonation != nil && !r.GetNoImpersonation() {
			t.Errorf("%s: open to impersonation", m.FullName())
		}
		if console && !r.GetNoImpersonation() {
			t.Errorf("%s: of the console, and open to impersonation", m.FullName())
		}
	})
}
