-- +goose Up
-- Every change of what a role gives takes the next epoch of all roles; a token
-- minted before it is computed anew where it is verified.
ALTER TABLE auth.role ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

-- To act in another's name, downwards only.
INSERT INTO auth.permission (name) VALUES ('users.impersonate') ON CONFLICT DO NOTHING;
INSERT INTO auth.role_permission (role, permission) VALUES ('superadmin', 'users.impersonate') ON CONFLICT DO NOTHING;

-- A session of account_id that an operator opened, from which of his own.
ALTER TABLE auth.session
    ADD COLUMN impersonator_id uuid REFERENCES auth.account (id),
    ADD COLUMN impersonator_session uuid;
-- It ends with the operator's.
CREATE INDEX session_impersonator ON auth.session (impersonator_id) WHERE impersonator_id IS NOT NULL;

-- A key stands by PENDING, published, until it is sure that every verifier has
-- it (usable_at); it signs from due_at on, if it was asked to. DEAD keys have
-- no private half.
ALTER TABLE auth.signing_key
    ADD COLUMN usable_at    timestamptz,
    ADD COLUMN due_at       timestamptz,
    ADD COLUMN activated_at timestamptz,
    ADD COLUMN verify_until timestamptz,
    ADD COLUMN dead_at      timestamptz;
UPDATE auth.signing_key SET activated_at = created_at WHERE state = 'ACTIVE';
-- One key stands by, however many replicas think that one is missing.
CREATE UNIQUE INDEX signing_key_pending ON auth.signing_key ((true)) WHERE state = 'PENDING';

ALTER TABLE auth.authz_event DROP CONSTRAINT authz_event_kind_check;
ALTER TABLE auth.authz_event ADD CONSTRAINT authz_event_kind_check
    CHECK (kind IN ('SESSION_REVOKED', 'ACCOUNT_REVOKED', 'ACCOUNT_STALE', 'ROLES_CHANGED', 'KEYS_CHANGED'));

-- +goose Down
DELETE FROM auth.authz_event WHERE kind IN ('ROLES_CHANGED', 'KEYS_CHANGED');
ALTER TABLE auth.authz_event DROP CONSTRAINT authz_event_kind_check;
ALTER TABLE auth.authz_event ADD CONSTRAINT authz_event_kind_check
    CHECK (kind IN ('SESSION_REVOKED', 'ACCOUNT_REVOKED', 'ACCOUNT_STALE'));
DROP INDEX auth.signing_key_pending;
DELETE FROM auth.signing_key WHERE state = 'DEAD';
ALTER TABLE auth.signing_key
    DROP COLUMN usable_at, DROP COLUMN due_at, DROP COLUMN activated_at, DROP COLUMN verify_until, DROP COLUMN dead_at;
DROP INDEX auth.session_impersonator;
DELETE FROM auth.session WHERE impersonator_id IS NOT NULL;
ALTER TABLE auth.session DROP COLUMN impersonator_id, DROP COLUMN impersonator_session;
DELETE FROM auth.role_permission WHERE permission = 'users.impersonate';
DELETE FROM auth.permission WHERE name = 'users.impersonate';
ALTER TABLE auth.role DROP COLUMN epoch;
