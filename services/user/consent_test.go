package user

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

func (r *rig) suspend(h human) {
	h.State = authv1.Account_SUSPENDED
	r.deliver("auth", &authv1.AccountChanged{Account: h.Account, Version: 9})
}

// TestConsents gives and takes back, and reads what is in force.
func TestConsents(t *testing.T) {
	r := newRig(t)
	h, other := r.join("asha@example.com"), r.join("ravi@example.com")
	say := func(d userv1.Consent_Document, version string, granted bool) *userv1.Consent {
		r.clock.move(time.Second)
		return must[*userv1.CreateConsentResponse](t)(r.consents.CreateConsent(h.ctx(), &userv1.CreateConsentRequest{
			Document: d, Version: version, Granted: &granted, Locale: "kn",
		})).GetConsent()
	}
	c := say(userv1.Consent_MARKETING, "1", true)
	if c.GetIpPrefix() != "203.0.113.0/24" || c.GetLocale() != "kn" || c.GetSource() != userv1.Consent_SETTINGS || !strings.HasPrefix(c.GetId(), "cns_") {
		t.Errorf("given %v", c)
	}
	say(userv1.Consent_MARKETING, "1", false)
	say(userv1.Consent_TELETHERAPY, "3", true)
	r.deliver("auth", &authv1.LegalAccepted{UserId: h.GetId(), Terms: "2027-01"})
	r.clock.move(time.Second)
	r.deliver("auth", &authv1.LegalAccepted{UserId: h.GetId(), Terms: "2027-02", Privacy: "2027-01"})
	list := must[*userv1.ListConsentsResponse](t)(r.consents.ListConsents(h.ctx(), &userv1.ListConsentsRequest{}))
	if list.GetTotalSize() != 7 { // the first is of registration
		t.Errorf("%d consents, want 7: %v", list.GetTotalSize(), list)
	}
	if first := list.GetConsents()[6]; first.GetDocument() != userv1.Consent_TERMS || first.GetVersion() != "2026-01" || first.GetSource() != userv1.Consent_REGISTRATION {
		t.Errorf("the first is %v", first)
	}
	got := map[string]string{}
	for _, c := range list.GetCurrent() {
		got[c.GetDocument().String()] = fmt.Sprint(c.GetVersion(), " ", c.GetGranted())
	}
	for document, want := range map[string]string{"TERMS": "2027-02 true", "PRIVACY": "2027-01 true", "MARKETING": "1 false", "TELETHERAPY": "3 true"} {
		if got[document] != want {
			t.Errorf("%s in force: %q, want %q", document, got[document], want)
		}
	}
	if n := must[*userv1.ListConsentsResponse](t)(r.consents.ListConsents(other.ctx(), &userv1.ListConsentsRequest{})).GetTotalSize(); n != 1 {
		t.Errorf("another sees %d, want the own one", n)
	}
	if given, taken := len(r.audited("consent.given")), len(r.audited("consent.withdrawn")); given != 7 || taken != 1 {
		t.Errorf("on record: %d given, %d withdrawn", given, taken)
	}
}

// TestConsentsStay tries to change and remove them as the owner of the table.
func TestConsentsStay(t *testing.T) {
	r := newRig(t)
	r.join("asha@example.com")
	for _, sql := range []string{
		"UPDATE users.consent SET granted = false", "DELETE FROM users.consent", "TRUNCATE users.consent",
		"INSERT INTO users.consent SELECT * FROM users.consent ON CONFLICT (id) DO UPDATE SET granted = false",
	} {
		if _, err := r.db.Pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "only ever added") {
			t.Errorf("%s: %v, want a refusal", sql, err)
		}
	}
}

