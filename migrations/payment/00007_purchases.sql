-- +goose Up
-- What the customer's client wrote when it began the payment; never ours to read.
ALTER TABLE payment.payment ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE payment.payment DROP COLUMN metadata;
