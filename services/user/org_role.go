package user

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
)

// Roles in an organization.
const (
	orgOwner  = "OWNER"
	orgAdmin  = "ADMIN"
	orgMember = "MEMBER"
)

// mayRun reports whether a role may change the organization and ask people in.
func mayRun(role string) bool { return role == orgOwner || role == orgAdmin }

// mayGrant reports whether a role may make somebody to.
func mayGrant(role, to string) bool { return role == orgOwner || role == orgAdmin && to != orgOwner }

// mayTouch reports whether a role may change or remove another's member.
func mayTouch(role, of string) bool { return role == orgOwner || role == orgAdmin && of != orgOwner }

// member is one person in an organization.
type member struct {
	UserID   uuid.UUID
	Role     string
	JoinedAt time.Time
}

// rank orders roles.
func rank(role string) int { return slices.Index([]string{orgMember, orgAdmin, orgOwner}, role) }

// checkRole decides whether actor may give target the role to. owners is how
// many the organization has.
func checkRole(actor, target member, to string, owners int64) error {
	if actor.UserID == target.UserID {
		if rank(to) > rank(actor.Role) {
			return fail.New(fail.PermissionDenied, "you may not raise yourself")
		}
	} else if !mayTouch(actor.Role, target.Role) || !mayGrant(actor.Role, to) {
		return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
	}
	if target.Role == orgOwner && to != orgOwner && owners <= 1 {
		return lastOwner()
	}
	return nil
}

// checkRemoval decides whether actor may take target out; everybody may leave.
func checkRemoval(actor, target member, owners int64) error {
	if actor.UserID != target.UserID && !mayTouch(actor.Role, target.Role) {
		return fail.New(fail.PermissionDenied, "your role in the organization does not allow this")
	}
	if target.Role == orgOwner && owners <= 1 {
		return lastOwner()
	}
	return nil
}

func lastOwner() error {
	return fail.New(fail.Conflict, "the last owner stays: make somebody else an owner, or close the organization")
}

// nextPayer is the owner who pays when the payer stops being one: the longest
// in it.
func nextPayer(owners []member) uuid.UUID {
	if len(owners) == 0 {
		return uuid.Nil
	}
	return slices.MinFunc(owners, func(a, b member) int {
		return cmp.Or(a.JoinedAt.Compare(b.JoinedAt), slices.Compare(a.UserID[:], b.UserID[:]))
	}).UserID
}
