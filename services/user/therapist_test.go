package user

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

const because = "looked the licence up"

func details() *userv1.TherapistDetails {
	return &userv1.TherapistDetails{
		Type: userv1.TherapistProfile_PSYCHOLOGIST, Specializations: []string{"Anxiety", " sleep  and rest"}, ExperienceYears: 7,
		LicenseNumber: "RCI  A12345", Languages: []string{"en", "kn"}, About: "Two words.\nAnd two more.",
	}
}

func (r *rig) put(ctx context.Context, d *userv1.TherapistDetails) (*userv1.TherapistProfile, error) {
	out, err := r.pros.PutTherapistProfile(ctx, &userv1.PutTherapistProfileRequest{Profile: d})
	return out.GetProfile(), err
}

func (r *rig) submit(h human) (*userv1.TherapistProfile, error) {
	out, err := r.pros.SubmitTherapistProfile(h.ctx(), &userv1.SubmitTherapistProfileRequest{})
	return out.GetProfile(), err
}

// practise brings a profile to PENDING.
func (r *rig) practise(h human) {
	r.t.Helper()
	must[*userv1.TherapistProfile](r.t)(r.put(h.ctx(), details()))
	must[*userv1.TherapistProfile](r.t)(r.submit(h))
}

func (r *rig) try(ctx context.Context, whose human, to string) (p *userv1.TherapistProfile, err error) {
	switch to {
	case therapistVerified:
		out, err := r.decide.VerifyTherapist(ctx, &userv1.VerifyTherapistRequest{Id: whose.name(), Reason: because})
		return out.GetProfile(), err
	case therapistRejected:
		out, err := r.decide.RejectTherapist(ctx, &userv1.RejectTherapistRequest{Id: whose.name(), Reason: because})
		return out.GetProfile(), err
	default:
		out, err := r.decide.SuspendTherapist(ctx, &userv1.SuspendTherapistRequest{Id: whose.name(), Reason: because})
		return out.GetProfile(), err
	}
}

func (r *rig) decision(by, whose human, to string) {
	r.t.Helper()
	must[*userv1.TherapistProfile](r.t)(r.try(by.ctx("therapists.verify"), whose, to))
}

// verdicts is what auth was told, oldest first.
func (r *rig) verdicts() (out []bool) {
	for _, ev := range events(r, "auth", func() *userv1.TherapistVerified { return &userv1.TherapistVerified{} }) {
		out = append(out, ev.GetVerified())
	}
	return out
}

