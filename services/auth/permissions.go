package auth

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/token"
)

const (
	roleUser   = "user"
	adminLevel = 80 // the lowest of an administrator's roles
)

// States of an account.
const (
	stateActive    = "ACTIVE"
	stateSuspended = "SUSPENDED"
)

// owesFactor reports whether a role of the account demands a second factor that
// the session does not hold.
func (a account) owesFactor(amr []string) bool {
	return a.NeedsMFA && !token.HasSecondFactor(amr)
}

// inForce is what a session may do: everything the roles give, or, while the
// second factor is owed, only one's own profile.
func (a account) inForce(amr []string) []string {
	if !a.owesFactor(amr) {
		return a.Permissions
	}
	return slices.DeleteFunc(slices.Clone(a.Permissions), func(p string) bool { return !strings.HasPrefix(p, "profile.") })
}

// isAdmin reports whether the account may use the console's own door.
func (a account) isAdmin() bool { return a.Level >= adminLevel }

// mayManage reports whether actor may suspend target: never oneself, never an
// equal or a higher one. Nobody stands above a superadmin, so the last of them
// cannot be lost this way.
func mayManage(actor, target account) bool {
	return actor.ID != uuid.Nil && actor.ID != target.ID && actor.State == stateActive && actor.Level > target.Level
}
