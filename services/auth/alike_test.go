package auth

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// strangers are accounts in every state, and none.
func (b *bench) strangers() map[string]string {
	b.t.Helper()
	who := map[string]string{"known": "known@example.com", "suspended": "suspended@example.com", "legacy": "legacy@example.com", "unverified": "unverified@example.com", "unknown": "unknown@example.com"}
	for _, name := range []string{"known", "suspended", "legacy"} {
		b.mustJoin(who[name])
	}
	b.setPHC(who["legacy"], bcryptOf(b.t, goodPassword))
	if _, err := b.db.Pool.Exec(b.t.Context(), `UPDATE auth.account SET state = 'SUSPENDED' WHERE email = $1`, who["suspended"]); err != nil {
		b.t.Fatal(err)
	}
	b.mustRegister(who["unverified"])
	return who
}

// identity.md row 42: a wrong password is answered alike for everybody.
func TestWrongPasswordIsAnsweredAlike(t *testing.T) {
	b := newBench(t)
	for name, email := range b.strangers() {
		err := b.loginOn(b.on("", "203.0.113.7"), email, "wrong password")
		e, ok := fail.As(err)
		if !ok {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]any{fail.InvalidCredentials.Reason, wrongCredentials().Error(), 0, 0}, []any{e.Kind.Reason, e.Error(), len(e.Meta), len(e.Fields)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whoever registers an address and signs in with that password is told to
// verify it, whether it is somebody's already or not; and the owner's own
// password goes on working.
func TestRegistrationTellsNothingAtTheDoor(t *testing.T) {
	b := newBench(t)
	b.mustJoin(ashasMail)
	for _, email := range []string{ashasMail, "unknown@example.com"} {
		r := registration1(email)
		r.Password = "a stranger's password"
		b.clock.pass(2 * resendAfter)
		if _, err := b.pub.Register(b.visitor(), r); err != nil {
			t.Fatal(err)
		}
		for plain, want := range map[string]fail.Kind{"a stranger's password": fail.EmailNotVerified, "no such password": fail.InvalidCredentials} {
			if err := b.loginOn(b.on("", "203.0.113.7"), email, plain); !fail.Is(err, want) {
				t.Errorf("%s, %s: got %v", email, plain, err)
			}
		}
	}
	b.mustLogin(ashasMail)
	// Through the administrators' door a stranger's password is wrong for both.
	for _, email := range []string{ashasMail, "unknown@example.com"} {
		_, err := b.pub.AdminLogin(b.visitor(), &authv1.AdminLoginRequest{Email: email, Password: "a stranger's password"})
		if !fail.Is(err, fail.InvalidCredentials) {
			t.Errorf("%s: got %v", email, err)
		}
	}
}

// As many hashes, whoever it is: the work is alike before any clock is asked.
func TestWorkIsAlike(t *testing.T) {
	b := newBench(t)
	who := b.strangers()
	r := registration1(who["known"]) // a stranger's attempt on a known address, as on the unverified one
	b.clock.pass(2 * resendAfter)
	if _, err := b.pub.Register(b.visitor(), r); err != nil {
		t.Fatal(err)
	}
	count := func(email string) int {
		n := 0
		b.hash.now = func() time.Time { n++; return time.Time{} } // asked twice a hash
		defer func() { b.hash.now = b.now }()
		if err := b.loginOn(b.on("", "203.0.113.7"), email, "wrong password"); !fail.Is(err, fail.InvalidCredentials) {
			t.Fatal(err)
		}
		return n / 2
	}
	for name, want := range map[string]int{"known": 2, "unverified": 2, "unknown": 1, "suspended": 1, "legacy": 1} {
		if got := count(who[name]); got != want {
			t.Errorf("%s: %d hashes, want %d", name, got, want)
		}
	}
}

// identity.md G13: answers are released on a beat, so that what is left of the
// difference is the timer's. The clock is real here; samples are interleaved.
func TestTimesAreAlike(t *testing.T) {
	const rounds = 14
	b := newBench(t)
	who := b.strangers()
	b.now = time.Now
	b.hash.now = time.Now
	b.rest = rest
	took := map[string][]time.Duration{}
	for range rounds {
		for name, email := range who {
			b.forgetFailures(email)
			began := time.Now()
			if err := b.loginOn(b.on("", "203.0.113.7"), email, "wrong password"); !fail.Is(err, fail.InvalidCredentials) {
				t.Fatal(name, err)
			}
			took[name] = append(took[name], time.Since(began)%beat)
		}
	}
	// Beyond the beat there is the time of a timer; a machine under load is late
	// for everybody alike.
	medians := map[string]time.Duration{}
	for name, list := range took {
		slices.Sort(list)
		medians[name] = list[len(list)/2]
	}
	lo, hi := medians["unknown"], medians["unknown"]
	for _, m := range medians {
		lo, hi = min(lo, m), max(hi, m)
	}
	t.Logf("medians beyond the beat: %v", medians)
	if hi-lo > beat/5 {
		t.Errorf("medians differ by %v: %v", hi-lo, medians)
	}
}

func (b *bench) forgetFailures(email string) {
	b.t.Helper()
	keys, err := b.redis.Keys(b.t.Context(), b.throttle.prefix+"*").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	if len(keys) == 0 {
		return
	}
	if err := b.redis.Del(b.t.Context(), keys...).Err(); err != nil {
		b.t.Fatal(err, email)
	}
}
