package proto_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/manas360/platform/proto/gen/manas/admin/v1"
	_ "github.com/manas360/platform/proto/gen/manas/audit/v1"
	_ "github.com/manas360/platform/proto/gen/manas/auth/v1"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
	_ "github.com/manas360/platform/proto/gen/manas/event/v1"
	_ "github.com/manas360/platform/proto/gen/manas/payment/v1"
	_ "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	_ "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// reasons is section 9 of the public contract, word for word.
const reasons = `INVALID_ARGUMENT MALFORMED_BODY UNSUPPORTED_MEDIA_TYPE BODY_TOO_LARGE NOT_FOUND METHOD_NOT_ALLOWED
CONFLICT PRECONDITION_FAILED UNAUTHENTICATED TOKEN_EXPIRED INVALID_TOKEN TOKEN_REVOKED TOKEN_STALE INVALID_CREDENTIALS
INVALID_CODE CHALLENGE_EXPIRED INVALID_REFRESH_TOKEN REFRESH_REUSED TOO_MANY_ATTEMPTS EMAIL_NOT_VERIFIED
ACCOUNT_SUSPENDED WEAK_PASSWORD MFA_REQUIRED STEP_UP_REQUIRED CSRF_FAILED PERMISSION_DENIED SUBSCRIPTION_REQUIRED
FEATURE_NOT_AVAILABLE QUOTA_EXCEEDED RATE_LIMITED IDEMPOTENCY_KEY_REUSED IDEMPOTENCY_IN_PROGRESS INVALID_SIGNATURE
PAYMENT_PROVIDER_UNAVAILABLE REFUND_NOT_ALLOWED UNAVAILABLE DEADLINE_EXCEEDED INTERNAL`

// extensions are ours, after the contract's: an old client meets them only when
// what they tell of happens.
const extensions = `LEGAL_ACCEPTANCE_REQUIRED`

var (
	services   = []string{"gateway", "auth", "user", "subscription", "payment", "audit", "admin", "manasctl"}
	permission = regexp.MustCompile(`^[a-z]+\.[a-z]+$`)
	feature    = regexp.MustCompile(`^[a-z0-9][a-z0-9_]{0,63}$`)
)

// methods walks every RPC of our own packages.
func methods(t *testing.T, visit func(m protoreflect.MethodDescriptor, r *authzv1.Rule)) {
	t.Helper()
	seen := 0
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "manas.") {
			return true
		}
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				r, _ := proto.GetExtension(m.Options(), authzv1.E_Rule).(*authzv1.Rule)
				seen++
				visit(m, r)
			}
		}
		return true
	})
	if seen < 30 {
		t.Fatalf("walked %d methods, want at least 30: the registry is not filled", seen)
	}
}

func TestEveryMethodHasARule(t *testing.T) {
	methods(t, func(m protoreflect.MethodDescriptor, r *authzv1.Rule) {
		if r.GetAccess() == nil {
			t.Errorf("%s: no rule", m.FullName())
			return
		}
		if p := r.GetPermission(); p != "" && !permission.MatchString(p) {
			t.Errorf("%s: permission %q is not noun.verb", m.FullName(), p)
		}
		if r.GetInternal() && len(r.GetPeers()) == 0 {
			t.Errorf("%s: internal without peers", m.FullName())
		}
		for _, p := range r.GetPeers() {
			if !slices.Contains(services, p) {
				t.Errorf("%s: unknown peer %q", m.FullName(), p)
			}
		}
		if f := r.GetFeature(); f != "" && (!feature.MatchString(f) || r.GetPublic() || r.GetInternal()) {
			t.Errorf("%s: feature %q is no code, or nobody's plan", m.FullName(), f)
		}
		if r.GetReasonRequired() && m.Input().Fields().ByName("reason") == nil {
			t.Errorf("%s: asks for a reason but has no such field", m.FullName())
		}
	})
}

// TestInternalIsInternal keeps suite-only methods off the edge and the edge's
// methods reachable.
func TestInternalIsInternal(t *testing.T) {
	methods(t, func(m protoreflect.MethodDescriptor, r *authzv1.Rule) {
		rest := proto.HasExtension(m.Options(), annotations.E_Http)
		inside := strings.HasSuffix(string(m.Parent().Name()), "InternalService") || m.ParentFile().Package() == "manas.event.v1"
		if rest && (inside || r.GetInternal()) {
			t.Errorf("%s: internal, yet has a REST path", m.FullName())
		}
		if !rest && !inside {
			t.Errorf("%s: public service, yet has no REST path", m.FullName())
		}
	})
}

