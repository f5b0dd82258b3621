package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// oidcFlow is a sign-in that has gone to a provider.
type oidcFlow struct {
	ID        uuid.UUID
	Provider  string
	ReturnTo  string
	CreatedAt time.Time
	ExpiresAt time.Time
}

const insertFlow = `
INSERT INTO auth.oidc_flow (id, provider, return_to, created_at, expires_at)
VALUES (@id, @provider, @return_to, @created_at, @expires_at)`

func (s *Service) insertFlow(ctx context.Context, f oidcFlow) error {
	_, err := run(ctx, s.db.Pool, "insert a flow", insertFlow, args{
		"id": f.ID, "provider": f.Provider, "return_to": f.ReturnTo, "created_at": f.CreatedAt, "expires_at": f.ExpiresAt,
	})
	return err
}

const useFlow = `
UPDATE auth.oidc_flow
   SET used_at = @now
 WHERE id = @id AND provider = @provider AND used_at IS NULL AND expires_at > @now
RETURNING id, provider, return_to, created_at, expires_at`

// useFlow takes a sign-in for its one return; live is false when it has been
// taken or is over.
func (s *Service) useFlow(ctx context.Context, id uuid.UUID, provider string, now time.Time) (f oidcFlow, live bool, err error) {
	return one[oidcFlow](ctx, s.db.Pool, "use a flow", useFlow, args{"id": id, "provider": provider, "now": now})
}

const selectAccountByIdentity = accountColumns + `
  JOIN auth.oidc_identity AS o ON o.account_id = a.id
 WHERE o.issuer = @issuer AND o.subject = @subject AND a.state <> 'DELETED'`

func (s *Service) accountByIdentity(ctx context.Context, q pg.Querier, who identity) (account, bool, error) {
	return one[account](ctx, q, "read an account by identity", selectAccountByIdentity, args{"issuer": who.Issuer, "subject": who.Subject})
}

const insertIdentity = `
INSERT INTO auth.oidc_identity (issuer, subject, account_id, created_at)
VALUES (@issuer, @subject, @account_id, @now)
    ON CONFLICT DO NOTHING`

// insertIdentity links; false when the identity, or another of its issuer, is
// linked already.
func (s *Service) insertIdentity(ctx context.Context, tx pg.Tx, who identity, account uuid.UUID, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "link an identity", insertIdentity,
		args{"issuer": who.Issuer, "subject": who.Subject, "account_id": account, "now": now})
	return n == 1, err
}

const (
	stripPHC        = `DELETE FROM auth.credential WHERE account_id = @id`
	stripTotp       = `DELETE FROM auth.totp WHERE account_id = @id`
	stripRecovery   = `DELETE FROM auth.recovery_code WHERE account_id = @id`
	stripChallenges = `DELETE FROM auth.challenge WHERE account_id = @id`
	stripCodes      = `DELETE FROM auth.one_time WHERE account_id = @id`
	stripDevices    = `DELETE FROM auth.device WHERE account_id = @id`
	stripPasskeys   = `DELETE FROM auth.passkey WHERE account_id = @id`
	stripCeremonies = `DELETE FROM auth.passkey_ceremony WHERE account_id = @id`
	stripIdentities = `DELETE FROM auth.oidc_identity WHERE account_id = @id`
	stripKeys       = `UPDATE auth.api_key SET revoked_at = @now WHERE account_id = @id AND revoked_at IS NULL`
	stripClaims     = `
UPDATE auth.account
   SET email_verified_at = @now, phone = NULL, phone_verified_at = NULL, accepted_terms = '', accepted_privacy = '` + noLegal + `',
       epoch = epoch + 1, version = version + 1, updated_at = @now
 WHERE id = @id`
)

// strip takes from an account every way in, and what was claimed of its person.
func (s *Service) strip(ctx context.Context, tx pg.Tx, account uuid.UUID, now time.Time) error {
	for _, sql := range []string{stripPHC, stripTotp, stripRecovery, stripChallenges, stripCodes, stripDevices, stripPasskeys, stripCeremonies, stripIdentities} {
		if _, err := run(ctx, tx, "strip an account", sql, args{"id": account}); err != nil {
			return err
		}
	}
	for _, sql := range []string{stripKeys, stripClaims} {
		if _, err := run(ctx, tx, "strip an account", sql, args{"id": account, "now": now}); err != nil {
			return err
		}
	}
	return nil
}
