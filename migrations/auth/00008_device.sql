-- +goose Up
-- A device an account has signed in on. Its token is a keyed hash of the id, so
-- a copy of this table opens nothing; who holds the token is not locked out by
-- strangers.
CREATE TABLE auth.device (
    account_id    uuid        NOT NULL REFERENCES auth.account (id) ON DELETE CASCADE,
    id            uuid        NOT NULL,
    label         text        NOT NULL DEFAULT '',
    ip_prefix     text        NOT NULL DEFAULT '',
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    PRIMARY KEY (account_id, id)
);
-- What has not been seen for a year goes.
CREATE INDEX device_last_seen ON auth.device (last_seen_at);

ALTER TABLE auth.session ADD COLUMN device_id uuid;

-- +goose Down
ALTER TABLE auth.session DROP COLUMN device_id;
DROP TABLE auth.device;
