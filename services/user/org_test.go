package user

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// objects is what an organization holds, by their public ids.
type objects struct{ org, member, invitation string }

// calls are all RPCs about one organization's objects.
func calls(r *rig) map[string]func(ctx context.Context, o objects) error {
	s := r.orgs
	return map[string]func(ctx context.Context, o objects) error{
		"GetOrganization": func(ctx context.Context, o objects) error {
			_, err := s.GetOrganization(ctx, &userv1.GetOrganizationRequest{Id: o.org})
			return err
		},
		"UpdateOrganization": func(ctx context.Context, o objects) error {
			_, err := s.UpdateOrganization(ctx, &userv1.UpdateOrganizationRequest{
				Id: o.org, Organization: &userv1.OrganizationPatch{Name: "Mine now"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}},
			})
			return err
		},
		"DeleteOrganization": func(ctx context.Context, o objects) error {
			_, err := s.DeleteOrganization(ctx, &userv1.DeleteOrganizationRequest{Id: o.org})
			return err
		},
		"ListMembers": func(ctx context.Context, o objects) error {
			_, err := s.ListMembers(ctx, &userv1.ListMembersRequest{Id: o.org})
			return err
		},
		"UpdateMember": func(ctx context.Context, o objects) error {
			_, err := s.UpdateMember(ctx, &userv1.UpdateMemberRequest{Id: o.org, UserId: o.member, Role: userv1.Member_ADMIN})
			return err
		},
		"RemoveMember": func(ctx context.Context, o objects) error {
			_, err := s.RemoveMember(ctx, &userv1.RemoveMemberRequest{Id: o.org, UserId: o.member})
			return err
		},
		"CreateInvitation": func(ctx context.Context, o objects) error {
			_, err := s.CreateInvitation(ctx, &userv1.CreateInvitationRequest{Id: o.org, Email: "new@example.com"})
			return err
		},
		"BulkCreateInvitations": func(ctx context.Context, o objects) error {
			_, err := s.BulkCreateInvitations(ctx, &userv1.BulkCreateInvitationsRequest{Id: o.org, Emails: []string{"new@example.com"}})
			return err
		},
		"ListInvitations": func(ctx context.Context, o objects) error {
			_, err := s.ListInvitations(ctx, &userv1.ListInvitationsRequest{Id: o.org})
			return err
		},
		"ResendInvitation": func(ctx context.Context, o objects) error {
			_, err := s.ResendInvitation(ctx, &userv1.ResendInvitationRequest{Id: o.org, InvitationId: o.invitation})
			return err
		},
		"RevokeInvitation": func(ctx context.Context, o objects) error {
			_, err := s.RevokeInvitation(ctx, &userv1.RevokeInvitationRequest{Id: o.org, InvitationId: o.invitation})
			return err
		},
	}
}

