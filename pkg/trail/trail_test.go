package trail_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

func TestCheck(t *testing.T) {
	user := &auditv1.Event_Target{Type: "user", Id: "usr_1"}
	for _, tt := range []struct {
		name string
		ev   *auditv1.Event
		want string // in the refusal, empty for none
	}{
		{"allowed", &auditv1.Event{Action: trail.ProfileUpdated.String(), Targets: []*auditv1.Event_Target{user}, Changes: []*auditv1.Event_Change{{Path: "bio"}}}, ""},
		{"of a family", &auditv1.Event{Action: trail.LedgerPosted.String(), Changes: []*auditv1.Event_Change{{Path: "posting.bank:phonepe"}}}, ""},
		{"unknown act", &auditv1.Event{Action: "profile.printed"}, "not in the catalogue"},
		{"no act", &auditv1.Event{}, "not in the catalogue"},
		{"unknown key", &auditv1.Event{Action: trail.ProfileUpdated.String(), Changes: []*auditv1.Event_Change{{Path: "password"}}}, `may not say "password"`},
		{"prefix of a key", &auditv1.Event{Action: trail.LedgerPosted.String(), Changes: []*auditv1.Event_Change{{Path: "post"}}}, "may not say"},
		{"another target", &auditv1.Event{Action: trail.ProfileUpdated.String(), Targets: []*auditv1.Event_Target{{Type: "payment", Id: "pay_1"}}}, "not about a payment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := trail.Check(tt.ev)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
		})
	}
}

// Every row can be relied on: the class the database has a partition for, the
// floor of the law for money.
func TestCatalogue(t *testing.T) {
	for _, prefix := range []string{"payment.", "ledger.", "invoice.", "payout.", "purchase."} {
		found := false
		for _, name := range trail.Names() {
			e, _ := trail.Lookup(name)
			if strings.HasPrefix(name, prefix) {
				found = true
				if e.Class != trail.Financial {
					t.Errorf("%s is kept as %s", name, e.Class)
				}
			}
			if e.Level == trail.Changes && len(e.Keys) == 0 || e.Level == trail.Metadata && len(e.Keys) > 0 {
				t.Errorf("%s: level %s with keys %v", name, e.Level, e.Keys)
			}
		}
		if !found {
			t.Errorf("nothing in the catalogue is %s", prefix)
		}
	}
}

// secrets are what must never be in the trail, one of each shape.
var secrets = []string{
	"asha.rao+x@example.co.in", "asha@okaxis", "+91 98765 43210", "9876543210", "98765 43210",
	"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1In0.c2ln", "mk_live_4fd1c2aa", "4111 1111 1111 1111",
}

// audit_admin_ops.md A-18: whatever JSON a value is, and wherever a secret
// stands in it, as key or value, it does not pass.
func TestRedact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SampledFrom(secrets).Draw(t, "secret")
		v := any(secret)
		for range rapid.IntRange(0, 5).Draw(t, "depth") {
			switch rapid.IntRange(0, 3).Draw(t, "shape") {
			case 0:
				v = map[string]any{rapid.StringMatching(`[a-z_]{1,12}`).Draw(t, "key"): v}
			case 1:
				v = []any{rapid.StringMatching(`[a-z ]{0,9}`).Draw(t, "before"), v, 7}
			case 2:
				if s, ok := v.(string); ok {
					v = map[string]any{s: "as a key"}
				}
			default:
				if s, ok := v.(string); ok {
					v = rapid.StringMatching(`[a-z]{0,9} `).Draw(t, "before") + s + rapid.StringMatching(` [a-z]{0,9}`).Draw(t, "after")
				}
			}
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		ev := &auditv1.Event{
			Reason:  "she wrote from " + secret,
			Changes: []*auditv1.Event_Change{{Path: "x", Before: string(raw), After: string(raw)}},
		}
		trail.Redact(ev)
		for _, text := range []string{ev.GetReason(), ev.GetChanges()[0].GetBefore(), ev.GetChanges()[0].GetAfter()} {
			if strings.Contains(text, secret) {
				t.Fatalf("%q is in %s", secret, text)
			}
		}
	})
}

// What we say of ourselves stays readable.
func TestMaskLeavesOurs(t *testing.T) {
	for _, s := range []string{
		`"usr_01m84k7y4rf0s9jrxzm5yych9v"`, `149900`, `-9223372036854775808`, `9876543210`, `"2026-11-23T05:00:00.123456Z"`, `"INV/26-27/000001"`,
		`"OMO2611231615190824601700"`, `{"MONTHLY":149900,"YEARLY":1499000}`, `"https://example.com/hooks/manas"`, `"ACTIVE"`, ``,
		`"a3f5c1d2e4b60718293a4b5c6d7e8f90a3f5c1d2e4b60718293a4b5c6d7e8f90"`, "yearly drill of the runbook",
	} {
		if got := trail.Mask(s); got != s {
			t.Errorf("Mask(%s) = %s", s, got)
		}
	}
}

// Masking twice is masking once, and never fails.
func FuzzMask(f *testing.F) {
	for _, s := range secrets {
		f.Add(s)
	}
	f.Add("\xff@\x00")
	f.Fuzz(func(t *testing.T, s string) {
		once := trail.Mask(s)
		if twice := trail.Mask(once); twice != once {
			t.Errorf("%q, %q, %q", s, once, twice)
		}
	})
}
