package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/deploy/internal/api"
)

// spare are calls that an attack leaves out: they end the session that makes
// them, and tests of their own make them.
var spare = append(slices.Clone(ends), "POST /api/v1/auth/mfa/totp", "DELETE /api/v1/auth/mfa/totp")

// attack drives every operation of the document that the edge serves with what
// no honest client sends, and judges each answer by that same document.
type attack struct {
	t        *testing.T
	doc      *openapi3.T
	db       *pgx.Conn
	rand     *rand.Rand
	callers  map[string]*person
	calls    int
	casts    int // of people: each sends until the limits say no
	statuses map[int]int
	faults   map[string]int // by operation and fault: one line each, however often
}

// TestNothingBreaksAnOperation sends every operation: members that are missing,
// null, of the wrong type, at the bounds, hostile in Unicode, too large, too
// many, and other people's ids. Nothing answers 500, every answer is one that
// the document knows, and none tells how it is made. MANAS_LONG=1 sends all of
// it (make attack), else a part that its seed chooses; MANAS_SEED repeats one.
func TestNothingBreaksAnOperation(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("MANAS_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MANAS_SEED=%d", seed)
	share := 12 // one in as many
	if os.Getenv("MANAS_LONG") == "1" {
		share = 1
	}
	a := &attack{t: t, doc: served(t), db: database(t), callers: map[string]*person{}, rand: rand.New(rand.NewPCG(seed, 1)), statuses: map[int]int{}, faults: map[string]int{}}
	for _, role := range []string{"user", "superadmin", "nobody"} {
		a.recast(role)
	}
	paths := a.doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		operations := paths[path].Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			if slices.Contains(spare, method+" "+path) {
				continue
			}
			for _, shot := range a.shots(method, path, operations[method]) {
				if a.rand.IntN(share) == 0 {
					a.fire(path, operations[method], shot)
				}
			}
		}
	}
	t.Logf("%d calls of %d people; answers by status: %v", a.calls, a.casts, a.statuses)
	for _, fault := range slices.Sorted(maps.Keys(a.faults)) {
		t.Errorf("%s (%d times)", fault, a.faults[fault])
	}
	if a.calls < 500 || a.statuses[http.StatusBadRequest] < a.calls/10 {
		t.Errorf("the attack was none: %d calls, %v", a.calls, a.statuses)
	}
}

// served is the document of the edge, as OpenAPI 3.
func served(t *testing.T) *openapi3.T {
	t.Helper()
	in := newCaller(t).want(200, "", api.Call{Method: "GET", URL: suite.root + "/openapi.json"})
	var two openapi2.T
	if err := json.Unmarshal(in.Raw, &two); err != nil {
		t.Fatal(err)
	}
	doc, err := openapi2conv.ToV3(&two)
	if err != nil {
		t.Fatal(err)
	}
	if err := openapi3.NewLoader().ResolveRefsIn(doc, nil); err != nil {
		t.Fatal(err)
	}
	return doc
}

// recast brings somebody new, from an address of their own: limits count what
// an account and an address have sent.
func (a *attack) recast(role string) {
	a.t.Helper()
	var p *person
	switch role {
	case "user":
		p = join(a.t)
	case "superadmin":
		p = staff(a.t, a.db, role)
	default:
		p = &person{caller: newCaller(a.t)}
	}
	p.client.Seen = nil // what is broken here has no line in the trail's file
	a.callers[role] = p
	a.casts++
}

// shot is one request that nobody should send.
type shot struct {
	what, role, method, url string
	body                    any
	header                  map[string]string
}

var hostile = []string{
	"", " ", "A", strings.Repeat("A", 10_000), "\x00", "a\x00b", "\u202egnp.exe", "🦆🦆🦆", "é\u0301\u0301\u0301", "\ufeff", "\uffff",
	"' OR '1'='1", "1; DROP TABLE auth.account; --", "../../../etc/passwd", "<script>alert(1)</script>", "${jndi:ldap://x}", "{{7*7}}", "%00", "%s%s%n",
	"null", "undefined", "true", "-1", "1e309", "usr_00000000000000000000000001", "usr_", "USR_00000000000000000000000001", "٣", "=1+1", "\r\nX-Evil: 1",
}

var numbers = []any{
	-1, 0, 1, 2147483647, 2147483648, json.Number("9223372036854775807"), json.Number("9223372036854775808"), json.Number("-9223372036854775809"),
	1.5, json.Number("1e400"), "", "x", "9223372036854775807", "-1", "1e3", "0x10", "１２",
}

