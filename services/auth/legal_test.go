package auth

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

func (b *bench) required(access string) *authv1.GetRequiredLegalResponse {
	b.t.Helper()
	r, err := (&legalServer{Service: b.Service}).GetRequiredLegal(b.as(access), &authv1.GetRequiredLegalRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) accept(access string, terms, privacy *string) error {
	_, err := (&legalServer{Service: b.Service}).AcceptLegal(b.as(access), &authv1.AcceptLegalRequest{Terms: terms, Privacy: privacy})
	return err
}

func (b *bench) pending(access string) bool {
	b.t.Helper()
	c, err := b.keys.verifier.Verify(access)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.LegalPending
}

// TestOwed is who owes what: new versions are above accepted ones, and an
// account older than the privacy column stands where its terms do.
func TestOwed(t *testing.T) {
	s := &Service{c: Config{TermsVersion: "2026-03", PrivacyVersion: "2026-05"}}
	for _, tt := range []struct {
		name           string
		terms, privacy string
		want           legal
	}{
		{"current", "2026-03", "2026-05", legal{}},
		{"newer than ours", "2026-04", "2026-06", legal{}},
		{"old terms", "2026-01", "2026-05", legal{Terms: "2026-03"}},
		{"old notice", "2026-03", "2026-01", legal{Privacy: "2026-05"}},
		{"old row, current terms", "2026-03", "", legal{Privacy: "2026-05"}},
		{"old row, newer terms", "2026-05", "", legal{}},
		{"old row", "2026-01", "", legal{"2026-03", "2026-05"}},
		{"from a provider", "", noLegal, legal{"2026-03", "2026-05"}},
		{"from a provider, terms accepted", "2026-03", noLegal, legal{Privacy: "2026-05"}},
	} {
		if got := s.owed(account{AcceptedTerms: tt.terms, AcceptedPrivacy: tt.privacy}); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestNewVersionIsAskedFor(t *testing.T) {
	b := newBench(t)
	g := b.mustJoin("asha@example.com")
	key := b.mustKey(g.GetAccessToken())
	if b.pending(g.GetAccessToken()) {
		t.Error("a new account owes something")
	}
	b.c.TermsVersion, b.c.PrivacyVersion = "2026-02", "2026-03"
	next, err := b.tryRefresh(g.GetRefreshToken())
	if err != nil || !b.pending(next.GetAccessToken()) {
		t.Fatalf("after a new version: %v", err)
	}
	if c, err := b.exchange(key.GetSecret()); err != nil || !c.LegalPending {
		t.Errorf("its key: %v, %v", c, err)
	}
	access := next.GetAccessToken()
	want := &authv1.GetRequiredLegalResponse{
		Terms: &authv1.GetLegalResponse_LegalDocument{Version: "2026-02"}, Privacy: &authv1.GetLegalResponse_LegalDocument{Version: "2026-03"},
	}
	if diff := cmp.Diff(want, b.required(access), protocmp.Transform()); diff != "" {
		t.Errorf("required (-want +got):\n%s", diff)
	}
	wantKind(t, "nothing", b.accept(access, nil, nil), fail.InvalidArgument)
	wantKind(t, "old version", b.accept(access, new("2026-01"), nil), fail.InvalidArgument)
	wantKind(t, "version to come", b.accept(access, new("2026-02"), new("2027-01")), fail.InvalidArgument)

	if err := b.accept(access, new("2026-02"), nil); err != nil {
		t.Fatal(err)
	}
	if next, err = b.tryRefresh(next.GetRefreshToken()); err != nil || !b.pending(next.GetAccessToken()) {
		t.Errorf("with the terms alone: %v", err)
	}
	for range 2 { // the second changes nothing
		if err := b.accept(access, new("2026-02"), new("2026-03")); err != nil {
			t.Fatal(err)
		}
	}
	if next, err = b.tryRefresh(next.GetRefreshToken()); err != nil || b.pending(next.GetAccessToken()) {
		t.Errorf("with both: %v", err)
	}
	if n := b.count(`SELECT count(*) FROM auth.authz_event WHERE kind = 'ACCOUNT_STALE'`); n != 2 {
		t.Errorf("stale events: got %d, want 2", n)
	}
	b.wantAccepted(g.GetUser().GetId(), legal{Terms: "2026-02"}, legal{"2026-02", "2026-03"})
}

// wantAccepted checks what user is told.
func (b *bench) wantAccepted(user string, want ...legal) {
	b.t.Helper()
	var got []legal
	rows, err := b.db.Pool.Query(b.t.Context(), `SELECT payload FROM auth.outbox WHERE type = 'manas.auth.v1.LegalAccepted' AND destination = 'user' AND key = $1 ORDER BY seq`, user)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var payload []byte
		m := &authv1.LegalAccepted{}
		if err := rows.Scan(&payload); err != nil {
			b.t.Fatal(err)
		}
		if err := proto.Unmarshal(payload, m); err != nil {
			b.t.Fatal(err)
		}
		if id.Format("usr", [16]byte(m.GetUserId())) != user {
			b.t.Errorf("event of another: %v", m)
		}
		got = append(got, legal{m.GetTerms(), m.GetPrivacy()})
	}
	if diff := cmp.Diff(want, got); diff != "" || rows.Err() != nil {
		b.t.Errorf("told to user (-want +got): %v\n%s", rows.Err(), diff)
	}
}

// TestOldRowKeepsItsNotice: accepting new terms alone says nothing of the
// notice of an account older than its column.
func TestOldRowKeepsItsNotice(t *testing.T) {
	b := newBench(t)
	access := b.mustJoin("asha@example.com").GetAccessToken()
	b.exec(`UPDATE auth.account SET accepted_privacy = ''`)
	if r := b.required(access); r.GetTerms() != nil || r.GetPrivacy() != nil {
		t.Errorf("an old account owes %v", r)
	}
	b.c.TermsVersion, b.c.PrivacyVersion = "2026-02", "2026-02"
	if err := b.accept(access, new("2026-02"), nil); err != nil {
		t.Fatal(err)
	}
	if r := b.required(access); r.GetTerms() != nil || r.GetPrivacy().GetVersion() != "2026-02" {
		t.Errorf("after the terms it owes %v", r)
	}
}
