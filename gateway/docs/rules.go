package docs

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// rule is what a reader needs of a method's access rule.
type rule struct {
	access []string
	status string // of success; empty for 200
}

// linkedRules reads the rules of every contract linked into this program, by
// the operation ids of the OpenAPI document: "AuthService_Login".
func linkedRules() map[string]rule {
	out := map[string]rule{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "manas.") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				if r, ok := proto.GetExtension(m.Options(), authzv1.E_Rule).(*authzv1.Rule); ok && r != nil {
					out[string(s.Name())+"_"+string(m.Name())] = describe(r)
				}
			}
		}
		return true
	})
	return out
}

func describe(r *authzv1.Rule) rule {
	var out rule
	if n := r.GetSuccessStatus(); n != 0 {
		out.status = strconv.Itoa(int(n))
	}
	switch r.GetAccess().(type) {
	case *authzv1.Rule_Public:
		out.access = append(out.access, "public")
	case *authzv1.Rule_Authenticated:
		out.access = append(out.access, "signed in")
	case *authzv1.Rule_Permission:
		out.access = append(out.access, "permission "+r.GetPermission())
	}
	for _, say := range []struct {
		on   bool
		text string
	}{
		{r.GetMfa(), "second factor"},
		{r.GetStepUpSeconds() > 0, "signed in less than " + strconv.Itoa(int(r.GetStepUpSeconds())) + " s ago"},
		{r.GetFourEyes(), "second administrator's approval"},
		{r.GetReasonRequired(), "reason"},
		{r.GetIdempotent(), "Idempotency-Key"},
	} {
		if say.on {
			out.access = append(out.access, say.text)
		}
	}
	return out
}
