package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/manas360/platform/pkg/fail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func TestRegisterAndVerify(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("  Asha@Example.com ")
	claims, err := b.keys.verifier.Verify(g.GetAccessToken())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Plan != "free" || claims.MFAPending || claims.Epoch != 1 || claims.Expires-claims.IssuedAt != 900 {
		t.Errorf("claims: got %+v", claims)
	}
	wantPerms := []string{"dashboard.read", "payments.read", "profile.delete", "profile.read", "profile.update"}
	if diff := cmp.Diff(wantPerms, claims.Permissions); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	email := "asha@example.com"
	want := &authv1.SessionUser{
		Id: claims.Subject, Email: &email, Phone: new(""), EmailVerified: true, Roles: []string{"user"}, Permissions: wantPerms, Plan: "free",
	}
	if diff := cmp.Diff(want, g.GetUser(), protocmp.Transform()); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	if len(g.GetAccessToken()) > 1024 || g.GetRefreshExpiresIn() != 604800 || g.GetExpiresIn() != 900 {
		t.Errorf("token of %d bytes, lives %d and %d", len(g.GetAccessToken()), g.GetExpiresIn(), g.GetRefreshExpiresIn())
	}
	for sql, want := range map[string]int{
		`SELECT count(*) FROM auth.outbox WHERE type = 'manas.auth.v1.AccountActivated'`: 2,
		`SELECT count(*) FROM auth.outbox WHERE destination = 'audit'`:                   3, // registration, verified, session
		`SELECT count(*) FROM auth.registration`:                                         0,
		`SELECT count(*) FROM auth.message WHERE content IS NOT NULL`:                    0,
	} {
		if got := b.count(sql); got != want {
			t.Errorf("%s: got %d, want %d", sql, got, want)
		}
	}
	b.noSecretsInEvents("asha@example.com", b.letters()[0].Code)
}

// audited reads every audit event.
func (b *bench) audited() []*auditv1.Event {
	b.t.Helper()
	var out []*auditv1.Event
	rows, err := b.db.Pool.Query(b.t.Context(), `SELECT payload FROM auth.outbox WHERE destination = 'audit' ORDER BY seq`)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			b.t.Fatal(err)
		}
		ev := &auditv1.Event{}
		if err := proto.Unmarshal(payload, ev); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, ev)
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// noSecretsInEvents looks in them for what must not stand there.
func (b *bench) noSecretsInEvents(secret ...string) {
	b.t.Helper()
	for _, ev := range b.audited() {
		if ev.GetIpPrefix() != "203.0.113.0/24" || ev.GetRequestId() != "req-1" {
			b.t.Errorf("event %s: address %q, request %q", ev.GetAction(), ev.GetIpPrefix(), ev.GetRequestId())
		}
		for _, x := range secret {
			if strings.Contains(ev.String(), x) {
				b.t.Errorf("event %s holds %q", ev.GetAction(), x)
			}
		}
	}
}

