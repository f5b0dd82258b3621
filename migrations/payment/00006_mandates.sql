-- +goose Up
-- A person's standing consent to be debited, as the provider keeps it. Its
-- state is what the provider says of it when asked.
CREATE TABLE payment.mandate (
    id                   uuid PRIMARY KEY, -- v7: sorts by time
    request_id           uuid        NOT NULL CONSTRAINT mandate_request UNIQUE, -- the order whose payment sets it up; makes that repeatable
    user_id              uuid        NOT NULL,
    provider             text        NOT NULL,
    merchant_ref         text        NOT NULL CONSTRAINT mandate_merchant_ref UNIQUE
                                     CHECK (merchant_ref ~ '^[A-Za-z0-9_-]{1,63}$'), -- merchantSubscriptionId
    provider_ref         text        NOT NULL DEFAULT '',
    state                text        NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'PAUSED', 'REVOKED', 'CANCELLED', 'EXPIRED', 'FAILED')),
    amount_type          text        NOT NULL CHECK (amount_type IN ('FIXED', 'VARIABLE')),
    max_minor            bigint      NOT NULL CHECK (max_minor BETWEEN 1 AND 1500000), -- above, each debit needs the person
    currency             text        NOT NULL CHECK (currency = 'INR'),
    frequency            text        NOT NULL CHECK (frequency IN ('DAILY', 'WEEKLY', 'FORTNIGHTLY', 'MONTHLY', 'BIMONTHLY', 'QUARTERLY',
                                                                   'HALFYEARLY', 'YEARLY', 'ON_DEMAND')),
    expires_at           timestamptz NOT NULL,
    cancel_requested_at  timestamptz, -- from here on nothing is debited, whatever the provider has heard
    asked_at             timestamptz, -- when the question was put whose answer stands here
    next_ask_at          timestamptz, -- while leased, when the lease ends
    version              bigint      NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL
);
-- A person's mandates, newest first; also the count of them.
CREATE INDEX mandate_of_user ON payment.mandate (user_id, id DESC);
-- What is asked about next.
CREATE INDEX mandate_due ON payment.mandate (next_ask_at) WHERE next_ask_at IS NOT NULL;

-- The payment that sets a mandate up, and those that it pays.
ALTER TABLE payment.payment ADD COLUMN mandate_id uuid REFERENCES payment.mandate (id);
CREATE INDEX payment_of_mandate ON payment.payment (mandate_id) WHERE mandate_id IS NOT NULL;

-- One debit of a mandate: the way of a payment that nobody opens a page for.
-- Its order at the provider is the payment's latest attempt.
CREATE TABLE payment.mandate_debit (
    payment_id        uuid PRIMARY KEY REFERENCES payment.payment (id),
    mandate_id        uuid        NOT NULL REFERENCES payment.mandate (id),
    cycle             int         NOT NULL CHECK (cycle > 0),
    merchant_order_id text        NOT NULL CONSTRAINT mandate_debit_order UNIQUE REFERENCES payment.attempt (merchant_order_id), -- the same for notice and debit
    state             text        NOT NULL CHECK (state IN ('prepared', 'notifying', 'notified', 'redeeming', 'pending', 'unknown',
                                                            'succeeded', 'failed', 'cancelled')),
    due_at            timestamptz NOT NULL, -- when the person is to be told
    notified_at       timestamptz,
    redeem_after      timestamptz,
    notice_void       boolean     NOT NULL DEFAULT false, -- the mandate was paused since
    tries             int         NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND 4), -- one, and three more
    tried_at          timestamptz,
    expires_at        timestamptz, -- of the order, 48 h
    failure_code      text        NOT NULL DEFAULT '',
    next_at           timestamptz, -- while leased, when the lease ends
    fence             bigint      NOT NULL DEFAULT 0, -- of the lease: who lost it changes nothing
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CONSTRAINT mandate_debit_cycle UNIQUE (mandate_id, cycle),
    CONSTRAINT mandate_debit_told_a_day_before CHECK (redeem_after >= notified_at + interval '24 hours'),
    CONSTRAINT mandate_debit_not_untold CHECK (state NOT IN ('redeeming', 'pending', 'unknown') OR notified_at IS NOT NULL)
);
-- What the worker takes on next.
CREATE INDEX mandate_debit_due ON payment.mandate_debit (next_at) WHERE next_at IS NOT NULL;

-- +goose Down
DROP TABLE payment.mandate_debit;
ALTER TABLE payment.payment DROP COLUMN mandate_id;
DROP TABLE payment.mandate;