// TestTenantMatrix calls every RPC of organizations from outside: members of A
// on objects of B, strangers, and nonsense find nothing; a plain member finds
// the door shut.
// identity.md row 68
func TestTenantMatrix(t *testing.T) {
	r := newRig(t)
	own := func(name string) (owner, plain human, o objects) {
		owner, plain = r.join("owner-"+name+"@example.com"), r.join("plain-"+name+"@example.com")
		r.plan(owner, 2, -1)
		org := r.org(owner, name)
		r.bring(owner, org.GetId(), plain, userv1.Member_MEMBER)
		i := must[*userv1.Invitation](t)(r.invite(owner, org.GetId(), "open-"+name+"@example.com", userv1.Member_MEMBER))
		return owner, plain, objects{org.GetId(), owner.name(), i.GetId()}
	}
	ownerA, plainA, a := own("a")
	ownerB, _, b := own("b")
	stranger := r.join("stranger@example.com")

	table := calls(r)
	var named []string
	methods := userv1.File_manas_user_v1_organization_proto.Services().ByName("OrganizationService").Methods()
	for i := range methods.Len() {
		if m := methods.Get(i); m.Input().Fields().ByName("id") != nil {
			named = append(named, string(m.Name()))
		}
	}
	for _, name := range named {
		if table[name] == nil {
			t.Fatalf("%s has an object and is not in the table", name)
		}
	}
	if len(named) != len(table) {
		t.Errorf("%d RPCs in the table, %d in the contract", len(table), len(named))
	}

	nobody := uuid.Must(uuid.NewV7())
	for name, call := range table {
		for _, tt := range []struct {
			who string
			by  human
			o   objects
		}{
			{"the owner of A on B", ownerA, b},
			{"a member of A on B", plainA, b},
			{"the owner of B on A", ownerB, a},
			{"a stranger on A", stranger, a},
			{"the owner of A on nothing", ownerA, objects{id.Format("org", nobody), a.member, a.invitation}},
			{"the owner of A on nonsense", ownerA, objects{"org_x", "usr_x", "inv_x"}},
			{"the owner of A on a user's id", ownerA, objects{a.member, a.member, a.member}},
		} {
			wantKind(t, name+" by "+tt.who, call(tt.by.ctx(), tt.o), fail.NotFound)
		}
		if slices.Contains([]string{"UpdateMember", "RemoveMember", "ResendInvitation", "RevokeInvitation"}, name) {
			// Objects of B under the name of A.
			wantKind(t, name+" crosswise", call(ownerA.ctx(), objects{a.org, b.member, b.invitation}), fail.NotFound)
		}
		switch err := call(plainA.ctx(), a); name {
		case "GetOrganization", "ListMembers":
			if err != nil {
				t.Errorf("%s by a member: %v", name, err)
			}
		default:
			wantKind(t, name+" by a member without the right", err, fail.PermissionDenied)
		}
	}
	// Nothing of all this left a trace.
	for _, o := range []struct {
		by  human
		org string
	}{{ownerA, a.org}, {ownerB, b.org}} {
		got := must[*userv1.ListMembersResponse](t)(r.orgs.ListMembers(o.by.ctx(), &userv1.ListMembersRequest{Id: o.org}))
		if got.GetTotalSize() != 2 || got.GetMembers()[0].GetRole() != userv1.Member_OWNER {
			t.Errorf("members of %s: %v", o.org, got)
		}
	}
}

