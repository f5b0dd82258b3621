package gateway

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// WebAuthn's JSON is free: it passes as it is, in both directions.
func TestPasskeyJSONPasses(t *testing.T) {
	h := newHarness(t)
	options, err := structpb.NewStruct(map[string]any{
		"ceremonyId": "cer_x", "challenge": "AA_-", "timeout": 300000, "publicKey": map[string]any{"rp": map[string]any{"id": "localhost"}, "allowCredentials": []any{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.b.when(authv1.PasskeyService_BeginPasskeyLogin_FullMethodName, answer(&authv1.BeginPasskeyLoginResponse{Options: options}))
	r := h.do("POST", "/api/v1/auth/passkeys/login/begin", `{}`)
	if r.status != 200 || r.json["ceremonyId"] != "cer_x" || r.json["timeout"] != 300000.0 {
		t.Errorf("%d %s", r.status, r.body)
	}
	const credential = `{"id":"AA","type":"public-key","response":{"signature":"_-","userHandle":null,"x":[1,true,{"deep":"नमस्ते"}]},"new":{"a":1}}`
	if r := h.do("POST", "/api/v1/auth/mfa/passkey/finish", `{"mfaToken":"x","ceremonyId":"cer_x","credential":`+credential+`}`); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	call, ok := h.b.last(authv1.PasskeyService_FinishPasskeyMfa_FullMethodName)
	if !ok {
		t.Fatal("it did not arrive")
	}
	got, _ := call.req.(*authv1.FinishPasskeyMfaRequest)
	want := &structpb.Struct{}
	if err := want.UnmarshalJSON([]byte(credential)); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got.GetCredential(), want) {
		t.Errorf("got %v, want %v", got.GetCredential(), want)
	}
}

// Whatever stands where an object should, the answer is the client's fault.
func TestPasskeyJSONOfAnyForm(t *testing.T) {
	h := newHarness(t)
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, credential string
		status           int
		field            bool // is named
	}{
		{"a string", `"x"`, 400, true},
		{"a number", `1`, 400, true},
		{"a list", `[{}]`, 400, true},
		{"a number too large", `{"a":1e999}`, 400, false},
		{"half a surrogate", `{"a":"\ud800"}`, 400, false},
		{"twenty deep", nested(20), 200, false},
		{"a thousand deep", nested(1000), 400, false},
		{"nine thousand deep", nested(9000), 400, false},
		{"lists nine thousand deep", `{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, 400, false},
		{"65 KiB", `{"a":"` + strings.Repeat("x", 65<<10) + `"}`, 413, false},
		{"60 KiB", `{"a":"` + strings.Repeat("x", 60<<10) + `"}`, 200, false},
	} {
		r := h.do("POST", "/api/v1/auth/passkeys/login/finish", `{"credential":`+tt.credential+`}`)
		if r.status != tt.status {
			t.Errorf("%s: %d, want %d: %.300s", tt.name, r.status, tt.status, r.body)
		}
		if tt.field && !strings.Contains(r.body, `"field":"credential"`) {
			t.Errorf("%s: %s", tt.name, r.body)
		}
	}
}
