-- +goose Up
-- A phone counts for sign-in once its own code has come back, or while it is
-- nobody else's claim.
ALTER TABLE auth.account ADD COLUMN phone_verified_at timestamptz;
-- A proved phone is one account's.
CREATE UNIQUE INDEX account_proved_phone ON auth.account (phone) WHERE phone_verified_at IS NOT NULL;
-- Sign-in by phone looks for everyone who claims it.
CREATE INDEX account_phone ON auth.account (phone) WHERE phone IS NOT NULL;

-- What a login has shown that owes its second factor; a password when empty.
ALTER TABLE auth.challenge ADD COLUMN amr text[];

-- A code that went out, good once. mac is a keyed hash over purpose, id,
-- recipient and code. A row whose account is missing, or whose mac is random,
-- can never succeed: it answers for what must look the same.
CREATE TABLE auth.one_time (
    id           uuid PRIMARY KEY,
    purpose      text        NOT NULL CHECK (purpose IN ('SIGN_IN', 'RESET', 'EMAIL', 'PHONE')),
    account_id   uuid REFERENCES auth.account (id),
    recipient    text        NOT NULL,
    channel      text        NOT NULL CHECK (channel IN ('EMAIL', 'SMS', 'WHATSAPP')),
    mac          bytea       NOT NULL,
    attempts     int         NOT NULL DEFAULT 0,
    max_attempts int         NOT NULL DEFAULT 5,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz
);
-- "All that is still out is dead."
CREATE INDEX one_time_account ON auth.one_time (account_id) WHERE used_at IS NULL;
CREATE INDEX one_time_expiry ON auth.one_time (expires_at);

-- +goose Down
DROP TABLE auth.one_time;
ALTER TABLE auth.challenge DROP COLUMN amr;
DROP INDEX auth.account_phone;
DROP INDEX auth.account_proved_phone;
ALTER TABLE auth.account DROP COLUMN phone_verified_at;
