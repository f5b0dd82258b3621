package gateway

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/manas360/platform/proto"
)

// TestOpenAPISaysWhatTheEdgeDoes looks at what generation alone cannot know.
func TestOpenAPISaysWhatTheEdgeDoes(t *testing.T) {
	raw, err := openAPI(proto.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Info  struct{ Title string }
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Schema map[string]any
			}
			Security   []map[string][]string
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Info.Title != "Manas360 platform" || len(doc.Paths) < 25 {
		t.Errorf("title %q, %d paths", doc.Info.Title, len(doc.Paths))
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.Responses["default"].Schema["$ref"] != "#/definitions/Problem" {
				t.Errorf("%s %s: failures are %v, want a problem", method, path, op.Responses["default"])
			}
		}
	}
	for _, tt := range []struct{ path, method, status string }{
		{"/api/v1/auth/register", "post", "202"},
		{"/api/v1/auth/logout", "post", "204"},
		{"/api/v1/subscriptions/checkout", "post", "201"},
		{"/api/v1/subscriptions/upgrade", "post", "201"},
		{"/api/v1/users/me", "get", "200"},
	} {
		op := doc.Paths[tt.path][tt.method]
		if _, ok := op.Responses[tt.status]; !ok || len(op.Responses) != 2 {
			t.Errorf("%s %s: responses %v, want %s and default", tt.method, tt.path, op.Responses, tt.status)
		}
		if open := strings.HasSuffix(tt.path, "/register"); open != (len(op.Security) == 0) {
			t.Errorf("%s %s: security %v", tt.method, tt.path, op.Security)
		}
	}
	found := false
	for _, p := range doc.Paths["/api/v1/subscriptions/checkout"]["post"].Parameters {
		found = found || p.Name == "Idempotency-Key" && p.In == "header"
	}
	if !found {
		t.Error("checkout does not mention Idempotency-Key")
	}
}

// Every reference of the document leads somewhere within it.
func TestReferencesLead(t *testing.T) {
	raw, err := openAPI(proto.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	refs := regexp.MustCompile(`"\$ref":"#/definitions/([^"]+)"`).FindAllStringSubmatch(string(raw), -1)
	if len(refs) < 100 {
		t.Fatalf("%d references", len(refs))
	}
	for _, ref := range refs {
		if doc.Definitions[ref[1]] == nil {
			t.Errorf("nothing is at %s", ref[1])
		}
	}
}
