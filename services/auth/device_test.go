package auth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// on is a visitor's context on a device that shows its token.
func (b *bench) on(device, ip string) *token.Caller {
	return &token.Caller{ClientIP: ip, UserAgent: "test", RequestID: "req-1", Device: device}
}

func (b *bench) loginOn(c *token.Caller, email, plain string) error {
	b.t.Helper()
	_, err := b.pub.Login(token.NewContext(b.t.Context(), c), &authv1.LoginRequest{Email: email, Password: plain})
	return err
}

// identity.md row 27: strangers lock themselves out, from however many
// addresses they come; the owner on a device that is known signs in at once.
func TestStrangersCannotLockTheOwnerOut(t *testing.T) {
	b := newBench(t)
	device := b.mustJoin(ashasMail).GetDeviceToken()
	if !strings.HasPrefix(device, devicePrefix) {
		t.Fatalf("no device token: %q", device)
	}
	guesses, hashed := 400, 0
	for i := range guesses {
		err := b.loginOn(b.on("", fmt.Sprintf("198.51.%d.%d", i%200, i/200+1)), ashasMail, "wrong password")
		if fail.Is(err, fail.InvalidCredentials) {
			hashed++
		} else if !fail.Is(err, fail.TooManyAttempts) {
			t.Fatal(err)
		}
	}
	if hashed != forAccount.limit {
		t.Errorf("%d guesses were compared, want %d", hashed, forAccount.limit)
	}
	if err := b.loginOn(b.on("", "203.0.113.7"), ashasMail, goodPassword); !fail.Is(err, fail.TooManyAttempts) {
		t.Errorf("on an unknown device: got %v", err)
	}
	if err := b.loginOn(b.on(device, "203.0.113.7"), ashasMail, goodPassword); err != nil {
		t.Errorf("on the owner's device: %v", err)
	}
	locked := 0
	for _, m := range b.letters() {
		if m.Template == "account_locked" {
			locked++
		}
	}
	if locked != 1 {
		t.Errorf("the owner was told %d times", locked)
	}
}

// A device has its own ten guesses, and its filling locks nobody else.
func TestStolenDeviceIsBounded(t *testing.T) {
	b := newBench(t)
	device := b.mustJoin(ashasMail).GetDeviceToken()
	for i := range forDevice.limit {
		if err := b.loginOn(b.on(device, "203.0.113.9"), ashasMail, "wrong password"); !fail.Is(err, fail.InvalidCredentials) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := b.loginOn(b.on(device, "203.0.113.9"), ashasMail, goodPassword); !fail.Is(err, fail.TooManyAttempts) {
		t.Errorf("the eleventh: got %v", err)
	}
	if err := b.loginOn(b.on("", "203.0.113.7"), ashasMail, goodPassword); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	b.clock.pass(forDevice.window + time.Second)
	if err := b.loginOn(b.on(device, "203.0.113.9"), ashasMail, goodPassword); err != nil {
		t.Errorf("later: %v", err)
	}
}

// identity.md G14: unknown devices together have a hundred guesses a day.
func TestGuessesOfADay(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	compared := 0
	for range 24 * 6 {
		for i := range 3 {
			err := b.loginOn(b.on("", fmt.Sprintf("198.51.100.%d", i)), ashasMail, "wrong password")
			if fail.Is(err, fail.InvalidCredentials) {
				compared++
			}
		}
		b.clock.pass(10 * time.Minute)
	}
	if compared > forAccount.perDay {
		t.Errorf("%d guesses were compared in a day", compared)
	}
}

// A token that is not ours, or another account's, makes no device known.
func TestDeviceTokens(t *testing.T) {
	b := newBench(t)
	device := b.mustJoin(ashasMail).GetDeviceToken()
	other := b.mustJoin("ravi@example.com").GetDeviceToken()
	for i := range forAccount.limit {
		if err := b.loginOn(b.on("", fmt.Sprintf("198.51.100.%d", i)), ashasMail, "wrong password"); err == nil {
			t.Fatal("signed in")
		}
	}
	flipped := []byte(device)
	flipped[len(flipped)-1] ^= 1
	for name, d := range map[string]string{
		"another's": other, "shortened": device[:len(device)-1], "flipped": string(flipped), "longer": device + "A", "empty": devicePrefix, "no prefix": device[4:],
	} {
		if err := b.loginOn(b.on(d, "203.0.113.7"), ashasMail, goodPassword); !fail.Is(err, fail.TooManyAttempts) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := b.loginOn(b.on(device, "203.0.113.7"), ashasMail, goodPassword); err != nil {
		t.Error(err)
	}
}

// The owner hears of a device not seen before, once; not of the first of all,
// nor of a client that keeps no token but comes back the same.
func TestNewDeviceIsTold(t *testing.T) {
	b := newBench(t)
	device := b.mustJoin(ashasMail).GetDeviceToken()
	told := func() (n int) {
		for _, m := range b.letters() {
			if m.Template == "new_device" {
				n++
			}
		}
		return n
	}
	login := func(c *token.Caller) {
		t.Helper()
		if err := b.loginOn(c, ashasMail, goodPassword); err != nil {
			t.Fatal(err)
		}
	}
	login(b.on("", "203.0.113.8")) // same kind, same neighbourhood
	login(b.on(device, "198.51.100.1"))
	if n := told(); n != 0 {
		t.Fatalf("told %d times of known devices", n)
	}
	phone := &token.Caller{ClientIP: "192.0.2.1", UserAgent: "phone", RequestID: "r"}
	login(phone)
	login(phone)
	if n := told(); n != 1 {
		t.Errorf("told %d times of a new device", n)
	}
}

func FuzzParseDevice(f *testing.F) {
	s := &Service{secrets: newSecrets("an access secret of 32 characters", "a refresh secret of 32 characters")}
	f.Add("dev_", "")
	f.Add(s.deviceToken([16]byte{1, 2, 3}), "dev_AAAA")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, raw := range []string{a, b} {
			if d, ok := s.parseDevice(raw); ok && s.deviceToken(d) != raw {
				t.Errorf("%q is another spelling of %q", raw, s.deviceToken(d))
			}
		}
	})
}
