package password_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/manas360/platform/services/auth/password"
)

// tool finds a program of Debian; make test installs it.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" {
			t.Fatalf("%s of Debian's %s is not on PATH", name, pkg)
		}
		t.Skipf("%s of Debian's %s is not on PATH", name, pkg)
	}
	return path
}

// Hashes that Apache makes are the old system's kind: bcrypt, $2y$.
func TestHtpasswdHashesVerify(t *testing.T) {
	program := tool(t, "htpasswd", "apache2-utils")
	long := strings.Repeat("x", 80) // bcrypt reads 72 bytes of it
	for _, plain := range []string{"correct horse", "पासवर्ड123", long} {
		out, err := exec.CommandContext(t.Context(), program, "-nbB", "-C", "5", "u", plain).Output()
		if err != nil {
			t.Fatal(err)
		}
		hash := strings.TrimSpace(strings.TrimPrefix(string(out), "u:"))
		for given, want := range map[string]bool{plain: true, plain[:8]: false, "": false} {
			if got, err := password.Verify(given, hash); err != nil || got != want {
				t.Errorf("%q against %s: got %v, %v", given, hash, got, err)
			}
		}
		if err := password.Check(hash); err != nil || !password.Outdated(hash) {
			t.Errorf("%s: check %v, outdated %v", hash, err, password.Outdated(hash))
		}
	}
	if got, err := password.Verify(long[:72], mustHtpasswd(t, program, long)); err != nil || !got {
		t.Errorf("the 72 bytes that count: got %v, %v", got, err)
	}
}

func mustHtpasswd(t *testing.T, program, plain string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "-nbB", "-C", "4", "u", plain).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "u:"))
}

// The reference program of argon2 makes hashes that we verify, and the very
// same hash as ours from the same salt.
func TestArgon2Agrees(t *testing.T) {
	program := tool(t, "argon2", "argon2")
	ours, err := password.Hash("correct horse", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(strings.Split(ours, "$")[4])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.IndexByte(salt, 0) >= 0 {
		salt = []byte("sixteen bytes ok") // an argument cannot hold a zero byte
		ours = ""
	}
	theirs := argon2(t, program, string(salt), "-t", "2", "-k", "19456", "-p", "1")
	if ours != "" && theirs != ours {
		t.Errorf("argon2 says %s, we %s", theirs, ours)
	}
	if ok, err := password.Verify("correct horse", theirs); err != nil || !ok || password.Outdated(theirs) {
		t.Errorf("%s: got %v, %v, outdated %v", theirs, ok, err, password.Outdated(theirs))
	}
	older := argon2(t, program, "sixteen bytes ok", "-t", "3", "-k", "8192", "-p", "2")
	if ok, err := password.Verify("correct horse", older); err != nil || !ok || !password.Outdated(older) {
		t.Errorf("%s: got %v, %v, outdated %v", older, ok, err, password.Outdated(older))
	}
}

func argon2(t *testing.T, program, salt string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{salt, "-id", "-l", "32", "-e"}, args...)...)
	cmd.Stdin = strings.NewReader("correct horse")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// identity.md row 34: a hash whose parameters would take the machine down is
// refused when it comes in, and if it got in, when it is verified.
func TestHostileHashesAreRefused(t *testing.T) {
	const salt, tag = "$c2l4dGVlbiBieXRlcyBvaw", "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, phc := range []string{
		"$argon2id$v=19$m=4294967295,t=2,p=1" + salt + tag, "$argon2id$v=19$m=131073,t=2,p=1" + salt + tag,
		"$argon2id$v=19$m=19456,t=11,p=1" + salt + tag, "$argon2id$v=19$m=19456,t=2,p=17" + salt + tag, "$argon2id$v=19$m=19456,t=0,p=1" + salt + tag,
		"$argon2i$v=19$m=19456,t=2,p=1" + salt + tag, "$argon2id$v=16$m=19456,t=2,p=1" + salt + tag, "$argon2id$v=19$m=7,t=2,p=1" + salt + tag,
		"$2b$16$" + strings.Repeat("a", 53), "$2b$31$" + strings.Repeat("a", 53), "$2b$10$" + strings.Repeat("a", 52), "$2b$10$" + strings.Repeat("a", 54),
		"$2x$10$" + strings.Repeat("a", 53), "$2b$03$" + strings.Repeat("a", 53), "$2b$1a$" + strings.Repeat("a", 53), "$1$abc$def", "plain", "",
		strings.Repeat("$argon2id", 1000),
	} {
		if err := password.Check(phc); !errors.Is(err, password.ErrMalformed) {
			t.Errorf("%.60s: check said %v", phc, err)
		}
		if ok, err := password.Verify("x", phc); ok || !errors.Is(err, password.ErrMalformed) {
			t.Errorf("%.60s: got %v, %v", phc, ok, err)
		}
	}
}
