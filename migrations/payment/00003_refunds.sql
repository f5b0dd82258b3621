-- +goose Up
ALTER TABLE payment.payment
    ADD COLUMN reserved_minor bigint  NOT NULL DEFAULT 0 CHECK (reserved_minor >= 0), -- of refunds on their way
    ADD COLUMN disputed       boolean NOT NULL DEFAULT false, -- a dispute is open
    ADD COLUMN cycle          text    NOT NULL DEFAULT '', -- of what was bought; empty: not known
    ADD CONSTRAINT payment_reserved_bounded CHECK (captured_minor >= refunded_minor + reserved_minor);

-- Money on its way back. Reserved under the payment's lock and committed before
-- the provider hears of it; its name there follows from the row.
CREATE TABLE payment.refund (
    id                 uuid PRIMARY KEY, -- v7: sorts by time
    payment_id         uuid        NOT NULL REFERENCES payment.payment (id),
    merchant_refund_id text        NOT NULL CONSTRAINT refund_merchant_id UNIQUE CHECK (merchant_refund_id ~ '^[A-Za-z0-9_-]{1,40}$'),
    provider_refund_id text        NOT NULL DEFAULT '',
    amount_minor       bigint      NOT NULL CHECK (amount_minor > 0),
    state              text        NOT NULL CHECK (state IN ('REQUESTED', 'APPROVED', 'PENDING', 'COMPLETED', 'FAILED', 'REJECTED')),
    origin             text        NOT NULL CHECK (origin IN ('customer', 'admin', 'late_capture', 'paid_twice')),
    reason             text        NOT NULL CHECK (length(reason) <= 500),
    policy             text        NOT NULL DEFAULT '', -- the row of refund_policy that gave it
    request_key        bytea CONSTRAINT refund_request UNIQUE, -- of the Idempotency-Key; makes asking repeatable, also after a crash
    requested_by       uuid, -- null: the suite itself
    decided_by         uuid,
    decision_reason    text        NOT NULL DEFAULT '',
    failure_code       text        NOT NULL DEFAULT '',
    lease_until        timestamptz, -- who set it is calling the provider
    submitted_at       timestamptz, -- the first time the provider may have heard of it
    next_poll_at       timestamptz,
    polls              int         NOT NULL DEFAULT 0,
    version            bigint      NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    done_at            timestamptz,
    CONSTRAINT refund_four_eyes CHECK (decided_by IS NULL OR requested_by IS NULL OR decided_by <> requested_by OR state = 'REJECTED')
);
-- One at a time: what a second may take is known when the first has ended.
CREATE UNIQUE INDEX refund_one_open ON payment.refund (payment_id) WHERE state IN ('REQUESTED', 'APPROVED', 'PENDING');
-- What the suite gives back by itself, it gives back once.
CREATE UNIQUE INDEX refund_late_once ON payment.refund (payment_id) WHERE origin = 'late_capture' AND state <> 'FAILED';
CREATE INDEX refund_of_payment ON payment.refund (payment_id, id);
CREATE INDEX refund_due ON payment.refund (next_poll_at) WHERE next_poll_at IS NOT NULL;
CREATE INDEX refund_waiting ON payment.refund (id) WHERE state = 'REQUESTED';
CREATE INDEX refund_provider_id ON payment.refund (provider_refund_id) WHERE provider_refund_id <> '';

-- A customer who went to the bank instead of to us.
CREATE TABLE payment.dispute (
    id                  uuid PRIMARY KEY,
    payment_id          uuid        NOT NULL REFERENCES payment.payment (id),
    provider            text        NOT NULL,
    provider_dispute_id text        NOT NULL,
    amount_minor        bigint      NOT NULL CHECK (amount_minor > 0),
    state               text        NOT NULL CHECK (state IN ('OPENED', 'WON', 'LOST')),
    held                boolean     NOT NULL DEFAULT false, -- the provider took the money at its opening
    opened_at           timestamptz NOT NULL,
    closed_at           timestamptz,
    CONSTRAINT dispute_once UNIQUE (provider, provider_dispute_id)
);
CREATE INDEX dispute_of_payment ON payment.dispute (payment_id);

-- What a customer gets back by their own wish: the first row, by its order, whose
-- product, cycle and age fit (domain.md 5.8).
CREATE TABLE payment.refund_policy (
    code         text PRIMARY KEY,
    ordinal      int  NOT NULL UNIQUE,
    purpose      text NOT NULL, -- of the payment
    product_code text NOT NULL DEFAULT '', -- empty: any
    cycle        text NOT NULL, -- of what was bought
    within_hours int  NOT NULL CHECK (within_hours > 0), -- since it was paid
    share_bps    int  NOT NULL CHECK (share_bps BETWEEN 0 AND 10000),
    pro_rata     boolean NOT NULL DEFAULT false -- of the share, what the days left of 30 come to
);
INSERT INTO payment.refund_policy (code, ordinal, purpose, product_code, cycle, within_hours, share_bps, pro_rata) VALUES
    ('yearly_week', 10, 'subscription', '', 'YEARLY', 168, 10000, false),
    ('yearly_month', 20, 'subscription', '', 'YEARLY', 720, 7500, false),
    ('yearly_quarter', 30, 'subscription', '', 'YEARLY', 2160, 5000, false),
    ('monthly_two_days', 40, 'subscription', '', 'MONTHLY', 48, 10000, false),
    ('monthly_week', 50, 'subscription', '', 'MONTHLY', 168, 10000, true),
    ('product_two_days', 60, 'product', '', 'ONE_TIME', 48, 10000, false);

INSERT INTO payment.account (code, kind, normal_side) VALUES ('chargeback_losses', 'expense', 'debit') ON CONFLICT DO NOTHING;

-- +goose Down
DROP TABLE payment.refund_policy;
DROP TABLE payment.dispute;
DROP TABLE payment.refund;
ALTER TABLE payment.payment
    DROP CONSTRAINT payment_reserved_bounded,
    DROP COLUMN cycle,
    DROP COLUMN disputed,
    DROP COLUMN reserved_minor;
