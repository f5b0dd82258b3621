package docs

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/manas360/platform/pkg/fail"
	// Linked for their rules, as the gateway links them.
	_ "github.com/manas360/platform/proto/gen/manas/admin/v1"
	_ "github.com/manas360/platform/proto/gen/manas/audit/v1"
	_ "github.com/manas360/platform/proto/gen/manas/auth/v1"
	_ "github.com/manas360/platform/proto/gen/manas/payment/v1"
	_ "github.com/manas360/platform/proto/gen/manas/subscription/v1"
	_ "github.com/manas360/platform/proto/gen/manas/user/v1"
)

const small = `{
  "swagger": "2.0",
  "tags": [{"name": "AuthService", "description": "Sign in."}, {"name": "EmptyService"}],
  "paths": {
    "/api/v1/auth/login": {"post": {
      "operationId": "AuthService_Login", "tags": ["AuthService"],
      "summary": "Login checks a password.\nFails with INVALID_CREDENTIALS, NO_SUCH_CODE.",
      "parameters": [{"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/v1LoginRequest"}}],
      "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/v1Answer"}},
                    "default": {"schema": {"$ref": "#/definitions/rpcStatus"}}}}},
    "/api/v1/auth/register": {"post": {
      "operationId": "AuthService_Register", "tags": ["AuthService"],
      "parameters": [], "responses": {"200": {"schema": {"type": "object"}}}}},
    "/api/v1/auth/sessions/{id}": {"delete": {
      "operationId": "AuthService_RevokeSession", "tags": ["AuthService"], "summary": "Ends <it> & \"all\".",
      "parameters": [{"name": "id", "in": "path", "required": true, "type": "string", "description": "ses_…."}],
      "responses": {"200": {"schema": {"type": "object"}}}}}
  },
  "definitions": {
    "rpcStatus": {"type": "object"},
    "v1LoginRequest": {"type": "object", "required": ["zulu"], "properties": {
      "zulu": {"type": "string", "description": "Comes first."}, "alpha": {"type": "integer", "format": "int32"}}},
    "v1Answer": {"type": "object", "properties": {
      "users": {"type": "array", "items": {"$ref": "#/definitions/v1User"}},
      "counts": {"type": "object", "additionalProperties": {"type": "string", "format": "int64"}}}},
    "v1User": {"type": "object", "description": "A person.", "properties": {"state": {"$ref": "#/definitions/UserState"}}},
    "UserState": {"type": "string", "enum": ["STATE_UNSPECIFIED", "ACTIVE"]},
    "v1Unused": {"type": "object"}
  }
}`

func render(t *testing.T, swagger string) string {
	t.Helper()
	page, err := Page([]byte(swagger))
	if err != nil {
		t.Fatalf("Page: %v", err)
	}
	return string(page)
}

func TestPageShowsTheContract(t *testing.T) {
	page := render(t, small)
	for _, want := range []string{
		`<h3 id="AuthService_Login"><span class="verb POST">POST</span> <code>/api/v1/auth/login</code></h3>`,
		`href="#AuthService_Login"`,
		`Login checks a password.`,
		`<li>401 <a href="#INVALID_CREDENTIALS"><code>INVALID_CREDENTIALS</code></a></li>`,
		`<small>required</small>`,
		`integer (int32)`,
		`list of <a href="#type-v1User">User</a>`,
		`map of string (int64)`,
		`<h3 id="type-UserState"><code>UserState</code></h3>`,
		`<code>ACTIVE</code>`,
		`<small>path</small>`,
		`Ends &lt;it&gt; &amp; &#34;all&#34;.`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %s", want)
		}
	}
	for _, not := range []string{"rpcStatus", "UNSPECIFIED", "Unused", "EmptyService", "<code>NO_SUCH_CODE", "group-Empty"} {
		if strings.Contains(page, not) {
			t.Errorf("page shows %s", not)
		}
	}
	if strings.Index(page, "zulu") > strings.Index(page, "<code>alpha") {
		t.Error("fields are not in the contract's order")
	}
}

