package e2e_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/pquerna/otp/totp"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/manas360/platform/deploy/internal/api"
	_ "github.com/manas360/platform/proto/gen/manas/admin/v1"
	_ "github.com/manas360/platform/proto/gen/manas/audit/v1"
	_ "github.com/manas360/platform/proto/gen/manas/auth/v1"
	_ "github.com/manas360/platform/proto/gen/manas/payment/v1"
	_ "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	_ "github.com/manas360/platform/proto/gen/manas/user/v1"
)

var matrixRoles = []string{"nobody", "user", "therapist", "clinicaldirector", "financemanager", "complianceofficer", "admin", "superadmin"}

const matrixFile = "testdata/matrix.txt"

// ends are the calls that end the session that makes them; every other test of
// this folder makes them.
var ends = []string{"POST /api/v1/auth/logout", "POST /api/v1/auth/logout-all", "DELETE /api/v1/users/me"}

// TestMatrix drives every route of the contract as every role, on one's own
// things and on another's, with an empty body. What each is answered stands in
// testdata/matrix.txt, which a person has read against the contract: "in" got
// past everything that guards it. MATRIX_UPDATE=1 writes it anew, to be read
// again.
func TestMatrix(t *testing.T) {
	victim := join(t)
	victimSession := firstSession(victim)
	people := map[string]*person{}
	for _, role := range matrixRoles[1:] {
		people[role] = withRole(t, role)
	}
	var got []string
	for _, r := range contractRoutes() {
		if slices.Contains(ends, r.method+" "+r.path) {
			continue
		}
		for _, relation := range relations(r) {
			var said []string
			for _, role := range matrixRoles {
				said = append(said, role+"="+standing(t, r, relation, people[role], victim, victimSession))
			}
			got = append(got, fmt.Sprintf("%s %s%s | %s", r.method, r.path, relation, strings.Join(said, " ")))
		}
	}
	slices.Sort(got)
	text := strings.Join(got, "\n") + "\n"
	if os.Getenv("MATRIX_UPDATE") == "1" {
		if err := os.WriteFile(matrixFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("who may do what (-want +got):\n%s", diff)
	}
}

type contractRoute struct{ method, path string }

func contractRoutes() []contractRoute {
	var out []contractRoute
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "manas.") {
			return true
		}
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				rule, ok := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || rule.GetPattern() == nil {
					continue
				}
				for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					out = append(out, bound(b))
				}
			}
		}
		return true
	})
	return out
}

func bound(b *annotations.HttpRule) contractRoute {
	switch p := b.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return contractRoute{"GET", p.Get}
	case *annotations.HttpRule_Put:
		return contractRoute{"PUT", p.Put}
	case *annotations.HttpRule_Post:
		return contractRoute{"POST", p.Post}
	case *annotations.HttpRule_Delete:
		return contractRoute{"DELETE", p.Delete}
	case *annotations.HttpRule_Patch:
		return contractRoute{"PATCH", p.Patch}
	default:
		return contractRoute{}
	}
}

var variables = regexp.MustCompile(`\{[^}]*\}`)

func relations(r contractRoute) []string {
	if !variables.MatchString(r.path) {
		return []string{""}
	}
	return []string{" own", " other"}
}

// standing is how far a role gets.
func standing(t *testing.T, r contractRoute, relation string, p, victim *person, session string) string {
	t.Helper()
	c, token, self := newCaller(t), "", victim.id
	if p != nil {
		token, self = p.token, p.id
	}
	if relation == " other" {
		self = victim.id
	}
	const nobodys = "00000000000000000000000001" // well-formed, and no one's
	path := variables.ReplaceAllStringFunc(r.path, func(string) string {
		switch {
		case strings.Contains(r.path, "/users/") || strings.Contains(r.path, "/therapists/"):
			return self
		case strings.Contains(r.path, "/sessions/") && relation == " other":
			return session
		case strings.Contains(r.path, "/roles/"):
			return "user"
		case strings.Contains(r.path, "/oidc/"):
			return "none"
		default:
			return "x_" + nobodys
		}
	})
	in := api.Call{Method: r.method, URL: suite.root + path, Token: token}
	if r.method != "GET" && r.method != "DELETE" {
		in.Body = body{}
	}
	a := c.do(in)
	switch {
	case a.Status == 401 || a.Status == 404:
		return strconv.Itoa(a.Status)
	case a.Status == 403:
		return "403"
	case a.Str("code") == "RATE_LIMITED" || a.Status >= 500:
		t.Errorf("%s %s: %d %s", r.method, path, a.Status, a.Raw)
	}
	return "in"
}

func firstSession(p *person) string {
	p.t.Helper()
	a := p.want(200, "", api.Call{Method: "GET", URL: "/auth/sessions", Token: p.token})
	list, _ := a.Dig("sessions").([]any)
	one, _ := list[0].(map[string]any)
	id, _ := one["id"].(string)
	return id
}

// withRole is somebody who holds a role, with a second factor where it must be.
func withRole(t *testing.T, role string) *person {
	t.Helper()
	if role == "user" {
		return join(t)
	}
	return staff(t, database(t), role)
}

// staff is somebody new with a second factor and a role.
func staff(t *testing.T, db *pgx.Conn, role string) *person {
	t.Helper()
	p := join(t)
	e := p.want(201, "", api.Call{Method: "POST", URL: "/auth/mfa/totp", Token: p.token})
	code, err := totp.GenerateCode(e.Str("secret"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	confirmed := p.want(200, "", api.Call{Method: "POST", URL: "/auth/mfa/totp/confirm", Token: p.token, Body: body{"code": code}})
	p.recovery, _ = confirmed.Dig("recoveryCodes").([]any)
	_, err = db.Exec(t.Context(), `INSERT INTO auth.account_role (account_id, role, granted_at)
        SELECT id, $2, now() FROM auth.account WHERE email = $1`, p.email, role)
	if err != nil {
		t.Fatal(err)
	}
	p.renew()
	return p
}
