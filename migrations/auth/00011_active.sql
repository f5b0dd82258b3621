-- +goose Up
-- Who was here on which day of UTC: what daily and monthly active people are
-- counted from. Kept for the 400 days of sign-in records.
CREATE TABLE auth.active_day (
    account_id uuid NOT NULL REFERENCES auth.account (id),
    day        date NOT NULL,
    PRIMARY KEY (account_id, day)
);

-- +goose Down
DROP TABLE auth.active_day;
