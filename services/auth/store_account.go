package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// Everything a token says stands in one statement: a token minted while
// something changes carries the old epoch and is stale at once.
const accountColumns = `
SELECT a.id, a.email, a.email_verified_at, a.phone, a.state, a.first_name, a.last_name, a.locale, a.epoch, a.version,
       a.plan, a.features, a.plan_ends_at, a.api_calls, a.created_at, a.last_login_at, a.accepted_terms, a.accepted_privacy, r.roles, r.level, r.needs_mfa, p.permissions,
       (SELECT coalesce(max(re.epoch), 0) FROM auth.role AS re) AS roles_epoch,
       EXISTS (SELECT 1 FROM auth.totp AS t WHERE t.account_id = a.id AND t.confirmed_at IS NOT NULL)
       OR EXISTS (SELECT 1 FROM auth.passkey AS k WHERE k.account_id = a.id) AS has_factor
  FROM auth.account AS a
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(ro.name ORDER BY ro.level DESC, ro.name), '{}') AS roles,
              coalesce(max(ro.level), 0) AS level, coalesce(bool_or(ro.needs_mfa), false) AS needs_mfa
         FROM auth.account_role AS ar JOIN auth.role AS ro ON ro.name = ar.role
        WHERE ar.account_id = a.id) AS r
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(DISTINCT rp.permission ORDER BY rp.permission), '{}') AS permissions
         FROM auth.account_role AS ar JOIN auth.role_permission AS rp ON rp.role = ar.role
        WHERE ar.account_id = a.id) AS p`

const selectAccount = accountColumns + `
 WHERE a.id = @id AND a.state <> 'DELETED'`

func (s *Service) account(ctx context.Context, q pg.Querier, id uuid.UUID) (account, bool, error) {
	return one[account](ctx, q, "read an account", selectAccount, args{"id": id})
}

const selectAccountByEmail = accountColumns + `
 WHERE a.email = @email AND a.state <> 'DELETED'`

func (s *Service) accountByEmail(ctx context.Context, q pg.Querier, email string) (account, bool, error) {
	return one[account](ctx, q, "read an account by address", selectAccountByEmail, args{"email": email})
}

const selectPHC = `
SELECT phc FROM auth.credential WHERE account_id = @id`

// credential gives the password hash of an account, "" if it has none.
func (s *Service) credential(ctx context.Context, q pg.Querier, id uuid.UUID) (string, error) {
	list, err := column[string](ctx, q, "read a credential", selectPHC, args{"id": id})
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0], nil
}

const insertAccount = `
INSERT INTO auth.account (id, email, email_verified_at, phone, first_name, last_name, locale, accepted_terms, accepted_privacy, created_at, updated_at)
VALUES (@id, @email, @now, @phone, @first_name, @last_name, @locale, @accepted_terms, @accepted_privacy, @now, @now)
    ON CONFLICT (email) DO NOTHING`

const insertPHC = `
INSERT INTO auth.credential (account_id, phc, updated_at)
VALUES (@id, @phc, @now)`

const insertRole = `
INSERT INTO auth.account_role (account_id, role, granted_at)
SELECT @id, r, @now FROM unnest(@roles::text[]) AS r`

// makeAccount writes a proved account with roles and, unless phc is empty, a
// password. taken says that the address has one already.
func (s *Service) makeAccount(ctx context.Context, tx pg.Tx, p person, phc string, roles []string, now time.Time) (a account, taken bool, err error) {
	id := s.ids.New()
	n, err := run(ctx, tx, "insert an account", insertAccount, args{
		"id": id, "email": p.Email, "phone": p.Phone, "first_name": p.FirstName, "last_name": p.LastName,
		"locale": p.Locale, "accepted_terms": p.AcceptedTerms, "accepted_privacy": s.privacyOf(p), "now": now,
	})
	if err != nil || n == 0 {
		return a, n == 0, err
	}
	if phc != "" {
		if _, err := run(ctx, tx, "insert a credential", insertPHC, args{"id": id, "phc": phc, "now": now}); err != nil {
			return a, false, err
		}
	}
	if _, err := run(ctx, tx, "insert roles", insertRole, args{"id": id, "roles": roles, "now": now}); err != nil {
		return a, false, err
	}
	a, _, err = s.account(ctx, tx, id)
	return a, false, err
}

const updateLogin = `
UPDATE auth.account SET last_login_at = @now WHERE id = @id AND state = 'ACTIVE'`