var times = []any{"", "yesterday", "9999-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-23T10:00:00", "2026-11-23T10:00:60Z", -1, "10000-01-01T00:00:00Z"}

// values are what a member of a schema is filled with.
func values(s *openapi3.Schema) []any {
	out := []any{nil, true, map[string]any{}, []any{}, map[string]any{"a": map[string]any{"b": []any{nil}}}, []any{nil, nil}}
	switch {
	case s.Type.Is("string") && s.Format == "date-time":
		out = append(out, times...)
	case s.Type.Is("string") && (s.Format == "int64" || s.Format == "uint64"), s.Type.Is("integer"), s.Type.Is("number"):
		out = append(out, numbers...)
	case s.Type.Is("boolean"):
		out = append(out, "true", "yes", 2, 0)
	case s.Type.Is("array"):
		many := make([]any, 2000)
		for i := range many {
			many[i] = fmt.Sprint("x", i%7)
		}
		out = append(out, many, []any{1, "a", map[string]any{}}, "a")
	default:
		for _, text := range hostile {
			out = append(out, text)
		}
		out = append(out, 7, -1.5)
	}
	if len(s.Enum) > 0 {
		out = append(out, "NOPE", 99, -1, s.Enum[0], strings.ToLower(fmt.Sprint(s.Enum[0])))
	}
	return out
}

// plausible is a body that a service would look at.
func (a *attack) plausible(s *openapi3.Schema, depth int) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[len(s.Enum)-1]
	case s.Type.Is("object") && depth < 4:
		out := map[string]any{}
		for name, p := range s.Properties {
			out[name] = a.plausible(p.Value, depth+1)
			switch name {
			case "reason":
				out[name] = "sent by an attack that is a test"
			case "email", "newEmail":
				out[name] = "attack-" + unique() + "@example.com"
			}
		}
		return out
	case s.Type.Is("array") && depth < 4:
		return []any{a.plausible(s.Items.Value, depth+1)}
	case s.Type.Is("boolean"):
		return true
	case s.Type.Is("integer"), s.Type.Is("number"):
		return 1
	case s.Format == "date-time":
		return "2026-11-23T10:00:00Z"
	case s.Format == "int64":
		return "1"
	default:
		return "x" + unique()
	}
}

// shots are all that is sent to an operation.
func (a *attack) shots(method, path string, op *openapi3.Operation) []shot {
	var out []shot
	add := func(what, target string, body any, header map[string]string) {
		for _, role := range []string{"superadmin", "user", "nobody"} {
			if role != "nobody" || len(out)%9 == 0 { // who has no token gets no further than the rule
				out = append(out, shot{what, role, method, target, body, header})
			}
		}
	}
	const nobodys = "x_00000000000000000000000001"
	fill := func(id string) string {
		return suite.root + variables.ReplaceAllString(path, strings.ReplaceAll(id, "$", "$$"))
	}
	plain := fill(nobodys)
	var schema *openapi3.Schema
	var good any
	if op.RequestBody != nil {
		if media := op.RequestBody.Value.Content.Get("application/json"); media != nil && media.Schema != nil {
			schema = media.Schema.Value
			good = a.plausible(schema, 0)
		}
	}
	if variables.MatchString(path) {
		for _, id := range []string{a.callers["user"].id, "usr_", "%00", "%2e%2e", "%2F", strings.Repeat("x", 300), "%F0%9F%A6%86", "%ff%fe", "..;", "*", "%252e", "usr_zzzzzzzzzzzzzzzzzzzzzzzzzz", url.PathEscape("' OR 1=1 --")} {
			add("id "+id, fill(id), good, nil)
		}
	}
	for _, p := range op.Parameters {
		if p.Value.In != "query" {
			continue
		}
		for _, v := range append(values(p.Value.Schema.Value), "-9999999999999999999") {
			text, ok := v.(string)
			if !ok {
				text = fmt.Sprint(v)
			}
			if len(text) > 4096 {
				text = text[:4096]
			}
			add(fmt.Sprintf("%s=%.40q", p.Value.Name, text), plain+"?"+url.Values{p.Value.Name: {text}}.Encode(), good, nil)
		}
		add(p.Value.Name+" twice", plain+"?"+url.Values{p.Value.Name: {"1", "2"}}.Encode(), good, nil)
	}
	add("unknown parameter", plain+"?none=1&%00=%ff&pageSize[]=1&a.b.c=1", good, nil)
	if schema == nil {
		return out
	}
	for name, text := range map[string]string{
		"no body": "", "array": "[]", "string": `"x"`, "null": "null", "number": "1e999", "broken": `{"a":`, "two": `{}{}`, "twice": `{"reason":"a long enough one","reason":"another long one"}`,
		"deep": strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), "deep array": strings.Repeat("[", 20_000), "large": `{"reason":"` + strings.Repeat("x", 70_000) + `"}`,
		"surrogate": `{"reason":"\ud800 lone and long enough"}`, "bad utf-8": "{\"reason\":\"\xff\xfe long enough\"}", "bom": "\ufeff{}", "key": "{\"\\u0000\":1,\"__proto__\":{}}",
	} {
		add("body: "+name, plain, []byte(text), nil)
	}
	for _, kind := range []string{"text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", ";;;"} {
		add("as "+kind, plain, []byte("{}"), map[string]string{"Content-Type": kind})
	}
	add("good", plain, good, nil)
	add("empty object", plain, map[string]any{}, nil)
	for _, key := range []string{strings.Repeat("k", 300), "é", "a b"} {
		add("key "+key[:2], plain, good, map[string]string{"Idempotency-Key": key, "If-Match": key})
	}
	members, ok := good.(map[string]any)
	if !ok {
		return out
	}
	with := func(name string, v any) map[string]any {
		in := maps.Clone(members)
		in[name] = v
		return in
	}
	add("one more member", plain, with("isAdmin", true), nil)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		less := maps.Clone(members)
		delete(less, name)
		add("without "+name, plain, less, nil)
		for _, v := range values(schema.Properties[name].Value) {
			add(fmt.Sprintf("%s = %.40q", name, fmt.Sprint(v)), plain, with(name, v), nil)
		}
	}
	return out
}

