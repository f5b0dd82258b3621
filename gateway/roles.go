package gateway

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const rolesEvery = time.Minute // when no news of a change has come

// roles keeps the verifier's table of roles as new as auth's.
type roles struct {
	auth     authv1.RoleInternalServiceClient
	verifier *token.Verifier
	log      zerolog.Logger
	bell     chan struct{} // a role was redefined
	loaded   atomic.Bool
}

func newRoles(auth authv1.RoleInternalServiceClient, v *token.Verifier, log zerolog.Logger) *roles {
	return &roles{auth: auth, verifier: v, log: log, bell: make(chan struct{}, 1)}
}

func (r *roles) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	answer, err := r.auth.ListRoles(ctx, &authv1.ListRolesRequest{})
	if status.Code(err) == codes.Unimplemented { // an auth of before: nothing can be redefined there
		return nil
	}
	if err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	list := make([]token.Role, 0, len(answer.GetRoles()))
	for _, x := range answer.GetRoles() {
		list = append(list, token.Role{Name: x.GetName(), Permissions: x.GetPermissions(), NeedsMFA: x.GetNeedsMfa(), Epoch: x.GetEpoch()})
	}
	r.verifier.SetRoles(answer.GetEpoch(), list)
	return nil
}

// run fetches at start, when told of a change, and each minute, until ctx ends.
func (r *roles) run(ctx context.Context) error {
	return keep(ctx, r.log, "roles", rolesEvery, r.bell, func(ctx context.Context) error {
		err := r.fetch(ctx)
		if err == nil {
			r.loaded.Store(true)
		}
		return err
	})
}

// keep calls fetch at start, when the bell rings and at every tick, and again
// soon while it fails, until ctx ends. What is there stays in force meanwhile.
func keep(ctx context.Context, log zerolog.Logger, what string, every time.Duration, bell <-chan struct{}, fetch func(context.Context) error) error {
	failing := false
	for ctx.Err() == nil {
		err := fetch(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			log.Warn().Err(err).Str("what", what).Msg("not fetched")
		}
		if failing = err != nil; failing {
			pause(ctx, keysRetry)
			continue
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-bell:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}