func TestPreferences(t *testing.T) {
	r := newRig(t)
	h := r.join("asha@example.com")
	get := func() *userv1.Preferences {
		return must[*userv1.GetPreferencesResponse](t)(r.prefs.GetPreferences(h.ctx(), &userv1.GetPreferencesRequest{})).GetPreferences()
	}
	p := get()
	if len(p.GetMarketingChannels()) != 0 || p.GetEtag() != `"0"` || p.GetUpdatedAt() != nil || p.GetQuietHours().GetEnabled() {
		t.Errorf("defaults %v", p)
	}
	email, sms := userv1.Preferences_EMAIL, userv1.Preferences_SMS
	for _, tt := range []struct {
		name    string
		to      *userv1.PreferencesPatch
		mask    []string
		ifMatch string
		want    *fail.Kind
	}{
		{"marketing", &userv1.PreferencesPatch{MarketingChannels: []userv1.Preferences_Channel{sms}}, []string{"marketing_channels"}, `"0"`, nil},
		{"an old etag", &userv1.PreferencesPatch{ReducedMotion: true}, []string{"reduced_motion"}, `"0"`, &fail.PreconditionFailed},
		{"security without mail", &userv1.PreferencesPatch{SecurityChannels: []userv1.Preferences_Channel{sms}}, []string{"security_channels"}, "", &fail.InvalidArgument},
		{"security with more", &userv1.PreferencesPatch{SecurityChannels: []userv1.Preferences_Channel{sms, email}}, []string{"security_channels"}, "", nil},
		{"quiet", &userv1.PreferencesPatch{QuietHours: &userv1.QuietHours{Enabled: true}}, []string{"quiet_hours.enabled"}, "", nil},
		{"quiet for no time", &userv1.PreferencesPatch{QuietHours: &userv1.QuietHours{End: "22:00"}}, []string{"quiet_hours.end"}, "", &fail.InvalidArgument},
		{"quiet without a start", &userv1.PreferencesPatch{}, []string{"quiet_hours"}, "", &fail.InvalidArgument},
		{"nothing", &userv1.PreferencesPatch{}, nil, "", &fail.InvalidArgument},
		{"the version", &userv1.PreferencesPatch{}, []string{"version"}, "", &fail.InvalidArgument},
		{"language", &userv1.PreferencesPatch{ContactLanguage: "hi"}, []string{"contact_language"}, "", nil},
		{"the same again", &userv1.PreferencesPatch{ContactLanguage: "hi"}, []string{"contact_language"}, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.prefs.UpdatePreferences(h.ifMatch(tt.ifMatch), &userv1.UpdatePreferencesRequest{Preferences: tt.to, UpdateMask: &fieldmaskpb.FieldMask{Paths: tt.mask}})
			if tt.want == nil && err != nil || tt.want != nil && !fail.Is(err, *tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	p = get()
	if p.GetEtag() != `"4"` || p.GetContactLanguage() != "hi" || !p.GetQuietHours().GetEnabled() || p.GetQuietHours().GetStart() != "22:00" || !slices.Equal(p.GetMarketingChannels(), []userv1.Preferences_Channel{sms}) {
		t.Errorf("after all: %v", p)
	}
	evs := r.audited("preferences.updated")
	if len(evs) != 4 || evs[0].GetChanges()[0].GetAfter() != `"SMS"` {
		t.Errorf("on record: %v", evs)
	}
}

// paths lists every field name of messages, in both spellings.
func paths(list ...proto.Message) (out []string) {
	for _, m := range list {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			out = append(out, string(f.Name()), f.JSONName())
			if f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() {
				out = append(out, string(f.Name())+".seconds")
			}
		}
	}
	return out
}

// TestMaskReachesNothingElse throws every field name of every message about a
// person, and nonsense, at the masks of one's own resources: address, state,
// roles, proofs and verification stay what they were.
// identity.md row 40
func TestMaskReachesNothingElse(t *testing.T) {
	r := newRig(t)
	h := r.join("asha@example.com")
	r.practise(h)
	names := append(paths(&userv1.User{}, &authv1.Account{}, &userv1.Preferences{}, &userv1.TherapistProfile{}, &userv1.Organization{}, &userv1.Member{}),
		"*", "", ".", "profile", "user", "email_verified_at", "verified", "account_version", "version", "permissions", "plan", "state ", "roles[0]", "user.roles", "profile.roles")
	org := r.org(h, "Acme")
	before := must[*userv1.GetMeResponse](t)(r.GetMe(h.ctx(), &userv1.GetMeRequest{})).GetUser()
	rapid.Check(t, func(t *rapid.T) {
		mask := &fieldmaskpb.FieldMask{Paths: rapid.SliceOfN(rapid.SampledFrom(names), 1, 6).Draw(t, "mask")}
		allowed := func(table func(string) bool) bool {
			return !slices.ContainsFunc(mask.GetPaths(), func(p string) bool { return !table(p) })
		}
		_, err := r.UpdateMe(h.ctx(), &userv1.UpdateMeRequest{
			Profile: &userv1.Profile{FirstName: "Mallory", LastName: "M", Timezone: "UTC", Locale: "hi", AvatarUrl: "https://x.example/a.png"}, UpdateMask: mask,
		})
		if ok := allowed(func(p string) bool { _, in := editable[p]; return in }); (err == nil) != ok {
			t.Fatalf("profile mask %v: %v", mask.GetPaths(), err)
		}
		_, err = r.prefs.UpdatePreferences(h.ctx(), &userv1.UpdatePreferencesRequest{
			Preferences: &userv1.PreferencesPatch{SecurityChannels: []userv1.Preferences_Channel{userv1.Preferences_EMAIL}, QuietHours: &userv1.QuietHours{Start: "21:00", End: "06:00"}},
			UpdateMask:  mask,
		})
		if ok := allowed(func(p string) bool { _, in := preferable[p]; return in }); (err == nil) != ok {
			t.Fatalf("preferences mask %v: %v", mask.GetPaths(), err)
		}
		_, err = r.orgs.UpdateOrganization(h.ctx(), &userv1.UpdateOrganizationRequest{
			Id: org.GetId(), Organization: &userv1.OrganizationPatch{Name: "Other", Type: userv1.Organization_INSURANCE}, UpdateMask: mask,
		})
		if ok := allowed(func(p string) bool { return p == "name" || p == "type" }); (err == nil) != ok {
			t.Fatalf("organization mask %v: %v", mask.GetPaths(), err)
		}
		after := must[*userv1.GetMeResponse](r.t)(r.GetMe(h.ctx(), &userv1.GetMeRequest{})).GetUser()
		if after.GetEmail() != before.GetEmail() || after.GetPhone() != before.GetPhone() || after.GetState() != before.GetState() ||
			!slices.Equal(after.GetRoles(), before.GetRoles()) || after.GetId() != before.GetId() || !after.GetCreatedAt().AsTime().Equal(before.GetCreatedAt().AsTime()) {
			t.Fatalf("mask %v changed %v to %v", mask.GetPaths(), before, after)
		}
		p := must[*userv1.GetTherapistProfileResponse](r.t)(r.pros.GetTherapistProfile(h.ctx(), &userv1.GetTherapistProfileRequest{})).GetProfile()
		if p.GetState() != userv1.TherapistProfile_PENDING {
			t.Fatalf("mask %v made the therapist %v", mask.GetPaths(), p.GetState())
		}
	})
}

// TestOperatorsAreSeen records who looked at whom, and nobody's look at
// oneself.
func TestOperatorsAreSeen(t *testing.T) {
	r := newRig(t)
	h, admin := r.join("asha@example.com"), r.join("admin@example.com")
	must[*userv1.GetUserResponse](t)(r.GetUser(h.ctx(), &userv1.GetUserRequest{Id: h.name()}))
	must[*userv1.GetUserResponse](t)(r.GetUser(admin.ctx("users.manage"), &userv1.GetUserRequest{Id: admin.name()}))
	if n := len(r.audited("user.viewed")); n != 0 {
		t.Errorf("%d looks at oneself on record", n)
	}
	must[*userv1.GetUserResponse](t)(r.GetUser(admin.ctx("users.manage"), &userv1.GetUserRequest{Id: h.name()}))
	evs := r.audited("user.viewed")
	if len(evs) != 1 || evs[0].GetActor().GetType() != "admin" || evs[0].GetActor().GetId() != admin.name() || evs[0].GetTargets()[0].GetId() != h.name() {
		t.Errorf("on record: %v", evs)
	}
}
