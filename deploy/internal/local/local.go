// Package local joins the local stack with what only the assembly knows: the
// migrations of every service and the demo accounts.
package local

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/services/auth"
)

// Hooks are the assembly's part in a stack.
func Hooks() stack.Hooks { return stack.Hooks{Migrate: migrate, Seed: seed} }

// migrate brings every schema up to date; they are each other's strangers, so all at once.
func migrate(ctx context.Context, adminURL string, passwords map[string]string) error {
	if err := migrations.Bootstrap(ctx, adminURL, passwords); err != nil {
		return fmt.Errorf("make roles and schemas: %w", err)
	}
	errs := make([]error, len(stack.Services))
	var group sync.WaitGroup
	for i, svc := range stack.Services {
		group.Go(func() {
			if err := migrations.For(svc)(ctx, adminURL); err != nil {
				errs[i] = fmt.Errorf("%s: %w", svc, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// seed makes the demo accounts; those that exist stay as they are.
func seed(ctx context.Context, authURL, jwtSecret, jwtRefreshSecret string, accounts []stack.Account) error {
	list := make([]auth.SeedAccount, 0, len(accounts))
	for _, a := range accounts {
		list = append(list, auth.SeedAccount{
			Email: a.Email, Password: a.Password, FirstName: a.FirstName, LastName: a.LastName, Roles: []string{a.Role}, TOTPSecret: a.TOTPSecret,
		})
	}
	return auth.Seed(ctx, auth.SeedConfig{DatabaseURL: authURL, JWTSecret: jwtSecret, JWTRefreshSecret: jwtRefreshSecret}, list)
}
