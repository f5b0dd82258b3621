package auth

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const oidcHome = "https://api.example.com"

// nodeModules installs the provider's program once for each lockfile, outside
// the repository, and gives the folder it runs in.
func nodeModules(t *testing.T) (node, dir string) {
	t.Helper()
	node, nodeErr := exec.LookPath("node")
	npm, npmErr := exec.LookPath("npm")
	if nodeErr != nil || npmErr != nil {
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" {
			t.Fatal("node and npm are needed to run a real OpenID provider; `make test` installs them")
		}
		t.Skip("node and npm are needed to run a real OpenID provider")
	}
	sum := sha256.New()
	files := []string{"package.json", "package-lock.json", "provider.mjs"}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join("testdata", "oidc", name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "manas360-test")
	dir = filepath.Join(cache, "oidc-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return node, dir
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(cache, "fresh-") //nolint:usetesting // becomes the cache, which outlives the test
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join("testdata", "oidc", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(fresh, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	// Another test may have been faster: its folder is as good.
	if err := os.Rename(fresh, dir); err != nil {
		_ = os.RemoveAll(fresh)
		if _, err := os.Stat(dir); err != nil {
			t.Fatal(err)
		}
	}
	return node, dir
}

// startProvider runs a real OpenID provider and gives its issuer.
func startProvider(t *testing.T, mode string) string {
	t.Helper()
	node, dir := nodeModules(t)
	cmd := exec.CommandContext(t.Context(), node, "provider.mjs", oidcHome+"/api/v1/auth/oidc/panva/callback", mode)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if issuer := lines.Text(); strings.HasPrefix(issuer, "http://") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the program
			return issuer
		}
	}
	t.Fatalf("the provider did not start: %s", said.String())
	return ""
}

// oidcBench is a bench in real time, with a provider called panva.
type oidcBench struct {
	*bench

	issuer string
	srv    *oidcServer
}

func newOIDCBench(t *testing.T, issuer string) *oidcBench {
	t.Helper()
	b := &oidcBench{bench: newBench(t), issuer: issuer}
	b.clock.at = time.Now()
	b.srv = &oidcServer{Service: b.Service}
	b.configure(providerConfig{Name: "panva", Issuer: issuer, ClientID: "manas360", ClientSecret: "manas360-secret-of-thirty-two-characters"})
	return b
}

func (b *oidcBench) configure(list ...providerConfig) {
	b.providers = newProviders(list, oidcHome, b.clock.now)
}

func (b *oidcBench) start() *authv1.StartOidcResponse {
	b.t.Helper()
	r, err := b.srv.StartOidc(b.visitor(), &authv1.StartOidcRequest{Provider: "panva", ReturnTo: "/welcome"})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// leave does what a browser does at the provider: signs in as login, consents,
// and is sent back. The answer is what it brings.
func (b *oidcBench) leave(to, login string) *authv1.FinishOidcRequest {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := url.Values(nil)
	for range 20 {
		page, next := b.step(client, to, form)
		if strings.HasPrefix(next, oidcHome) {
			u, err := url.Parse(next)
			if err != nil {
				b.t.Fatal(err)
			}
			q := u.Query()
			return &authv1.FinishOidcRequest{Provider: "panva", Code: q.Get("code"), State: q.Get("state"), Error: q.Get("error"), Iss: q.Get("iss")}
		}
		form = nil
		if next != "" {
			to = next
			continue
		}
		prompt := regexp.MustCompile(`name="prompt" value="(\w+)"`).FindStringSubmatch(page)
		if prompt == nil {
			b.t.Fatalf("the provider's page has no form: %s", page)
		}
		form = url.Values{"prompt": {prompt[1]}, "login": {login}, "password": {"any"}}
	}
	b.t.Fatal("the provider goes round in circles")
	return nil
}

func (b *oidcBench) step(client *http.Client, to string, form url.Values) (page, next string) {
	b.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, to, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test's answer
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if at := resp.Header.Get("Location"); at != "" {
		u, err := req.URL.Parse(at)
		if err != nil {
			b.t.Fatal(err)
		}
		return "", u.String()
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s answered %d: %s", method, to, resp.StatusCode, text)
	}
	return string(text), ""
}

// fetch goes to the provider and back, to the moment before the session.
func (b *oidcBench) fetch(login string) *authv1.FinishOidcRequest {
	b.t.Helper()
	s := b.start()
	r := b.leave(s.GetAuthorizationUrl(), login)
	r.Flow = s.GetFlow()
	return r
}

func (b *oidcBench) finish(r *authv1.FinishOidcRequest) (*authv1.LoginAnswer, error) {
	out, err := b.srv.FinishOidc(b.visitor(), r)
	if err == nil && out.GetReturnTo() != "/welcome" {
		err = fmt.Errorf("returns to %q", out.GetReturnTo())
	}
	return out.GetAnswer(), err
}

func (b *oidcBench) signInAs(login string) *authv1.LoginAnswer {
	b.t.Helper()
	r, err := b.finish(b.fetch(login))
	if err != nil {
		b.t.Fatalf("sign in as %s: %v", login, err)
	}
	return r
}