// noteLogin locks the account's row until the session is written, so that a
// suspension either sees the session or is seen here. False: not active.
func (s *Service) noteLogin(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) (bool, error) {
	n, err := run(ctx, tx, "note a login", updateLogin, args{"id": id, "now": now})
	return n == 1, err
}

const lockAccount = `
SELECT id FROM auth.account WHERE id = @id FOR UPDATE`

func (s *Service) lockAccount(ctx context.Context, tx pg.Tx, id uuid.UUID) error {
	_, err := run(ctx, tx, "lock an account", lockAccount, args{"id": id})
	return err
}

const updateState = `
UPDATE auth.account
   SET state = @state, epoch = epoch + 1, version = version + 1, updated_at = @now
 WHERE id = @id`

func (s *Service) setState(ctx context.Context, tx pg.Tx, id uuid.UUID, state string, now time.Time) error {
	_, err := run(ctx, tx, "set an account's state", updateState, args{"id": id, "state": state, "now": now})
	return err
}

const raiseEpoch = `
UPDATE auth.account SET epoch = epoch + 1, updated_at = @now WHERE id = @id RETURNING epoch`

// raiseEpoch makes every token of the account stale.
func (s *Service) raiseEpoch(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) (int64, error) {
	list, err := column[int64](ctx, tx, "raise an epoch", raiseEpoch, args{"id": id, "now": now})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0], nil
}

const updateEntitlement = `
UPDATE auth.account
   SET plan = @plan, features = @features, plan_ends_at = @ends_at, api_calls = @api_calls, plan_epoch = @plan_epoch, epoch = epoch + @raise, updated_at = @now
 WHERE id = @id AND plan_epoch < @plan_epoch
RETURNING epoch`

// setEntitlement copies subscription's word unless a newer one is here; changed
// says whether it did.
func (s *Service) setEntitlement(ctx context.Context, tx pg.Tx, e entitlement, raise int64, now time.Time) (epoch int64, changed bool, err error) {
	list, err := column[int64](ctx, tx, "set an entitlement", updateEntitlement, args{
		"id": e.AccountID, "plan": e.Plan, "features": e.Features, "ends_at": e.EndsAt, "api_calls": e.APICalls, "plan_epoch": e.Epoch, "raise": raise, "now": now,
	})
	if err != nil || len(list) == 0 {
		return 0, false, err
	}
	return list[0], true, nil
}

// An empty filter matches everything. @part is escaped for ILIKE.
const accountFilter = `
 WHERE (@part = '' OR a.email ILIKE @part OR a.phone = @phone)
   AND (@role = '' OR EXISTS (SELECT 1 FROM auth.account_role AS f WHERE f.account_id = a.id AND f.role = @role))
   AND (@state = '' OR a.state = @state)`

// accountOrders are the ways to list accounts; each has an index.
var accountOrders = map[string]string{
	"": `
   AND (a.created_at, a.id) < (@time::timestamptz, @id::uuid) AND @email::text IS NOT NULL
 ORDER BY a.created_at DESC, a.id DESC`,
	"createdAt": `
   AND (a.created_at, a.id) > (@time::timestamptz, @id::uuid) AND @email::text IS NOT NULL
 ORDER BY a.created_at, a.id`,
	"email": `
   AND a.email > @email AND @time::timestamptz IS NOT NULL AND @id::uuid IS NOT NULL
 ORDER BY a.email`,
	"-email": `
   AND (@email::text = '' OR a.email < @email) AND @time::timestamptz IS NOT NULL AND @id::uuid IS NOT NULL
 ORDER BY a.email DESC`,
}

func selectAccounts(sort string) string {
	if sort == "-createdAt" {
		sort = ""
	}
	return accountColumns + accountFilter + accountOrders[sort] + "\n LIMIT @limit"
}

const countAccounts = `
SELECT count(*) FROM auth.account AS a` + accountFilter

func (s *Service) accounts(ctx context.Context, f accountSearch, before cursor, limit int) (list []account, total int64, err error) {
	where := args{"part": f.pattern(), "phone": f.Search, "role": f.Role, "state": f.State}
	counts, err := column[int64](ctx, s.db.Pool, "count accounts", countAccounts, where)
	if err != nil {
		return nil, 0, err
	}
	where["time"], where["id"], where["email"], where["limit"] = before.Time, before.ID, before.Email, limit
	list, err = all[account](ctx, s.db.Pool, "list accounts", selectAccounts(f.Sort), where)
	return list, counts[0], err
}