// TestKnownAddress gets the same answers; only the mail differs.
func TestKnownAddress(t *testing.T) {
	b := newBench(t)
	b.mustJoin("asha@example.com")
	b.clock.pass(time.Hour)
	unknown, err := b.pub.Register(b.visitor(), registration1("ravi@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := b.pub.Register(b.visitor(), registration1("ASHA@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	unknown.ChallengeId, known.ChallengeId = unknown.GetChallengeId()[:4], known.GetChallengeId()[:4]
	if diff := cmp.Diff(unknown, known, protocmp.Transform()); diff != "" {
		t.Errorf("answers differ (-unknown +known):\n%s", diff)
	}
	for _, email := range []string{"ravi@example.com", "asha@example.com"} {
		_, err := b.pub.Register(b.visitor(), registration1(email))
		wantKind(t, "again at once: "+email, err, fail.RateLimited)
		if e, ok := fail.As(err); !ok || e.Retry <= 0 || e.Retry > time.Minute {
			t.Errorf("retry after: got %v", err)
		}
	}
	last := b.letters()
	if got := last[len(last)-1]; got.Template != "account_exists" || got.Code != "" || got.To != "asha@example.com" {
		t.Errorf("mail to the owner: got %+v", got)
	}
	b.clock.pass(time.Hour)
	r, err := b.pub.Register(b.visitor(), registration1("asha@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		_, err := b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: r.GetChallengeId(), Code: "000000"})
		wantKind(t, "try "+string(rune('1'+i)), err, fail.InvalidCode)
	}
	_, err = b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: r.GetChallengeId(), Code: "000000"})
	wantKind(t, "sixth try", err, fail.TooManyAttempts)
	if e, _ := fail.As(err); e == nil || e.Retry != resendAfter {
		t.Errorf("sixth try says when another code may be asked for: %v", e)
	}
}

func TestRegisterRefuses(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct {
		name   string
		change func(r *authv1.RegisterRequest)
		want   fail.Kind
	}{
		{"old terms", func(r *authv1.RegisterRequest) { r.AcceptedTerms = "2020-01" }, fail.InvalidArgument},
		{"blank name", func(r *authv1.RegisterRequest) { r.FirstName = " \t" }, fail.InvalidArgument},
		{"short password", func(r *authv1.RegisterRequest) { r.Password = "x7!kqp2" }, fail.WeakPassword},
		{"common password", func(r *authv1.RegisterRequest) { r.Password = "Password1" }, fail.WeakPassword},
		{"own address", func(r *authv1.RegisterRequest) { r.Password = "asha@example.com" }, fail.WeakPassword},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := registration1("asha@example.com")
			tt.change(r)
			_, err := b.pub.Register(b.visitor(), r)
			wantKind(t, tt.name, err, tt.want)
		})
	}
	if n := b.count(`SELECT count(*) FROM auth.challenge`); n != 0 {
		t.Errorf("%d challenges were made", n)
	}
}

func TestVerifyRefuses(t *testing.T) {
	b := newBench(t)
	ch, code := b.mustRegister("asha@example.com")
	try := func(ch, code string) error {
		_, err := b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: ch, Code: code})
		return err
	}
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	wantKind(t, "unknown id", try("chl_"+strings.Repeat("0", 26), code), fail.InvalidCode)
	wantKind(t, "malformed id", try("chl_x", code), fail.InvalidCode)
	wantKind(t, "odd code", try(ch, "12\x0034"), fail.InvalidCode)
	for range 4 {
		wantKind(t, "wrong code", try(ch, wrong), fail.InvalidCode)
	}
	wantKind(t, "right code too late", try(ch, code), fail.TooManyAttempts)

	b.clock.pass(time.Hour)
	ch, code = b.mustRegister("asha@example.com")
	b.clock.pass(10 * time.Minute)
	wantKind(t, "expired", try(ch, code), fail.ChallengeExpired)

	ch, code = b.mustRegister("asha@example.com")
	if err := try(ch, code); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "used", try(ch, code), fail.InvalidCode)
}

// TestCodeIsGoodOnce presents one code 32 times at the same moment.
func TestCodeIsGoodOnce(t *testing.T) {
	b := newBench(t)
	ch, code := b.mustRegister("asha@example.com")
	got := together(32, func(int) error {
		_, err := b.pub.Verify(b.visitor(), &authv1.VerifyRequest{ChallengeId: ch, Code: code})
		return err
	})
	if diff := cmp.Diff(map[string]int{"": 1, "INVALID_CODE": 31}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if n := b.count(`SELECT count(*) FROM auth.session`); n != 1 {
		t.Errorf("sessions: got %d, want 1", n)
	}
}

// TestTwoRegistrations race for one address: the code decides whose password it is.
func TestTwoRegistrations(t *testing.T) {
	b := newBench(t)
	stranger := registration1("asha@example.com")
	stranger.Password = "the password of a stranger"
	if _, err := b.pub.Register(b.visitor(), stranger); err != nil {
		t.Fatal(err)
	}
	b.clock.pass(2 * time.Minute)
	b.mustJoin("asha@example.com")
	if _, err := b.tryLogin("asha@example.com", stranger.GetPassword()); !fail.Is(err, fail.InvalidCredentials) {
		t.Errorf("the stranger's password: got %v", err)
	}
	b.mustLogin("asha@example.com")
}
