-- +goose Up
-- What a provider's settlement file says, kept as it came and compared with the
-- journal: a line here, a journal there, or a finding.
CREATE TABLE payment.settlement_day (
    provider   text        NOT NULL,
    day        date        NOT NULL, -- in India
    lines      int         NOT NULL DEFAULT 0,
    fetched_at timestamptz,
    next_at    timestamptz, -- null when it is not fetched again
    attempts   int         NOT NULL DEFAULT 0,
    last_error text        NOT NULL DEFAULT '',
    PRIMARY KEY (provider, day)
);
CREATE INDEX settlement_day_due ON payment.settlement_day (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE payment.settlement_line (
    provider          text        NOT NULL,
    transaction_id    text        NOT NULL, -- the provider's name of the movement
    kind              text        NOT NULL CHECK (kind IN ('CAPTURE', 'REFUND', 'CHARGEBACK', 'CHARGEBACK_REVERSED')),
    settlement_id     text        NOT NULL,
    utr               text        NOT NULL,
    merchant_order_id text        NOT NULL,
    amount_minor      bigint      NOT NULL CHECK (amount_minor > 0),
    fee_minor         bigint      NOT NULL CHECK (fee_minor >= 0),
    tax_minor         bigint      NOT NULL CHECK (tax_minor >= 0),
    net_minor         bigint      NOT NULL, -- below zero: the merchant pays
    currency          text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    moved_at          timestamptz NOT NULL,
    settled_at        timestamptz NOT NULL,
    state             text        NOT NULL CHECK (state IN ('RECEIVED', 'MATCHED', 'MISSING_HERE', 'AMOUNT_DIFFERS')),
    detail            text        NOT NULL DEFAULT '',
    payment_id        uuid REFERENCES payment.payment (id),
    attempts          int         NOT NULL DEFAULT 0,
    next_match_at     timestamptz, -- null once matched
    received_at       timestamptz NOT NULL,
    matched_at        timestamptz,
    PRIMARY KEY (provider, transaction_id, kind)
);
CREATE INDEX settlement_line_due ON payment.settlement_line (next_match_at) WHERE next_match_at IS NOT NULL;
CREATE INDEX settlement_line_of_payment ON payment.settlement_line (payment_id);
CREATE INDEX settlement_line_of_order ON payment.settlement_line (merchant_order_id);

-- Something that must always be true, and is not.
CREATE TABLE payment.finding (
    id              uuid PRIMARY KEY, -- v7: sorts by time
    invariant       text        NOT NULL,
    subject         text        NOT NULL, -- what it is about, such as pay_…
    detail          text        NOT NULL,
    first_seen      timestamptz NOT NULL,
    last_seen       timestamptz NOT NULL,
    resolved_at     timestamptz, -- the sweep no longer finds it
    acknowledged_by uuid,
    acknowledged_at timestamptz,
    note            text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX finding_open ON payment.finding (invariant, subject) WHERE resolved_at IS NULL;

INSERT INTO payment.account (code, kind, normal_side) VALUES
    ('gst_input_credit', 'asset', 'debit'),
    ('gateway_clearing:phonepe-v1', 'asset', 'debit'),
    ('gateway_clearing:razorpay', 'asset', 'debit'),
    ('gateway_clearing:stripe', 'asset', 'debit')
    ON CONFLICT DO NOTHING;

-- What the sweep looks at each half minute is what changed lately.
CREATE INDEX payment_updated ON payment.payment (updated_at);
CREATE INDEX journal_posted ON payment.journal (posted_at);

-- +goose Down
DROP INDEX payment.journal_posted;
DROP INDEX payment.payment_updated;
DROP TABLE payment.finding;
DROP TABLE payment.settlement_line;
DROP TABLE payment.settlement_day;
