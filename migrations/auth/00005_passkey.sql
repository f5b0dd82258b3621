-- +goose Up
-- A passkey. record is the WebAuthn credential record, sealed for its row;
-- sign_count stands outside it so that it moves by compare-and-set.
CREATE TABLE auth.passkey (
    id            uuid PRIMARY KEY,
    account_id    uuid        NOT NULL REFERENCES auth.account (id) ON DELETE CASCADE,
    credential_id bytea       NOT NULL CONSTRAINT passkey_credential UNIQUE,
    record        bytea       NOT NULL,
    sign_count    bigint      NOT NULL DEFAULT 0,
    name          text        NOT NULL DEFAULT '' CHECK (length(name) <= 100),
    transports    text[]      NOT NULL DEFAULT '{}',
    backed_up     boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    flagged_at    timestamptz -- its counter once went back: there may be a copy
);
CREATE INDEX passkey_of_account ON auth.passkey (account_id, created_at DESC, id DESC);

-- A question to an authenticator; good once. challenge is a keyed hash.
CREATE TABLE auth.passkey_ceremony (
    id         uuid PRIMARY KEY,
    purpose    text        NOT NULL CHECK (purpose IN ('REGISTER', 'LOGIN')),
    account_id uuid REFERENCES auth.account (id) ON DELETE CASCADE, -- who registers
    challenge  bytea       NOT NULL CONSTRAINT passkey_ceremony_challenge UNIQUE,
    session    bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX passkey_ceremony_account ON auth.passkey_ceremony (account_id);
CREATE INDEX passkey_ceremony_expiry ON auth.passkey_ceremony (expires_at);

-- +goose Down
DROP TABLE auth.passkey_ceremony;
DROP TABLE auth.passkey;
