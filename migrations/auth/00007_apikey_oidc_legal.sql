-- +goose Up
-- A program's way in. mac is a keyed hash of the secret, so a copy of this
-- table opens nothing. The id is sid in the tokens it is exchanged for.
CREATE TABLE auth.api_key (
    id            uuid PRIMARY KEY,
    account_id    uuid        NOT NULL REFERENCES auth.account (id),
    name          text        NOT NULL,
    permissions   text[]      NOT NULL,
    mac           bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    last_used_day date,
    revoked_at    timestamptz
);
-- The owner's list and count; only live ones.
CREATE INDEX api_key_live ON auth.api_key (account_id, created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX api_key_account ON auth.api_key (account_id);
CREATE INDEX api_key_expiry ON auth.api_key (expires_at);

-- A sign-in that has gone to a provider. State, nonce, the proof of the code
-- exchange and the browser's cookie all follow from the id and a key that is
-- not in the database.
CREATE TABLE auth.oidc_flow (
    id         uuid PRIMARY KEY,
    provider   text        NOT NULL,
    return_to  text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX oidc_flow_expiry ON auth.oidc_flow (expires_at);

-- Who an account is elsewhere. One subject of an issuer for each account: an
-- address that a provider has given to somebody else does not open it again.
CREATE TABLE auth.oidc_identity (
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    account_id uuid        NOT NULL REFERENCES auth.account (id),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject),
    CONSTRAINT oidc_identity_account UNIQUE (account_id, issuer)
);

-- '' is of accounts made before the notice was counted apart from the terms:
-- they accepted the notice of the terms' version.
ALTER TABLE auth.account ADD COLUMN accepted_privacy text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE auth.account DROP COLUMN accepted_privacy;
DROP TABLE auth.oidc_identity;
DROP TABLE auth.oidc_flow;
DROP TABLE auth.api_key;
