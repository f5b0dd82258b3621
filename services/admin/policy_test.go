package admin

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/token"
)

var update = flag.Bool("update", false, "write testdata/policy.txt anew")

// TestPolicy compares who may call what of the console with testdata/policy.txt:
// every role that auth knows against every RPC of this package, from the
// descriptors. A method without a rule is closed to all. audit_admin_ops.md B-3.
func TestPolicy(t *testing.T) {
	roles := rolesOfAuth(t)
	now := time.Now()
	var got bytes.Buffer
	for _, m := range methodsOf("manas.admin.v1") {
		rule, ok := rpc.Rule(m)
		if !ok {
			t.Errorf("%s has no rule", m)
			continue
		}
		var may []string
		for _, r := range roles {
			caller := &token.Caller{UserID: uuid.New(), Roles: []string{r.Role}, Permissions: r.Permissions, AMR: []string{"pwd", "otp", "mfa"}, AuthTime: now}
			if rpc.Allow(rule, caller, now) == nil && !rule.GetInternal() {
				may = append(may, r.Role)
			}
			if rule.GetInternal() {
				continue
			}
			alone := *caller
			alone.AMR = []string{"pwd"}
			if rpc.Allow(rule, &alone, now) == nil {
				t.Errorf("%s: open to %s without a second factor", m, r.Role)
			}
			acting := *caller
			acting.Impersonator = uuid.New()
			if err := rpc.Allow(rule, &acting, now); !fail.Is(err, fail.PermissionDenied) {
				t.Errorf("%s: open to %s in another's name: %v", m, r.Role, err)
			}
			if limit := rule.GetStepUpSeconds(); limit > 300 {
				t.Errorf("%s: a sign-in of %d s will do, want at most 300", m, limit)
			}
		}
		fmt.Fprintf(&got, "%-55s %-8s %-40s %s\n", strings.TrimPrefix(m, "/manas.admin.v1."), flagsOf(rule.GetStepUpSeconds() > 0, rule.GetReasonRequired(), rule.GetFourEyes()),
			strings.Join(may, ","), rule.GetPermission())
	}
	const path = "testdata/policy.txt"
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("who may do what has changed; if that is meant: go test -run TestPolicy -update\n%s", got.String())
	}
}

func flagsOf(stepUp, reason, fourEyes bool) string {
	out := []byte("---")
	for i, on := range []bool{stepUp, reason, fourEyes} {
		if on {
			out[i] = "SR4"[i]
		}
	}
	return string(out)
}

func methodsOf(pkg protoreflect.FullName) []string {
	var out []string
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				out = append(out, fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	slices.Sort(out)
	return out
}

type roleRow struct {
	Role        string
	Permissions []string
}

// rolesOfAuth reads what auth's own migrations give each role.
func rolesOfAuth(t *testing.T) []roleRow {
	t.Helper()
	db := pgtest.New(t, "auth", migrations.For("auth"))
	list, err := all[roleRow](t.Context(), db.Pool, "read roles", `
SELECT r.name AS role, coalesce(array_agg(p.permission ORDER BY p.permission) FILTER (WHERE p.permission IS NOT NULL), '{}') AS permissions
  FROM auth.role AS r LEFT JOIN auth.role_permission AS p ON p.role = r.name
 GROUP BY r.name, r.level ORDER BY r.level DESC, r.name`, nil)
	if err != nil || len(list) < 8 {
		t.Fatalf("roles %v, %v", list, err)
	}
	return list
}
