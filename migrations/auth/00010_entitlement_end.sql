-- +goose Up
-- What tokens say of the plan beside its name: when it ends (null: never) and how
-- many calls with an API key it allows in a month (-1: no end; null: not told yet).
ALTER TABLE auth.account
    ADD COLUMN plan_ends_at timestamptz,
    ADD COLUMN api_calls    bigint;

-- +goose Down
ALTER TABLE auth.account
    DROP COLUMN api_calls,
    DROP COLUMN plan_ends_at;