// TestOrganization walks through one's life.
func TestOrganization(t *testing.T) {
	r := newRig(t)
	owner, other := r.join("asha@example.com"), r.join("ravi@example.com")
	o := r.org(owner, "  Acme   Care ")
	if o.GetName() != "Acme Care" || o.GetRole() != userv1.Member_OWNER || o.GetSeats() != 1 || o.GetSeatsUsed() != 1 {
		t.Errorf("created %v", o)
	}
	for _, name := range []string{" ", "a\u202eb", "a\u200bb", "see https://evil.example", "WWW.evil.example", "a\x00"} {
		_, err := r.orgs.CreateOrganization(owner.ctx(), &userv1.CreateOrganizationRequest{Name: name, Type: userv1.Organization_EDUCATION})
		wantKind(t, fmt.Sprintf("name %q", name), err, fail.InvalidArgument)
	}
	patch := func(ctx context.Context, paths ...string) (*userv1.Organization, error) {
		out, err := r.orgs.UpdateOrganization(ctx, &userv1.UpdateOrganizationRequest{
			Id: o.GetId(), Organization: &userv1.OrganizationPatch{Name: "Acme", Type: userv1.Organization_HEALTHCARE}, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
		return out.GetOrganization(), err
	}
	for _, path := range []string{"payer_id", "seats", "role", "id", "etag", "*", ""} {
		_, err := patch(owner.ctx(), path)
		wantKind(t, "mask "+path, err, fail.InvalidArgument)
	}
	now := must[*userv1.Organization](t)(patch(owner.ifMatch(o.GetEtag()), "name", "type"))
	if now.GetName() != "Acme" || now.GetType() != userv1.Organization_HEALTHCARE || now.GetEtag() == o.GetEtag() {
		t.Errorf("changed %v", now)
	}
	_, err := patch(owner.ifMatch(o.GetEtag()), "name")
	wantKind(t, "an old etag", err, fail.PreconditionFailed)
	must[*userv1.Organization](t)(patch(owner.ctx(), "name")) // no change, no event
	if n := len(r.audited("organization.updated")); n != 1 {
		t.Errorf("%d updates on record, want 1", n)
	}
	r.plan(owner, 2, 10)
	r.bring(owner, o.GetId(), other, userv1.Member_ADMIN)
	_, err = r.orgs.DeleteOrganization(other.ctx(), &userv1.DeleteOrganizationRequest{Id: o.GetId()})
	wantKind(t, "an admin closes it", err, fail.PermissionDenied)
	must[*userv1.Invitation](t)(r.invite(owner, o.GetId(), "late@example.com", userv1.Member_MEMBER))
	late := r.join("late@example.com")
	must[*userv1.DeleteOrganizationResponse](t)(r.orgs.DeleteOrganization(owner.ctx(), &userv1.DeleteOrganizationRequest{Id: o.GetId()}))
	_, err = r.orgs.GetOrganization(owner.ctx(), &userv1.GetOrganizationRequest{Id: o.GetId()})
	wantKind(t, "a closed one", err, fail.NotFound)
	wantKind(t, "an invitation to a closed one", r.accept(late, r.token("late@example.com")), fail.NotFound)
	for _, action := range []string{"organization.created", "organization.deleted", "organization.member_added", "invitation.accepted"} {
		if n := len(r.audited(action)); n != 1 {
			t.Errorf("%d events %s, want 1", n, action)
		}
	}
}

// TestLastOwner keeps somebody in charge, and the payer's plan with an owner.
func TestLastOwner(t *testing.T) {
	r := newRig(t)
	first, second := r.join("first@example.com"), r.join("second@example.com")
	r.plan(first, 2, 5)
	r.plan(second, 2, 3)
	o := r.org(first, "Acme")
	leave := func(h human) error {
		_, err := r.orgs.RemoveMember(h.ctx(), &userv1.RemoveMemberRequest{Id: o.GetId(), UserId: h.name()})
		return err
	}
	role := func(by, of human, to userv1.Member_Role) error {
		_, err := r.orgs.UpdateMember(by.ctx(), &userv1.UpdateMemberRequest{Id: o.GetId(), UserId: of.name(), Role: to})
		return err
	}
	wantKind(t, "the last owner leaves", leave(first), fail.Conflict)
	wantKind(t, "the last owner steps down", role(first, first, userv1.Member_ADMIN), fail.Conflict)
	r.bring(first, o.GetId(), second, userv1.Member_ADMIN)
	wantKind(t, "an admin raises itself", role(second, second, userv1.Member_OWNER), fail.PermissionDenied)
	wantKind(t, "an admin lowers the owner", role(second, first, userv1.Member_MEMBER), fail.PermissionDenied)
	if err := role(first, second, userv1.Member_OWNER); err != nil {
		t.Fatal(err)
	}
	must[*userv1.Invitation](t)(r.invite(first, o.GetId(), "open@example.com", userv1.Member_MEMBER))
	if err := leave(first); err != nil {
		t.Fatal(err)
	}
	got := must[*userv1.GetOrganizationResponse](t)(r.orgs.GetOrganization(second.ctx(), &userv1.GetOrganizationRequest{Id: o.GetId()})).GetOrganization()
	if got.GetSeats() != 3 || got.GetSeatsUsed() != 1 {
		t.Errorf("after the payer left: %d of %d seats, want 1 of 3, the other owner's, and no invitation of the one gone", got.GetSeatsUsed(), got.GetSeats())
	}
	// Eight owners leave at once: one stays.
	r.plan(second, 3, -1)
	owners := []human{second}
	for i := range 7 {
		owners = append(owners, r.join(fmt.Sprintf("owner%d@example.com", i)))
		r.bring(second, o.GetId(), owners[i+1], userv1.Member_OWNER)
	}
	errs := make([]error, len(owners))
	r.race(len(owners), func(i int) { errs[i] = leave(owners[i]) })
	refused := 0
	for _, err := range errs {
		if err != nil {
			wantKind(t, "leaving with all others", err, fail.Conflict)
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d of %d owners stay, want 1", refused, len(owners))
	}
}

// TestSeatsUnderRace lets 32 invitations fight for 9 seats, in sixteen
// organizations of one payer: the locks of the organizations are not enough.
func TestSeatsUnderRace(t *testing.T) {
	r := newRig(t)
	owner := r.join("owner@example.com")
	r.plan(owner, 2, 10)
	orgs := make([]*userv1.Organization, 16)
	for i := range orgs {
		orgs[i] = r.org(owner, fmt.Sprintf("Org %d", i))
	}
	errs := make([]error, 32)
	r.race(len(errs), func(i int) {
		_, errs[i] = r.invite(owner, orgs[i%len(orgs)].GetId(), fmt.Sprintf("p%d@example.com", i), userv1.Member_MEMBER)
	})
	invited := 0
	for _, err := range errs {
		if err == nil {
			invited++
			continue
		}
		wantKind(t, "an invitation too many", err, fail.QuotaExceeded)
		if e, _ := fail.As(err); e.Meta["limit"] != "10" || e.Meta["used"] != "10" {
			t.Errorf("metadata %v", e.Meta)
		}
	}
	if invited != 9 {
		t.Errorf("%d invited, want 9 beside the owner", invited)
	}
}

// TestDowngrade keeps who is in and lets nobody else in until there is room.
func TestDowngrade(t *testing.T) {
	r := newRig(t)
	owner, a, b, c := r.join("owner@example.com"), r.join("a@example.com"), r.join("b@example.com"), r.join("c@example.com")
	r.plan(owner, 2, -1)
	o := r.org(owner, "Acme").GetId()
	r.bring(owner, o, a, userv1.Member_MEMBER)
	r.bring(owner, o, b, userv1.Member_MEMBER)
	must[*userv1.Invitation](t)(r.invite(owner, o, c.GetEmail(), userv1.Member_MEMBER))
	r.plan(owner, 3, 2)
	r.plan(owner, 2, -1) // old news
	wantKind(t, "accepting after the downgrade", r.accept(c, r.token(c.GetEmail())), fail.QuotaExceeded)
	_, err := r.invite(owner, o, "d@example.com", userv1.Member_MEMBER)
	wantKind(t, "inviting after the downgrade", err, fail.QuotaExceeded)
	if n := must[*userv1.ListMembersResponse](t)(r.orgs.ListMembers(owner.ctx(), &userv1.ListMembersRequest{Id: o})).GetTotalSize(); n != 3 {
		t.Errorf("%d members, want 3: nobody is thrown out", n)
	}
	for _, h := range []human{a, b} {
		must[*userv1.RemoveMemberResponse](t)(r.orgs.RemoveMember(h.ctx(), &userv1.RemoveMemberRequest{Id: o, UserId: h.name()}))
	}
	if err := r.accept(c, r.token(c.GetEmail())); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestPlanEnds counts an ended plan as Free before the news of its end.
func TestPlanEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		l    seatLimit
		want int64
	}{
		{"no end", seatLimit{Seats: 10}, 10},
		{"a moment before", seatLimit{Seats: 10, EndsAt: new(now.Add(time.Nanosecond))}, 10},
		{"at its end", seatLimit{Seats: 10, EndsAt: &now}, freeSeats},
		{"unlimited, ended", seatLimit{Seats: noLimit, EndsAt: &now}, freeSeats},
	} {
		if got := tt.l.inForce(now); got != tt.want {
			t.Errorf("%s: %d seats, want %d", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		limits map[string]int64
		want   int64
	}{{nil, freeSeats}, {map[string]int64{"api_calls": 5}, freeSeats}, {map[string]int64{"users": -1}, noLimit}, {map[string]int64{"users": -7}, noLimit}, {map[string]int64{"users": 0}, 0}} {
		if got := seatsOf(tt.limits); got != tt.want {
			t.Errorf("seatsOf(%v) = %d, want %d", tt.limits, got, tt.want)
		}
	}
}

// TestOrgRoles drives the rules of roles through random acts: there is always
// an owner, and nobody ever touches or makes somebody above themselves.
func TestOrgRoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roles := []string{orgMember, orgAdmin, orgOwner}
		people := []member{{UserID: uuid.UUID{1}, Role: orgOwner}}
		for n := range rapid.IntRange(0, 4).Draw(t, "others") {
			people = append(people, member{UserID: uuid.UUID{byte(n + 2)}, Role: rapid.SampledFrom(roles).Draw(t, "role")})
		}
		owners := func() (n int64) {
			for _, m := range people {
				if m.Role == orgOwner {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if owners() == 0 {
					t.Fatal("nobody owns it")
				}
			},
			"role": func(t *rapid.T) {
				actor := rapid.SampledFrom(people).Draw(t, "actor")
				i := rapid.IntRange(0, len(people)-1).Draw(t, "target")
				to := rapid.SampledFrom(roles).Draw(t, "to")
				if checkRole(actor, people[i], to, owners()) != nil {
					return
				}
				if rank(to) > rank(actor.Role) || rank(people[i].Role) > rank(actor.Role) {
					t.Fatalf("%s made %s of %s", actor.Role, to, people[i].Role)
				}
				if actor.Role == orgMember && people[i].Role != to {
					t.Fatal("a member changed something")
				}
				people[i].Role = to
			},
			"remove": func(t *rapid.T) {
				actor := rapid.SampledFrom(people).Draw(t, "actor")
				i := rapid.IntRange(0, len(people)-1).Draw(t, "target")
				if checkRemoval(actor, people[i], owners()) != nil {
					return
				}
				if actor.UserID != people[i].UserID && (actor.Role == orgMember || rank(people[i].Role) > rank(actor.Role)) {
					t.Fatalf("%s removed %s", actor.Role, people[i].Role)
				}
				people = slices.Delete(people, i, i+1)
			},
		})
	})
}

// TestSeatsProperty drives one organization through random plans, invitations,
// acceptances and departures on a real database: whatever lets somebody in
// leaves no more than fit.
func TestSeatsProperty(t *testing.T) {
	r := newRig(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		owner := r.join(fmt.Sprintf("owner%d@example.com", n))
		org := r.org(owner, "Acme").GetId()
		seats, epoch := int64(freeSeats), int64(1)
		var people []human
		mails := map[string]human{}
		for i := range 4 {
			h := r.join(fmt.Sprintf("p%d-%d@example.com", n, i))
			people = append(people, h)
			mails[h.GetEmail()] = h
		}
		open := map[string]string{} // address to invitation
		in := map[string]bool{}
		within := func(what string) {
			o := must[*userv1.GetOrganizationResponse](r.t)(r.orgs.GetOrganization(owner.ctx(), &userv1.GetOrganizationRequest{Id: org})).GetOrganization()
			if o.GetSeats() != seats || o.GetSeatsUsed() != int64(1+len(in)+len(open)) {
				t.Fatalf("%d of %d seats, want %d of %d", o.GetSeatsUsed(), o.GetSeats(), 1+len(in)+len(open), seats)
			}
			if what != "" && seats >= 0 && o.GetSeatsUsed() > seats {
				t.Fatalf("%s took seat %d of %d", what, o.GetSeatsUsed(), seats)
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "acts") {
			h := rapid.SampledFrom(people).Draw(t, "who")
			email := h.GetEmail()
			switch rapid.SampledFrom([]string{"plan", "invite", "invite", "accept", "accept", "leave", "revoke"}).Draw(t, "act") {
			case "plan":
				epoch++
				seats = rapid.Int64Range(-1, 4).Draw(t, "seats")
				r.plan(owner, epoch, seats)
				within("")
			case "invite":
				i, err := r.invite(owner, org, email, userv1.Member_MEMBER)
				if err == nil {
					open[email] = i.GetId()
					within("an invitation")
				} else if !fail.Is(err, fail.QuotaExceeded) && !fail.Is(err, fail.Conflict) && !fail.Is(err, fail.RateLimited) {
					t.Fatal(err)
				}
			case "accept":
				if open[email] == "" {
					continue
				}
				if err := r.accept(h, r.token(email)); err == nil {
					in[email] = true
					delete(open, email)
					within("an acceptance")
				} else if !fail.Is(err, fail.QuotaExceeded) {
					t.Fatal(err)
				}
			case "leave":
				if _, err := r.orgs.RemoveMember(owner.ctx(), &userv1.RemoveMemberRequest{Id: org, UserId: h.name()}); (err == nil) != in[email] {
					t.Fatalf("removing %s, in %v: %v", email, in[email], err)
				}
				delete(in, email)
			case "revoke":
				if open[email] != "" {
					must[*userv1.RevokeInvitationResponse](r.t)(r.orgs.RevokeInvitation(owner.ctx(), &userv1.RevokeInvitationRequest{Id: org, InvitationId: open[email]}))
					delete(open, email)
				}
			}
		}
		within("")
	})
}

// TestListsPage reads every list of the service in pages of two, and wants each
// row once; a token of one list opens no other.
func TestListsPage(t *testing.T) {
	const rows = 5
	r := newRig(t)
	me := r.join("me@example.com")
	r.plan(me, 2, -1)
	admin := r.join("admin@example.com")
	org := ""
	for i := range rows {
		org = r.org(me, fmt.Sprintf("Org %d", i)).GetId() // all at one moment: the id orders them
		must[*userv1.CreateConsentResponse](t)(r.consents.CreateConsent(me.ctx(), &userv1.CreateConsentRequest{
			Document: userv1.Consent_RESEARCH, Version: "1", Granted: new(i%2 == 0),
		}))
		pro := r.join(fmt.Sprintf("pro%d@example.com", i))
		r.practise(pro)
		r.decision(admin, pro, therapistVerified)
	}
	for i := range rows - 1 { // and the owner
		r.bring(me, org, r.join(fmt.Sprintf("member%d@example.com", i)), userv1.Member_MEMBER)
	}
	invitee := r.join("invitee@example.com")
	for i := range rows {
		host := r.join(fmt.Sprintf("host%d@example.com", i))
		r.plan(host, 2, -1)
		must[*userv1.Invitation](t)(r.invite(host, r.org(host, "Host").GetId(), invitee.GetEmail(), userv1.Member_MEMBER))
	}
	type answer struct {
		ids  []string
		next string
		size int32
	}
	lists := map[string]func(size int32, token string) (answer, error){
		"organizations": func(size int32, token string) (a answer, err error) {
			out, err := r.orgs.ListOrganizations(me.ctx(), &userv1.ListOrganizationsRequest{PageSize: size, PageToken: token})
			for _, o := range out.GetOrganizations() {
				a.ids = append(a.ids, o.GetId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"members": func(size int32, token string) (a answer, err error) {
			out, err := r.orgs.ListMembers(me.ctx(), &userv1.ListMembersRequest{Id: org, PageSize: size, PageToken: token})
			for _, o := range out.GetMembers() {
				a.ids = append(a.ids, o.GetUserId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"invitations": func(size int32, token string) (a answer, err error) {
			out, err := r.orgs.ListInvitations(me.ctx(), &userv1.ListInvitationsRequest{Id: org, PageSize: size, PageToken: token})
			for _, o := range out.GetInvitations() {
				a.ids = append(a.ids, o.GetId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"my invitations": func(size int32, token string) (a answer, err error) {
			out, err := r.orgs.ListMyInvitations(invitee.ctx(), &userv1.ListMyInvitationsRequest{PageSize: size, PageToken: token})
			for _, o := range out.GetInvitations() {
				a.ids = append(a.ids, o.GetId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"consents": func(size int32, token string) (a answer, err error) {
			out, err := r.consents.ListConsents(me.ctx(), &userv1.ListConsentsRequest{PageSize: size, PageToken: token})
			for _, o := range out.GetConsents() {
				a.ids = append(a.ids, o.GetId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"therapists": func(size int32, token string) (a answer, err error) {
			out, err := r.pros.ListTherapists(me.ctx(), &userv1.ListTherapistsRequest{PageSize: size, PageToken: token})
			for _, o := range out.GetTherapists() {
				a.ids = append(a.ids, o.GetUserId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
		"therapist profiles": func(size int32, token string) (a answer, err error) {
			out, err := r.decide.ListTherapistProfiles(admin.ctx(), &userv1.ListTherapistProfilesRequest{PageSize: size, PageToken: token})
			for _, o := range out.GetTherapists() {
				a.ids = append(a.ids, o.GetUserId())
			}
			a.next, a.size = out.GetNextPageToken(), out.GetTotalSize()
			return a, err
		},
	}
	tokens := map[string]string{}
	for name, ask := range lists {
		whole := must[answer](t)(ask(100, ""))
		if want := len(whole.ids); want < rows-1 || whole.next != "" || int(whole.size) != want {
			t.Errorf("%s: %d rows, total %d, next %q", name, want, whole.size, whole.next)
		}
		var got []string
		for token := ""; ; {
			page := must[answer](t)(ask(2, token))
			if len(page.ids) > 2 {
				t.Fatalf("%s: a page of %d", name, len(page.ids))
			}
			got = append(got, page.ids...)
			if token = page.next; token == "" {
				break
			}
			tokens[name] = token
		}
		if diff := cmp.Diff(whole.ids, got); diff != "" {
			t.Errorf("%s in pages (-whole +pages):\n%s", name, diff)
		}
	}
	for from, token := range tokens {
		for name, ask := range lists {
			if name != from {
				_, err := ask(2, token)
				wantKind(t, "the token of "+from+" for "+name, err, fail.InvalidArgument)
			}
		}
	}
}
