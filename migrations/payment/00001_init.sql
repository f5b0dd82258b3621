-- +goose Up
-- Money asked of customers. The state is a fold of the provider's facts, kept
-- here; the journal below is what happened to the money.
CREATE TABLE payment.payment (
    id               uuid PRIMARY KEY, -- v7: sorts by time
    request_id       uuid        NOT NULL CONSTRAINT payment_request UNIQUE, -- the order it pays; makes opening it repeatable
    user_id          uuid        NOT NULL,
    purpose          text        NOT NULL CHECK (length(purpose) BETWEEN 1 AND 32),
    product_code     text        NOT NULL CHECK (length(product_code) <= 64),
    amount_minor     bigint      NOT NULL CHECK (amount_minor > 0),
    currency         text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    taxable_minor    bigint      NOT NULL CHECK (taxable_minor >= 0),
    cgst_minor       bigint      NOT NULL CHECK (cgst_minor >= 0),
    sgst_minor       bigint      NOT NULL CHECK (sgst_minor >= 0),
    igst_minor       bigint      NOT NULL CHECK (igst_minor >= 0),
    round_off_minor  bigint      NOT NULL,
    provider         text        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('CREATED', 'PENDING', 'SUCCEEDED', 'FAILED', 'EXPIRED',
                                                           'CANCELLED', 'PARTIALLY_REFUNDED', 'REFUNDED')),
    captured_minor   bigint      NOT NULL DEFAULT 0,
    refunded_minor   bigint      NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0),
    method           text        NOT NULL DEFAULT '',
    failure_code     text        NOT NULL DEFAULT '',
    paid_at          timestamptz,
    expires_at       timestamptz,
    integrity_failed boolean     NOT NULL DEFAULT false, -- the provider's answer is not about what we asked for; a person must look
    needs_review     boolean     NOT NULL DEFAULT false, -- no terminal answer within 72 h
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT payment_adds_up CHECK (taxable_minor + cgst_minor + sgst_minor + igst_minor + round_off_minor = amount_minor),
    CONSTRAINT payment_captured_bounded CHECK (captured_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT payment_refund_bounded CHECK (captured_minor >= refunded_minor),
    CONSTRAINT payment_paid_is_captured CHECK (
        (state IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED')) = (captured_minor > 0 AND paid_at IS NOT NULL))
);
-- A person's history, newest first; also the count of it.
CREATE INDEX payment_of_user ON payment.payment (user_id, id DESC);

-- One order at the provider. The row is committed before the provider hears of
-- it, so whatever comes back finds it.
CREATE TABLE payment.attempt (
    payment_id        uuid        NOT NULL REFERENCES payment.payment (id),
    no                int         NOT NULL CHECK (no > 0),
    merchant_order_id text        NOT NULL CONSTRAINT attempt_merchant_order UNIQUE
                                  CHECK (merchant_order_id ~ '^[A-Za-z0-9_-]{1,40}$'), -- 40: Razorpay's receipt, the shortest
    state             text        NOT NULL CHECK (state IN ('prepared', 'submitted', 'pending', 'succeeded', 'failed', 'unknown')),
    provider_order_id text        NOT NULL DEFAULT '',
    redirect_url      text        NOT NULL DEFAULT '',
    failure_code      text        NOT NULL DEFAULT '',
    lease_until       timestamptz, -- who set it is calling the provider
    submitted_at      timestamptz, -- the first time the provider may have heard of it
    expires_at        timestamptz,
    next_poll_at      timestamptz,
    polls             int         NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (payment_id, no)
);
-- Never two things a customer could pay, nor one beside an unknown.
CREATE UNIQUE INDEX attempt_one_open ON payment.attempt (payment_id)
    WHERE state IN ('prepared', 'submitted', 'pending', 'unknown');
-- What the poller asks about next.
CREATE INDEX attempt_due ON payment.attempt (next_poll_at) WHERE next_poll_at IS NOT NULL;

-- Callbacks as they came. Answered 200 once here; understood afterwards.
CREATE TABLE payment.webhook_event (
    id                uuid PRIMARY KEY,
    provider          text        NOT NULL,
    event_key         bytea       NOT NULL,
    event             text        NOT NULL,
    merchant_order_id text        NOT NULL,
    claimed_state     text        NOT NULL DEFAULT '',
    claimed_minor     bigint, -- what the callback says; compared, never posted
    body              bytea       NOT NULL,
    headers           jsonb       NOT NULL, -- without what would let a reader sign
    state             text        NOT NULL CHECK (state IN ('RECEIVED', 'PROCESSED', 'ORPHAN', 'INTEGRITY_FAILED', 'FAILED')),
    attempts          int         NOT NULL DEFAULT 0,
    next_attempt_at   timestamptz NOT NULL, -- while leased, when the lease ends
    last_error        text        NOT NULL DEFAULT '',
    request_id        text        NOT NULL DEFAULT '',
    received_at       timestamptz NOT NULL,
    processed_at      timestamptz,
    CONSTRAINT webhook_event_once UNIQUE (provider, event_key)
);
-- The worker's queue.
CREATE INDEX webhook_event_due ON payment.webhook_event (next_attempt_at) WHERE state = 'RECEIVED';
-- What was said about an order, for whoever looks into it.
CREATE INDEX webhook_event_order ON payment.webhook_event (merchant_order_id);

-- Double entry. Balances are derived: a shared balance row costs four fifths of
-- the throughput.
CREATE TABLE payment.account (
    code        text PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('asset', 'liability', 'income', 'expense')),
    normal_side text NOT NULL CHECK (normal_side IN ('debit', 'credit'))
);
INSERT INTO payment.account (code, kind, normal_side) VALUES
    ('gateway_clearing:phonepe', 'asset', 'debit'),
    ('bank', 'asset', 'debit'),
    ('gateway_fees', 'expense', 'debit'),
    ('deferred_revenue', 'liability', 'credit'),
    ('revenue', 'income', 'credit'),
    ('gst_cgst_payable', 'liability', 'credit'),
    ('gst_sgst_payable', 'liability', 'credit'),
    ('gst_igst_payable', 'liability', 'credit'),
    ('refunds_in_transit', 'liability', 'credit'),
    ('disputes_held', 'asset', 'debit'),
    ('rounding', 'expense', 'debit');

CREATE TABLE payment.journal (
    id          uuid PRIMARY KEY, -- v5 of ref
    ref         text        NOT NULL CONSTRAINT journal_ref UNIQUE, -- what it books; a thing is booked once
    kind        text        NOT NULL,
    payment_id  uuid        NOT NULL REFERENCES payment.payment (id),
    occurred_at timestamptz NOT NULL,
    posted_at   timestamptz NOT NULL
);
CREATE INDEX journal_of_payment ON payment.journal (payment_id);

CREATE TABLE payment.posting (
    journal_id   uuid   NOT NULL REFERENCES payment.journal (id),
    seq          int    NOT NULL CHECK (seq > 0),
    account      text   NOT NULL REFERENCES payment.account (code),
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0), -- debit above zero, credit below
    currency     text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    PRIMARY KEY (journal_id, seq)
);
-- Balance of an account.
CREATE INDEX posting_of_account ON payment.posting (account, currency);

