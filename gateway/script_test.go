package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// TestScripts runs testdata/*.txt: a name after "---", a request, "=>" with the
// status, then what must hold: "Header: value" ("-" absent, "*" present),
// ".json.path = value". {user}, {admin} are tokens, {x*N} repeats x.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	h := newHarness(t)
	script(h)
	words := strings.NewReplacer("{user}", h.token(), "{admin}", h.token(admin),
		"{a*70000}", strings.Repeat("a", 70000), "{[*65}", strings.Repeat("[", 65), "{]*65}", strings.Repeat("]", 65),
		"{[*64}", strings.Repeat("[", 64), "{]*64}", strings.Repeat("]", 64), "{a*40000}", strings.Repeat("a", 40000))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "\n--- ") {
			name, rest, _ := strings.Cut(part, "\n")
			if i == 0 {
				continue // the file's opening comment
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				runScript(t, h, words.Replace(rest))
			})
		}
	}
}

// script says what the backends answer.
func script(h *harness) {
	h.b.when(userv1.UserService_GetMe_FullMethodName, answer(&userv1.GetMeResponse{User: &userv1.User{Id: "usr_1", FirstName: "A", Etag: "v7", State: userv1.User_ACTIVE}}))
	h.b.when(subscriptionv1.SubscriptionService_ListPlans_FullMethodName, answer(&subscriptionv1.ListPlansResponse{Plans: []*subscriptionv1.Plan{{
		Code: "basic", Prices: []*subscriptionv1.Price{{Cycle: subscriptionv1.Price_MONTHLY, Amount: &typev1.Money{CurrencyCode: "INR", AmountMinor: 9007199254740993}}},
		Limits: map[string]int64{"users": -1},
	}}}))
	h.b.when(authv1.AuthService_Register_FullMethodName, answer(&authv1.RegisterResponse{ChallengeId: "chl_1", Channel: authv1.RegisterResponse_EMAIL}))
}

func runScript(t *testing.T, h *harness, text string) {
	t.Helper()
	request, expect, ok := strings.Cut(text, "\n=> ")
	if !ok {
		t.Fatal("script without =>")
	}
	head, body, _ := strings.Cut(request, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	var r reply
	if body == "" {
		r = h.send(method, path, nil, lines[1:]...)
	} else {
		r = h.send(method, path, strings.NewReader(body), lines[1:]...)
	}
	checks := strings.Split(strings.TrimSpace(expect), "\n")
	if got := strconv.Itoa(r.status); got != strings.TrimSpace(checks[0]) {
		t.Fatalf("%s: got status %s, want %s: %.300s", lines[0], got, checks[0], r.body)
	}
	for _, c := range checks[1:] {
		if path, value, ok := strings.Cut(c, " = "); ok && strings.HasPrefix(path, ".") {
			if got := lookup(r.json, path[1:]); got != value {
				t.Errorf("%s: got %s = %s, want %s: %.300s", lines[0], path, got, value, r.body)
			}
			continue
		}
		name, value, _ := strings.Cut(c, ": ")
		got := strings.Join(r.header.Values(name), ", ")
		switch {
		case value == "-" && got == "", value == "*" && got != "", got == value:
		default:
			t.Errorf("%s: got %s: %q, want %q", lines[0], name, got, value)
		}
	}
}

// lookup follows a dotted path through objects and arrays; "#" is a length.
func lookup(v any, path string) string {
	for step := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			if _, ok := at[step]; !ok {
				return "<absent>"
			}
			v = at[step]
		case []any:
			if step == "#" {
				return strconv.Itoa(len(at))
			}
			i := 0
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(at) {
				return "<absent>"
			}
			v = at[i]
		default:
			return "<absent>"
		}
	}
	return fmt.Sprint(v)
}
