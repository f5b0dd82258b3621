package user

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/id"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

func (r *rig) memberships() []*userv1.OrganizationMembershipChanged {
	return events(r, "subscription", func() *userv1.OrganizationMembershipChanged { return &userv1.OrganizationMembershipChanged{} })
}

// copied is what a listener knows that has heard events in some order: who is in
// what, as "organization user payer".
func copied(list []*userv1.OrganizationMembershipChanged) []string {
	last := map[[2]uuid.UUID]*userv1.OrganizationMembershipChanged{}
	for _, m := range list {
		key := [2]uuid.UUID{uuid.UUID(m.GetOrganizationId()), uuid.UUID(m.GetUserId())}
		if was := last[key]; was == nil || was.GetVersion() < m.GetVersion() {
			last[key] = m
		}
	}
	out := []string{}
	for key, m := range last {
		if m.GetMember() {
			out = append(out, fmt.Sprint(key[0], key[1], uuid.UUID(m.GetPayerId())))
		}
	}
	slices.Sort(out)
	return out
}

// truth is the same from the tables.
func (r *rig) truth() []string {
	rows := must[[]membershipRow](r.t)(all[membershipRow](r.t.Context(), r.db.Pool, "read all members", `
		SELECT o.id, m.user_id, o.payer_id
		  FROM users.organization AS o
		  JOIN users.org_member AS m ON m.org_id = o.id
		 WHERE o.deleted_at IS NULL`, nil))
	out := []string{}
	for _, m := range rows {
		out = append(out, fmt.Sprint(m.ID, m.UserID, m.PayerID))
	}
	slices.Sort(out)
	return out
}

type membershipRow struct{ ID, UserID, PayerID uuid.UUID }

// TestRosterIsTold has people found, join, leave, hand over and close as they
// like: whoever hears of it, in whatever order, knows who is where and who pays.
func TestRosterIsTold(t *testing.T) {
	r := newRig(t)
	people := map[string]human{}
	for _, name := range []string{"a", "b", "c", "d"} {
		people[name] = r.join(name + "@example.com")
		r.plan(people[name], 2, -1)
	}
	names := slices.Sorted(maps.Keys(people))
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) human { return people[rapid.SampledFrom(names).Draw(t, what)] }
		orgs := []string{r.org(draw("founder"), "Acme").GetId()}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			by, of, org := draw("by"), draw("of"), rapid.SampledFrom(orgs).Draw(t, "org")
			switch rapid.SampledFrom([]string{"bring", "bring", "remove", "role", "role", "close", "found"}).Draw(t, "step") {
			case "bring": // each may be refused
				r.clock.move(24 * time.Hour) // or there would be too many mails
				if _, err := r.invite(by, org, of.GetEmail(), userv1.Member_OWNER); err == nil {
					_ = r.accept(of, r.token(of.GetEmail()))
				}
			case "remove":
				_, _ = r.orgs.RemoveMember(by.ctx(), &userv1.RemoveMemberRequest{Id: org, UserId: of.name()})
			case "role":
				to := rapid.SampledFrom([]userv1.Member_Role{userv1.Member_OWNER, userv1.Member_ADMIN, userv1.Member_MEMBER}).Draw(t, "role")
				_, _ = r.orgs.UpdateMember(by.ctx(), &userv1.UpdateMemberRequest{Id: org, UserId: of.name(), Role: to})
			case "close":
				_, _ = r.orgs.DeleteOrganization(by.ctx(), &userv1.DeleteOrganizationRequest{Id: org})
			case "found":
				if len(orgs) < 3 {
					orgs = append(orgs, r.org(by, "Acme").GetId())
				}
			}
		}
		told := r.memberships()
		if diff := cmp.Diff(r.truth(), copied(told)); diff != "" {
			t.Fatalf("in order (-tables +told):\n%s", diff)
		}
		slices.Reverse(told)
		if diff := cmp.Diff(r.truth(), copied(told)); diff != "" {
			t.Fatalf("backwards (-tables +told):\n%s", diff)
		}
		for _, org := range orgs { // nobody owns more than twenty
			for _, h := range people {
				_, _ = r.orgs.DeleteOrganization(h.ctx(), &userv1.DeleteOrganizationRequest{Id: org})
			}
		}
	})
}

// TestRostersOfBeforeAreTold tells of organizations that were there already,
// once.
func TestRostersOfBeforeAreTold(t *testing.T) {
	r := newRig(t)
	first, second := r.join("first@example.com"), r.join("second@example.com")
	r.plan(first, 2, 5)
	r.tellsRoster = false
	o := r.org(first, "Acme")
	r.bring(first, o.GetId(), second, userv1.Member_MEMBER)
	if got := r.memberships(); len(got) != 0 {
		t.Fatalf("told without an address: %v", got)
	}
	r.tellsRoster = true
	for range 2 {
		if err := r.tellRosters(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := r.memberships()
	if diff := cmp.Diff(r.truth(), copied(got)); diff != "" || len(got) != 2 || got[0].GetVersion() != 1 {
		t.Errorf("told %v\n%s", got, diff)
	}
}

func TestErasureLeavesOrganizations(t *testing.T) {
	r := newRig(t)
	owner, asha := r.join("owner@example.com"), r.join("asha@example.com")
	r.plan(owner, 2, 5)
	o := r.org(owner, "Acme")
	r.bring(owner, o.GetId(), asha, userv1.Member_MEMBER)
	if err := r.finishErasure(t.Context(), dataRequest{ID: uuid.New(), UserID: asha.id()}); err != nil {
		t.Fatal(err)
	}
	got := r.memberships()
	last := got[len(got)-1]
	if last.GetMember() || uuid.UUID(last.GetUserId()) != asha.id() || id.Format("org", uuid.UUID(last.GetOrganizationId())) != o.GetId() {
		t.Errorf("told %v", last)
	}
	if diff := cmp.Diff(r.truth(), copied(got)); diff != "" {
		t.Errorf("(-tables +told):\n%s", diff)
	}
}