-- +goose StatementBegin
CREATE FUNCTION payment.journal_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    journal uuid := CASE TG_TABLE_NAME WHEN 'journal' THEN (to_jsonb(NEW) ->> 'id')::uuid
                                       ELSE (to_jsonb(NEW) ->> 'journal_id')::uuid END;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM payment.posting p WHERE p.journal_id = journal) THEN
        RAISE EXCEPTION 'journal % has no postings', journal USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_balances';
    END IF;
    IF EXISTS (SELECT 1 FROM payment.posting p WHERE p.journal_id = journal
                GROUP BY p.currency HAVING sum(p.amount_minor) <> 0) THEN
        RAISE EXCEPTION 'journal % does not balance', journal USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_balances';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON payment.journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment.journal_balances();
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON payment.posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment.journal_balances();

-- +goose StatementBegin
CREATE FUNCTION payment.only_append() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment.% is append-only; book the reverse', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.journal
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.posting
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();

-- Facts for other services, written in the transaction of the change.
CREATE TABLE payment.outbox (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id        uuid        NOT NULL,
    destination     text        NOT NULL,
    type            text        NOT NULL,
    key             text        NOT NULL,
    payload         bytea       NOT NULL,
    request_id      text        NOT NULL DEFAULT '',
    traceparent     text        NOT NULL DEFAULT '',
    occurred_at     timestamptz NOT NULL,
    attempts        int         NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    last_error      text        NOT NULL DEFAULT '',
    UNIQUE (event_id, destination)
);
CREATE INDEX outbox_due ON payment.outbox (destination, seq);
CREATE INDEX outbox_key ON payment.outbox (destination, key, seq);

-- What a consumer refused for good; an operator decides.
CREATE TABLE payment.outbox_dead (
    seq             bigint      NOT NULL,
    event_id        uuid        NOT NULL,
    destination     text        NOT NULL,
    type            text        NOT NULL,
    key             text        NOT NULL,
    payload         bytea       NOT NULL,
    request_id      text        NOT NULL DEFAULT '',
    traceparent     text        NOT NULL DEFAULT '',
    occurred_at     timestamptz NOT NULL,
    attempts        int         NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    last_error      text        NOT NULL DEFAULT '',
    dead_at         timestamptz NOT NULL,
    reason          text        NOT NULL,
    PRIMARY KEY (event_id, destination)
);

-- What has been applied, so that a fact delivered twice counts once.
CREATE TABLE payment.inbox (
    event_id     uuid PRIMARY KEY,
    source       text        NOT NULL,
    type         text        NOT NULL,
    processed_at timestamptz NOT NULL
);

-- Answers kept for repeats under the same Idempotency-Key.
CREATE TABLE payment.idempotency_key (
    scope        text        NOT NULL,
    key          text        NOT NULL,
    request_hash bytea       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('RUNNING', 'DONE')),
    fence        bigint      NOT NULL DEFAULT 1,
    locked_until timestamptz NOT NULL,
    response     bytea,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);

-- +goose Down
DROP TABLE payment.idempotency_key;
DROP TABLE payment.inbox;
DROP TABLE payment.outbox_dead;
DROP TABLE payment.outbox;
DROP TABLE payment.posting;
DROP TABLE payment.journal;
DROP TABLE payment.account;
DROP TABLE payment.webhook_event;
DROP TABLE payment.attempt;
DROP TABLE payment.payment;
DROP FUNCTION payment.only_append();
DROP FUNCTION payment.journal_balances();
