-- +goose Up
-- Something bought once and kept, such as a track. Its order is its row, as a
-- subscription's is.
CREATE TABLE subscription.purchase (
    id           uuid PRIMARY KEY, -- also the order id that payment knows
    user_id      uuid        NOT NULL,
    product_code text        NOT NULL,
    plan_version int         NOT NULL,
    price_id     uuid        NOT NULL REFERENCES subscription.price,
    total_minor  bigint      NOT NULL CHECK (total_minor > 0), -- what the customer is asked for, tax included
    state        text        NOT NULL CHECK (state IN ('PENDING', 'PAID', 'EXPIRED')),
    payment_id   uuid, -- once it is paid
    due_at       timestamptz, -- when the sweeper has to look at it; null: never
    paid_at      timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    FOREIGN KEY (product_code, plan_version) REFERENCES subscription.plan_version,
    CHECK ((state = 'PAID') = (payment_id IS NOT NULL AND paid_at IS NOT NULL)),
    CHECK ((state = 'PENDING') = (due_at IS NOT NULL))
);
-- A repeated order of the same product is found again.
CREATE UNIQUE INDEX purchase_pending ON subscription.purchase (user_id, product_code) WHERE state = 'PENDING';
CREATE INDEX purchase_user ON subscription.purchase (user_id, id); -- one's own, newest first
CREATE INDEX purchase_due ON subscription.purchase (due_at) WHERE due_at IS NOT NULL; -- the sweeper
CREATE INDEX purchase_price ON subscription.purchase (price_id);
CREATE INDEX purchase_product ON subscription.purchase (product_code, plan_version);

ALTER TABLE subscription.invoice
    ALTER COLUMN subscription_id DROP NOT NULL,
    ADD COLUMN purchase_id uuid REFERENCES subscription.purchase,
    ADD CONSTRAINT invoice_is_of_one CHECK (num_nonnulls(subscription_id, purchase_id) = 1);
CREATE INDEX invoice_purchase ON subscription.invoice (purchase_id) WHERE purchase_id IS NOT NULL;

-- +goose Down
DELETE FROM subscription.invoice WHERE purchase_id IS NOT NULL;
ALTER TABLE subscription.invoice
    DROP COLUMN purchase_id,
    ALTER COLUMN subscription_id SET NOT NULL;
DROP TABLE subscription.purchase;