func TestPathsAreVersioned(t *testing.T) {
	methods(t, func(m protoreflect.MethodDescriptor, _ *authzv1.Rule) {
		rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || rule == nil {
			return
		}
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			path := r.GetGet() + r.GetPost() + r.GetPut() + r.GetPatch() + r.GetDelete()
			if !strings.HasPrefix(path, "/api/v1/") {
				t.Errorf("%s: path %q is not under /api/v1", m.FullName(), path)
			}
		}
	})
}

func TestEveryListPages(t *testing.T) {
	methods(t, func(m protoreflect.MethodDescriptor, _ *authzv1.Rule) {
		if !strings.HasPrefix(string(m.Name()), "List") {
			return
		}
		for msg, fields := range map[protoreflect.MessageDescriptor][]protoreflect.Name{
			m.Input():  {"page_size", "page_token"},
			m.Output(): {"next_page_token"},
		} {
			for _, f := range fields {
				if msg.Fields().ByName(f) == nil {
					t.Errorf("%s: %s has no %s", m.FullName(), msg.Name(), f)
				}
			}
		}
	})
}

// TestEveryRequestFieldIsBounded looks for a validation rule on each string,
// bytes and repeated field that a client can fill.
func TestEveryRequestFieldIsBounded(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || !strings.HasPrefix(string(m.FullName()), "manas.") {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			unbounded := f.Kind() == protoreflect.StringKind || f.Kind() == protoreflect.BytesKind || f.Cardinality() == protoreflect.Repeated
			if unbounded && !proto.HasExtension(f.Options(), validate.E_Field) {
				t.Errorf("%s: no bound", f.FullName())
			}
			if f.Message() != nil && !f.IsMap() {
				walk(f.Message())
			}
		}
	}
	methods(t, func(m protoreflect.MethodDescriptor, _ *authzv1.Rule) { walk(m.Input()) })
}

// TestPasswordsAreShort: no request brings a password of a megabyte to where it
// would be hashed. identity.md row 35
func TestPasswordsAreShort(t *testing.T) {
	seen := 0
	methods(t, func(m protoreflect.MethodDescriptor, _ *authzv1.Rule) {
		for i := range m.Input().Fields().Len() {
			f := m.Input().Fields().Get(i)
			if !strings.HasSuffix(string(f.Name()), "password") || f.Kind() != protoreflect.StringKind {
				continue
			}
			seen++
			r, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
			if n := r.GetString().GetMaxLen(); n == 0 || n > 1024 {
				t.Errorf("%s: at most %d characters, want a bound of 1024 or less", f.FullName(), n)
			}
		}
	})
	if seen < 6 {
		t.Errorf("%d passwords in all the requests", seen)
	}
}

func TestReasonsAreTheContracts(t *testing.T) {
	want := strings.Fields(reasons + " " + extensions)
	var got []string
	values := typev1.Reason_REASON_UNSPECIFIED.Descriptor().Values()
	for i := range values.Len() {
		if v := values.Get(i); v.Number() != 0 {
			got = append(got, string(v.Name()))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("Reason enum = %v\nwant section 9 of the contract: %v", got, want)
	}
}

// TestDocumentedReasonsExist reads the comments: an RPC may only promise
// errors that the contract knows.
func TestDocumentedReasonsExist(t *testing.T) {
	known := strings.Fields(reasons + " " + extensions)
	word := regexp.MustCompile(`\b[A-Z]{3,}(?:_[A-Z]+)+\b`)
	files, err := filepath.Glob("manas/*/v1/*.proto")
	if err != nil || len(files) < 8 {
		t.Fatalf("found %d contracts, err %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range regexp.MustCompile(`(?s)Fails\s+(?://\s+)?with.*?\n\s+rpc `).FindAllString(string(text), -1) {
			for _, w := range word.FindAllString(doc, -1) {
				if !slices.Contains(known, w) {
					t.Errorf("%s: promises %s, which the contract does not know", file, w)
				}
			}
		}
	}
}
