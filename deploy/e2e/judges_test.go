package e2e_test

import (
	"encoding/base32"
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/deploy/internal/judge"
)

// Our tokens and our key set as libraries of others see them, jose and the one
// under openid-client: good ones pass, changed ones do not.
func TestOtherLibrariesTakeOurTokens(t *testing.T) {
	p := join(t)
	changed := p.token[:len(p.token)-6] + "AAAAAA"
	out := judge.Node(t, "testdata/judges", "jwks.mjs", suite.root, "https://auth.manas360.local", "manas360-api", p.token, changed)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("the judges said %s", out)
	}
	for i, line := range lines {
		var said struct {
			Jose, Openid           *struct{ Sub string }
			JoseError, OpenidError string
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if i == 0 && (said.Jose == nil || said.Openid == nil || said.Jose.Sub != p.id || said.Openid.Sub != p.id) {
			t.Errorf("a good token: %s", line)
		}
		if i == 1 && (said.Jose != nil || said.Openid != nil) {
			t.Errorf("a changed token: %s", line)
		}
	}
}

// oathtool makes the codes of an enrolment, as the person's device would.
func TestOathtoolMakesOurCodes(t *testing.T) {
	tool := judge.Tool(t, "oathtool", "oathtool")
	p := join(t)
	e := p.want(201, "", api.Call{Method: "POST", URL: "/auth/mfa/totp", Token: p.token})
	secret := e.Str("secret")
	if _, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret); err != nil {
		t.Fatalf("secret %q: %v", secret, err)
	}
	now := time.Now()
	cmd := exec.CommandContext(t.Context(), tool, "--totp", "--base32", "--now", now.UTC().Format("2006-01-02 15:04:05 UTC"), secret)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	code := strings.TrimSpace(string(out))
	if ours, err := totp.GenerateCode(secret, now); err != nil || ours != code {
		t.Errorf("oathtool says %s, pquerna/otp %s, %v", code, ours, err)
	}
	codes := p.want(200, "", api.Call{Method: "POST", URL: "/auth/mfa/totp/confirm", Token: p.token, Body: body{"code": code}})
	if list, ok := codes.Dig("recoveryCodes").([]any); !ok || len(list) != 10 {
		t.Errorf("got %s recovery codes: %s", strconv.Itoa(len(list)), codes.Raw)
	}
}
