package token

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	ownProfile = "profile." // all a session may touch that owes its second factor

	missPause = 30 * time.Second       // between two looks for a key nobody knows
	lagPause  = 250 * time.Millisecond // between two looks for a newer table of roles
)

// Role is what holding a name gives.
type Role struct {
	Name        string
	Permissions []string
	NeedsMFA    bool
	Epoch       int64 // role-definition epoch of its last change
}

// roleTable is every role at one epoch. Never changed once it is visible.
type roleTable struct {
	epoch  int64
	roles  map[string]Role
	unions sync.Map // role names joined by commas -> union; there are few
}

type union struct {
	permissions []string
	needsMFA    bool
}

// SetRoles replaces the table of roles, which makes Caller compute anew what a
// token says that was minted before one of its roles was redefined. An older
// table than the one at hand is ignored: answers overtake one another.
func (v *Verifier) SetRoles(epoch int64, list []Role) {
	next := &roleTable{epoch: epoch, roles: make(map[string]Role, len(list))}
	for _, r := range list {
		next.roles[r.Name] = r
	}
	for {
		old := v.roles.Load()
		if old != nil && old.epoch > epoch || v.roles.CompareAndSwap(old, next) {
			return
		}
	}
}

// RolesEpoch is the role-definition epoch of the table, 0 without one.
func (v *Verifier) RolesEpoch() int64 {
	if t := v.roles.Load(); t != nil {
		return t.epoch
	}
	return 0
}

// Caller gives who verified claims stand for, with the permissions that the
// roles give by now. Address, user agent, request id and locale are the edge's
// to add.
func (v *Verifier) Caller(claims *Claims) (*Caller, error) {
	c, err := claims.Caller()
	if err != nil {
		return nil, err
	}
	if t := v.roles.Load(); t != nil && t.redefined(c) {
		t.apply(c)
	}
	return c, nil
}

// redefined reports whether a role of the caller has changed since the token
// was minted. A role the table does not know has been taken away.
func (t *roleTable) redefined(c *Caller) bool {
	return t.epoch > c.RolesEpoch && slices.ContainsFunc(c.Roles, func(name string) bool {
		r, known := t.roles[name]
		return !known || r.Epoch > c.RolesEpoch
	})
}

func (t *roleTable) apply(c *Caller) {
	u := t.union(c.Roles)
	limited := c.Impersonated() || slices.Contains(c.AMR, APIKey)
	c.MFAPending = c.MFAPending || u.needsMFA && !limited && !c.HasSecondFactor()
	held := c.Permissions
	c.Permissions, c.RolesEpoch = u.permissions, t.epoch
	if limited || c.MFAPending { // what was less than the roles gave never grows
		c.Permissions = slices.DeleteFunc(slices.Clone(u.permissions), func(p string) bool {
			return limited && !slices.Contains(held, p) || c.MFAPending && !strings.HasPrefix(p, ownProfile)
		})
	}
}

func (t *roleTable) union(names []string) union {
	key := strings.Join(names, ",")
	if u, ok := t.unions.Load(key); ok {
		if got, isUnion := u.(union); isUnion {
			return got
		}
	}
	u := union{permissions: []string{}}
	for _, name := range names {
		r := t.roles[name]
		u.permissions = append(u.permissions, r.Permissions...)
		u.needsMFA = u.needsMFA || r.NeedsMFA
	}
	slices.Sort(u.permissions)
	u.permissions = slices.Compact(u.permissions)
	t.unions.Store(key, u)
	return u
}

// OnMiss gives the verifier a way to ask for keys and roles again, for a
// process behind the edge: a token that the edge has verified is of a key worth
// asking for. The edge itself has none, or strangers could make it ask.
func (v *Verifier) OnMiss(fetch func(ctx context.Context) error) { v.fetch = fetch }

// VerifyForwarded is Verify for a token that a peer passed on. One of an unknown
// key makes the keys be asked for; when that was in vain, not again for 30 s.
func (v *Verifier) VerifyForwarded(ctx context.Context, raw string) (*Claims, error) {
	if header, _, _ := strings.Cut(raw, "."); v.fetch != nil && !v.knows(header) {
		if err := v.ask(ctx, &v.missed, missPause, func() bool { return v.knows(header) }); err != nil {
			return nil, err
		}
	}
	return v.Verify(raw)
}

func (v *Verifier) knows(header string) bool {
	_, known := v.state.Load().keys[header]
	return known
}

// ReachRoles makes the table at least as new as epoch. False: it cannot be.
func (v *Verifier) ReachRoles(ctx context.Context, epoch int64) bool {
	reached := func() bool { return v.RolesEpoch() >= epoch }
	if reached() {
		return true
	}
	return v.fetch != nil && v.ask(ctx, &v.lagged, lagPause, reached) == nil && reached()
}

// ask fetches unless another caller has meanwhile, or it was in vain within
// pause. The caller looks for himself whether it helped.
func (v *Verifier) ask(ctx context.Context, vain *time.Time, pause time.Duration, done func() bool) error {
	v.asking.Lock()
	defer v.asking.Unlock()
	now := v.now()
	if since := now.Sub(*vain); done() || since >= 0 && since < pause {
		return nil
	}
	err := v.fetch(ctx)
	if !done() {
		*vain = now
	}
	return err
}

// HasSource reports whether the verifier can ask for newer keys and roles.
func (v *Verifier) HasSource() bool { return v.fetch != nil }
