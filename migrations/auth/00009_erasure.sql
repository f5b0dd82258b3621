-- +goose Up
-- When the account is to be forgotten; signing in before clears it.
ALTER TABLE auth.account ADD COLUMN erase_at timestamptz;

-- +goose Down
ALTER TABLE auth.account DROP COLUMN erase_at;