// TestTherapist walks a professional through every state, and looks at what
// auth and audit are told.
func TestTherapist(t *testing.T) {
	r := newRig(t)
	pro, admin, guest := r.join("pro@example.com"), r.join("admin@example.com"), r.join("guest@example.com")
	_, err := r.pros.GetTherapistProfile(pro.ctx(), &userv1.GetTherapistProfileRequest{})
	wantKind(t, "none yet", err, fail.NotFound)
	_, err = r.submit(pro)
	wantKind(t, "submitting none", err, fail.NotFound)
	bare := must[*userv1.TherapistProfile](t)(r.put(pro.ctx(), &userv1.TherapistDetails{Type: userv1.TherapistProfile_PSYCHIATRIST}))
	_, err = r.submit(pro)
	if e, _ := fail.As(err); !fail.Is(err, fail.InvalidArgument) || len(e.Fields) != 3 {
		t.Errorf("submitting a bare one: %v, want three fields", err)
	}
	p := must[*userv1.TherapistProfile](t)(r.put(pro.ifMatch(bare.GetEtag()), details()))
	if p.GetState() != userv1.TherapistProfile_DRAFT || p.GetLicenseNumber() != "RCI A12345" {
		t.Errorf("draft %v", p)
	}
	if diff := cmp.Diff([]string{"anxiety", "sleep and rest"}, p.GetSpecializations()); diff != "" {
		t.Error(diff)
	}
	_, err = r.put(pro.ifMatch(bare.GetEtag()), details())
	wantKind(t, "an old etag", err, fail.PreconditionFailed)
	for _, to := range []string{therapistVerified, therapistRejected, therapistSuspended} {
		_, err = r.try(admin.ctx(), pro, to)
		wantKind(t, to+" of a draft", err, fail.Conflict)
	}
	shown := func(want bool) {
		t.Helper()
		_, err := r.pros.GetTherapist(guest.ctx(), &userv1.GetTherapistRequest{Id: pro.name()})
		if (err == nil) != want || err != nil && !fail.Is(err, fail.NotFound) {
			t.Errorf("shown: %v, want %v", err, want)
		}
		list := must[*userv1.ListTherapistsResponse](t)(r.pros.ListTherapists(guest.ctx(), &userv1.ListTherapistsRequest{Language: "kn", Specialization: "Anxiety"}))
		if (len(list.GetTherapists()) == 1) != want {
			t.Errorf("listed: %v, want %v", list, want)
		}
	}
	for range 2 { // repeatable
		if p = must[*userv1.TherapistProfile](t)(r.submit(pro)); p.GetState() != userv1.TherapistProfile_PENDING {
			t.Errorf("submitted %v", p)
		}
	}
	shown(false)
	r.decision(admin, pro, therapistRejected)
	p = must[*userv1.GetTherapistProfileResponse](t)(r.pros.GetTherapistProfile(pro.ctx(), &userv1.GetTherapistProfileRequest{})).GetProfile()
	if p.GetState() != userv1.TherapistProfile_REJECTED || p.GetReason() != because {
		t.Errorf("rejected %v", p)
	}
	must[*userv1.TherapistProfile](t)(r.submit(pro))
	// What an operator looked at is what is decided about.
	stale := must[*userv1.ListTherapistProfilesResponse](t)(r.decide.ListTherapistProfiles(admin.ctx(), &userv1.ListTherapistProfilesRequest{State: userv1.TherapistProfile_PENDING})).GetTherapists()[0]
	other := details()
	other.LicenseNumber = "RCI B1"
	must[*userv1.TherapistProfile](t)(r.put(pro.ctx(), other))
	_, err = r.try(admin.ctx(), pro, therapistVerified)
	wantKind(t, "verifying what was taken back", err, fail.Conflict)
	must[*userv1.TherapistProfile](t)(r.submit(pro))
	_, err = r.try(metadata.NewIncomingContext(admin.ctx(), metadata.Pairs("if-match", stale.GetEtag())), pro, therapistVerified)
	wantKind(t, "verifying another licence than seen", err, fail.PreconditionFailed)
	for range 2 {
		r.decision(admin, pro, therapistVerified)
	}
	shown(true)
	_, err = r.submit(pro)
	wantKind(t, "submitting a verified one", err, fail.Conflict)
	other.About = "Another word."
	if p = must[*userv1.TherapistProfile](t)(r.put(pro.ctx(), other)); p.GetState() != userv1.TherapistProfile_VERIFIED {
		t.Errorf("new words made it %v", p.GetState())
	}
	r.decision(admin, pro, therapistSuspended)
	shown(false)
	r.decision(admin, pro, therapistVerified)
	other.LicenseNumber = "RCI C1"
	if p = must[*userv1.TherapistProfile](t)(r.put(pro.ctx(), other)); p.GetState() != userv1.TherapistProfile_PENDING || p.GetSubmittedAt() == nil {
		t.Errorf("another licence left it %v", p)
	}
	shown(false)
	if diff := cmp.Diff([]bool{true, false, true, false}, r.verdicts()); diff != "" {
		t.Errorf("what auth was told:\n%s", diff)
	}
	verified := r.audited("therapist.verified")
	if len(verified) != 2 || verified[0].GetReason() != because || verified[0].GetActor().GetType() != "admin" ||
		verified[0].GetChanges()[0].GetBefore() != `"PENDING"` || verified[0].GetChanges()[0].GetAfter() != `"VERIFIED"` {
		t.Errorf("on record: %v", verified)
	}
}

// TestNobodyDecidesAboutOneself refuses, and records the attempt.
func TestNobodyDecidesAboutOneself(t *testing.T) {
	r := newRig(t)
	pro := r.join("pro@example.com")
	r.practise(pro)
	for _, to := range []string{therapistVerified, therapistRejected, therapistSuspended} {
		_, err := r.try(pro.ctx("therapists.verify"), pro, to)
		wantKind(t, to, err, fail.PermissionDenied)
	}
	if evs := r.audited("therapist.verified"); len(evs) != 1 || evs[0].GetOutcome() != auditv1.Event_DENIED {
		t.Errorf("on record: %v", evs)
	}
	if len(r.verdicts()) != 0 {
		t.Error("auth was told")
	}
}