// fire sends a shot; who has sent too much is replaced, and the shot repeated.
func (a *attack) fire(path string, op *openapi3.Operation, s shot) {
	a.t.Helper()
	var got api.Answer
	for range 2 {
		p := a.callers[s.role]
		in := api.Call{Method: s.method, URL: s.url, Token: p.token, Body: s.body, Header: s.header}
		got = p.do(in)
		a.calls++
		switch got.Str("code") {
		case "RATE_LIMITED", "TOKEN_STALE", "TOKEN_REVOKED", "TOKEN_EXPIRED", "TOO_MANY_ATTEMPTS":
			a.recast(s.role)
			continue
		}
		break
	}
	a.statuses[got.Status]++
	if fault := a.judge(op, got); fault != "" {
		line := fmt.Sprintf("%s %s: %s", s.method, path, fault)
		if a.faults[line] == 0 {
			a.t.Logf("%s\n  as %s, %s\n  %.200s", line, s.role, s.what, got.Raw)
		}
		a.faults[line]++
	}
}

var leaks = []string{"SQLSTATE", "pgx", "goroutine ", "panic:", "runtime error", ".go:", "rpc error", "connection refused", "pq:", "syntax error at"}

// judge says what is wrong with an answer, or "".
func (a *attack) judge(op *openapi3.Operation, got api.Answer) string {
	kind := got.Header.Get("Content-Type")
	for _, leak := range leaks {
		if got.Status >= http.StatusBadRequest && bytes.Contains(got.Raw, []byte(leak)) {
			return "it tells " + leak
		}
	}
	if got.Header.Get("X-Evil") != "" {
		return "a header was smuggled in"
	}
	if got.Status >= http.StatusInternalServerError && (got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "") {
		return fmt.Sprintf("answered %d", got.Status)
	}
	if got.Status >= http.StatusBadRequest {
		if !strings.HasPrefix(kind, "application/problem+json") {
			return fmt.Sprintf("%d is %q, no problem", got.Status, kind)
		}
		if got.Str("code") == "" || got.Str("requestId") == "" || got.Dig("status") != float64(got.Status) {
			return "a problem without its members"
		}
		return ""
	}
	answer := op.Responses.Status(got.Status)
	if answer == nil {
		return fmt.Sprintf("%d is not in the document", got.Status)
	}
	media := answer.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil || !strings.HasPrefix(kind, "application/json") || len(got.Raw) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(got.Raw, &v); err != nil {
		return "no JSON: " + err.Error()
	}
	if err := media.Schema.Value.VisitJSON(v); err != nil {
		return fmt.Sprintf("%d is not as the document has it: %.300s", got.Status, err.Error())
	}
	return ""
}