// A problem's type is "/docs#CODE": each code has its row, and its meaning.
func TestPageExplainsEveryCode(t *testing.T) {
	page := render(t, small)
	for _, k := range fail.Kinds() {
		_, rest, ok := strings.Cut(page, `<tr id="`+k.Reason+`">`)
		if !ok {
			t.Errorf("no row for %s", k.Reason)
			continue
		}
		row, _, _ := strings.Cut(rest, "</tr>")
		for _, want := range []string{strconv.Itoa(k.HTTP), k.Title} {
			if !strings.Contains(row, want) {
				t.Errorf("row of %s: got %s, want %s in it", k.Reason, row, want)
			}
		}
		if meanings[k] == "" {
			t.Errorf("%s has no meaning", k.Reason)
		}
	}
	if got, want := len(meanings), len(fail.Kinds()); got != want {
		t.Errorf("meanings: got %d, want %d", got, want)
	}
}

func TestPageSaysWhoMayCall(t *testing.T) {
	page := render(t, small)
	article := func(id string) string {
		_, rest, ok := strings.Cut(page, `<article aria-labelledby="`+id+`">`)
		if !ok {
			t.Fatalf("no article %s", id)
		}
		out, _, _ := strings.Cut(rest, "</article>")
		return out
	}
	if got := article("AuthService_Register"); !strings.Contains(got, "<li>public</li>") || !strings.Contains(got, "Answer 202") {
		t.Errorf("register: got %s, want public and 202", got)
	}
	if got := article("AuthService_RevokeSession"); !strings.Contains(got, "signed in") ||
		!strings.Contains(got, "Answer 204") || !strings.Contains(got, "No content.") {
		t.Errorf("revoke: got %s, want signed in, 204 and no content", got)
	}
}

// The page must work under a CSP that allows nothing but our own style sheet.
func TestPageNeedsNothingElse(t *testing.T) {
	page := render(t, small)
	for _, bad := range []string{`<script`, `<style`, ` style=`, `javascript:`, `http://`, `https://`, `src=`, ` on[a-z]+=`} {
		if at := regexp.MustCompile(bad).FindString(page); at != "" {
			t.Errorf("page holds %q", at)
		}
	}
	if got := strings.Count(page, `<link `); got != 1 || !strings.Contains(page, `href="`+StylePath+`"`) {
		t.Errorf("page has %d links to resources, want only %s", got, StylePath)
	}
	for _, bad := range []string{"@import", "url(", "expression("} {
		if strings.Contains(string(Style()), bad) {
			t.Errorf("style sheet holds %s", bad)
		}
	}
}

// Every link on the page of the real contract lands, and no id stands twice.
func TestPageOfTheContractIsWhole(t *testing.T) {
	swagger, err := os.ReadFile("../../proto/gen/openapi/manas360.swagger.json")
	if err != nil {
		t.Fatal(err)
	}
	page := render(t, string(swagger))
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("id %s stands twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("link to %s lands nowhere", m[1])
		}
	}
	operations := strings.Split(page, `<article aria-labelledby="`)[1:]
	for _, op := range operations {
		id, text, _ := strings.Cut(op, `"`)
		if !strings.HasPrefix(id, "type-") && !strings.Contains(text, `aria-label="Needs"`) {
			t.Errorf("%s does not say who may call it", id)
		}
	}
	if !strings.Contains(page, `id="SubscriptionService_Checkout"`) {
		t.Error("page lacks the checkout")
	}
}

func TestPageRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"not JSON":   "{",
		"OpenAPI 3":  `{"openapi":"3.1.0"}`,
		"no paths":   `{"swagger":"2.0"}`,
		"no tag":     `{"swagger":"2.0","paths":{"/x":{"get":{"operationId":"X"}}}}`,
		"properties": `{"swagger":"2.0","paths":{"/x":{"get":{"tags":["a"]}}},"definitions":{"a":{"properties":{"b":1}}}}`,
	} {
		if _, err := Page([]byte(in)); err == nil {
			t.Errorf("%s: got a page, want an error", name)
		}
	}
}