// TestOldConsole maps the old call on the new ones.
func TestOldConsole(t *testing.T) {
	r := newRig(t)
	pro, admin := r.join("pro@example.com"), r.join("admin@example.com")
	call := func(verified bool) (userv1.TherapistProfile_State, error) {
		out, err := r.decide.DecideTherapist(admin.ctx(), &userv1.DecideTherapistRequest{Id: pro.name(), Verified: &verified, Reason: because})
		return out.GetProfile().GetState(), err
	}
	_, err := call(true)
	wantKind(t, "no therapist", err, fail.NotFound)
	r.practise(pro)
	for _, tt := range []struct {
		verified bool
		want     userv1.TherapistProfile_State
	}{
		{true, userv1.TherapistProfile_VERIFIED},
		{true, userv1.TherapistProfile_VERIFIED},
		{false, userv1.TherapistProfile_SUSPENDED},
		{false, userv1.TherapistProfile_SUSPENDED},
		{true, userv1.TherapistProfile_VERIFIED},
	} {
		if got := must[userv1.TherapistProfile_State](t)(call(tt.verified)); got != tt.want {
			t.Errorf("verified %v: %v, want %v", tt.verified, got, tt.want)
		}
	}
	for _, user := range []string{"", "usr_x", r.join("plain@example.com").name()} {
		_, err := r.decide.VerifyTherapist(admin.ctx(), &userv1.VerifyTherapistRequest{Id: user, Reason: because})
		wantKind(t, "no therapist "+user, err, fail.NotFound)
	}
}

// TestTherapistStates drives the rules through random acts: only an operator's
// verification of the licence that is there makes one verified.
func TestTherapistStates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := therapist{State: therapistDraft, Type: "PSYCHOLOGIST", LicenseNumber: "1"}
		vouched := "" // the type and licence last looked at
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if p.State == therapistVerified && p.Type+p.LicenseNumber != vouched {
					t.Fatalf("verified as %s %s, looked at %s", p.Type, p.LicenseNumber, vouched)
				}
			},
			"write": func(t *rapid.T) {
				before := p
				p.Type = rapid.SampledFrom([]string{"PSYCHOLOGIST", "COACH"}).Draw(t, "type")
				p.LicenseNumber = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "licence")
				p.About = rapid.SampledFrom([]string{"", "x"}).Draw(t, "about")
				if !p.sameWords(before) {
					p.State = edited(before, p)
				}
			},
			"submit": func(*rapid.T) {
				if p.State == therapistDraft || p.State == therapistRejected {
					p.State = therapistPending
				}
			},
			"decide": func(t *rapid.T) {
				to := rapid.SampledFrom([]string{therapistVerified, therapistRejected, therapistSuspended, therapistDraft, therapistPending}).Draw(t, "to")
				if !decided(p.State, to) {
					return
				}
				if p.State = to; to == therapistVerified {
					vouched = p.Type + p.LicenseNumber
				}
			},
		})
	})
}

// TestTherapistsAreActive hides one whose account is suspended.
func TestTherapistsAreActive(t *testing.T) {
	r := newRig(t)
	pro, admin, guest := r.join("pro@example.com"), r.join("admin@example.com"), r.join("guest@example.com")
	r.practise(pro)
	r.decision(admin, pro, therapistVerified)
	r.clock.move(time.Second)
	for _, f := range []*userv1.ListTherapistsRequest{
		{Language: "ta"},
		{Specialization: "grief"},
		{Type: userv1.TherapistProfile_COACH},
	} {
		if n := must[*userv1.ListTherapistsResponse](t)(r.pros.ListTherapists(guest.ctx(), f)).GetTotalSize(); n != 0 {
			t.Errorf("filter %v finds %d", f, n)
		}
	}
	r.suspend(pro)
	if n := must[*userv1.ListTherapistsResponse](t)(r.pros.ListTherapists(guest.ctx(), &userv1.ListTherapistsRequest{})).GetTotalSize(); n != 0 {
		t.Errorf("a suspended account is listed: %d", n)
	}
}
