package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/services/auth/totp"
)

const (
	seedTerms   = "2026-01"
	seedTimeout = 30 * time.Second // of one account
)

// SeedConfig is what Seed needs of the service's environment.
type SeedConfig struct {
	DatabaseURL      string
	JWTSecret        string
	JWTRefreshSecret string
}

// SeedAccount is a demo account; with a TOTPSecret (base32) its second factor
// is on.
type SeedAccount struct {
	Email, Password     string
	FirstName, LastName string
	Roles               []string
	TOTPSecret          string
}

// Seed makes accounts as if they had been registered and verified; those whose
// address exists stay as they are. Safe to repeat.
func Seed(ctx context.Context, c SeedConfig, accounts []SeedAccount) error {
	if err := checkSecrets(c.JWTSecret, c.JWTRefreshSecret); err != nil {
		return err
	}
	db, err := pg.Open(ctx, pg.Config{URL: c.DatabaseURL, Max: 2})
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer db.Close()
	now := time.Now //nolint:forbidigo // a tool's entry: there is no process to take the clock from
	s := New(Config{JWTSecret: c.JWTSecret, JWTRefreshSecret: c.JWTRefreshSecret},
		Deps{DB: db, IDs: id.NewMaker(now, rand.Reader), Now: now, Rand: rand.Reader})
	s.counted = true // the stack that is about to start has an admin
	for _, a := range accounts {
		if err := s.seed(ctx, a); err != nil {
			return fmt.Errorf("seed %s: %w", a.Email, err)
		}
	}
	return nil
}

func (s *Service) seed(ctx context.Context, a SeedAccount) error {
	ctx, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	p := person{Email: canonicalEmail(a.Email), FirstName: a.FirstName, LastName: a.LastName, Locale: "en", AcceptedTerms: seedTerms}
	if p.Email == "" {
		return errors.New("not an address")
	}
	if _, known, err := s.accountByEmail(ctx, s.db.Pool, p.Email); err != nil || known {
		return err
	}
	phc, err := s.hash.Hash(ctx, a.Password)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		acc, taken, err := s.activate(ctx, tx, p, phc, a.Roles, &token.Caller{}, now)
		if err != nil || taken || a.TOTPSecret == "" {
			return err
		}
		secret, err := totp.Decode(a.TOTPSecret)
		if err != nil {
			return fmt.Errorf("read the TOTP secret: %w", err)
		}
		sealed := seal(s.secrets.totp, secret, totpRow(acc.ID))
		if _, err := s.putFactor(ctx, tx, acc.ID, sealed, now); err != nil {
			return err
		}
		_, err = s.confirmFactor(ctx, tx, acc.ID, sealed, 0, now)
		return err
	})
}
