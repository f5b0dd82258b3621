-- +goose Up
-- What is sold. A plan points at the version sold now; versions, their features
-- and their prices never change once written, because subscribers keep theirs.
CREATE TABLE subscription.plan (
    code        text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,63}$'),
    kind        text     NOT NULL CHECK (kind IN ('plan', 'product')), -- only plans are offered as an upgrade
    name        text     NOT NULL,
    description text     NOT NULL,
    tier        int      NOT NULL CHECK (tier > 0),
    trial_days  int      NOT NULL DEFAULT 0 CHECK (trial_days >= 0),
    featured    boolean  NOT NULL DEFAULT false,
    version     int      NOT NULL CHECK (version > 0), -- sold now
    retired     boolean  NOT NULL DEFAULT false
);

CREATE TABLE subscription.plan_version (
    plan_code    text NOT NULL REFERENCES subscription.plan,
    version      int  NOT NULL CHECK (version > 0),
    published_at timestamptz NOT NULL,
    PRIMARY KEY (plan_code, version)
);

CREATE TABLE subscription.plan_feature (
    plan_code   text NOT NULL,
    version     int  NOT NULL,
    feature     text NOT NULL CHECK (feature ~ '^[a-z0-9][a-z0-9_]{0,63}$'),
    kind        text NOT NULL CHECK (kind IN ('boolean', 'quantity', 'metered')),
    limit_value bigint CHECK (limit_value >= 0), -- null is unlimited
    period      text NOT NULL DEFAULT 'none' CHECK (period IN ('none', 'day', 'month')),
    PRIMARY KEY (plan_code, version, feature),
    FOREIGN KEY (plan_code, version) REFERENCES subscription.plan_version,
    CHECK ((kind = 'metered') = (period <> 'none')),
    CHECK (kind <> 'boolean' OR limit_value IS NULL)
);

CREATE TABLE subscription.price (
    id           uuid PRIMARY KEY,
    plan_code    text   NOT NULL,
    version      int    NOT NULL,
    cycle        text   NOT NULL CHECK (cycle IN ('MONTHLY', 'QUARTERLY', 'YEARLY', 'LIFETIME', 'ONE_TIME')),
    currency     text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    tax_mode     text   NOT NULL CHECK (tax_mode IN ('INCLUSIVE', 'EXCLUSIVE')),
    tax_category text   NOT NULL CHECK (tax_category IN ('standard_18', 'exempt_health', 'zero_export')),
    sac_code     text   NOT NULL CHECK (sac_code ~ '^[0-9]{6}$'),
    UNIQUE (plan_code, version, cycle, currency),
    FOREIGN KEY (plan_code, version) REFERENCES subscription.plan_version
);

-- One user's hold on a plan; it keeps the version and the price it was bought at.
CREATE TABLE subscription.subscription (
    id                   uuid PRIMARY KEY, -- also the order id that payment knows
    user_id              uuid   NOT NULL,
    state                text   NOT NULL CHECK (state IN ('PENDING', 'TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED', 'EXPIRED', 'CANCELLED')),
    plan_code            text   NOT NULL,
    plan_version         int    NOT NULL,
    cycle                text   NOT NULL CHECK (cycle IN ('MONTHLY', 'QUARTERLY', 'YEARLY', 'LIFETIME', 'ONE_TIME')),
    price_id             uuid   NOT NULL REFERENCES subscription.price,
    total_minor          bigint NOT NULL CHECK (total_minor >= 0), -- what the customer is asked for, tax included
    anchor               timestamptz, -- start of the first period; null before it
    anchor_zone          text   NOT NULL, -- IANA zone whose wall clock the periods follow
    current_period_start timestamptz,
    current_period_end   timestamptz, -- null: never ends
    trial_end            timestamptz,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    pending_plan_code    text REFERENCES subscription.plan,
    auto_renew           boolean NOT NULL DEFAULT false,
    test_clock_id        text,
    payment_id           uuid, -- once payment has answered
    due_at               timestamptz, -- when the sweeper has to look at it; null: never
    version              bigint NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    FOREIGN KEY (plan_code, plan_version) REFERENCES subscription.plan_version,
    CHECK (state IN ('PENDING', 'EXPIRED', 'CANCELLED') OR current_period_start IS NOT NULL),
    CHECK (current_period_end > current_period_start)
);
-- At most one live subscription per user, whatever races.
CREATE UNIQUE INDEX subscription_live ON subscription.subscription (user_id)
    WHERE state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED');
-- A repeated checkout finds its order again.
CREATE UNIQUE INDEX subscription_pending ON subscription.subscription (user_id, plan_code, cycle) WHERE state = 'PENDING';
CREATE INDEX subscription_user ON subscription.subscription (user_id, id); -- history pages
CREATE INDEX subscription_due ON subscription.subscription (due_at) WHERE due_at IS NOT NULL; -- the sweeper
CREATE INDEX subscription_price ON subscription.subscription (price_id);
CREATE INDEX subscription_plan ON subscription.subscription (plan_code, plan_version);
CREATE INDEX subscription_pending_plan ON subscription.subscription (pending_plan_code) WHERE pending_plan_code IS NOT NULL;

-- Every state it went through. Append-only.
CREATE TABLE subscription.subscription_event (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id uuid   NOT NULL REFERENCES subscription.subscription,
    version         bigint NOT NULL, -- of the subscription after the step
    from_state      text   NOT NULL, -- empty for the first
    to_state        text   NOT NULL,
    reason          text   NOT NULL,
    occurred_at     timestamptz NOT NULL,
    UNIQUE (subscription_id, version)
);

-- A tax document. Its number is taken under the lock of its series' row, in the
-- transaction that issues it, so a rollback leaves no gap.
CREATE TABLE subscription.invoice (
    id              uuid PRIMARY KEY,
    user_id         uuid   NOT NULL,
    subscription_id uuid   NOT NULL REFERENCES subscription.subscription,
    payment_id      uuid   NOT NULL UNIQUE, -- money is invoiced once
    state           text   NOT NULL CHECK (state IN ('DRAFT', 'FINAL', 'PAID', 'VOID')),
    number          text   NOT NULL CHECK (length(number) <= 16), -- CGST rule 46
    supplier_gstin  text   NOT NULL,
    supplier_state  text   NOT NULL,
    place_of_supply text   NOT NULL, -- GST state code of the customer
    currency        text   NOT NULL,
    lines           jsonb  NOT NULL,
    taxable_minor   bigint NOT NULL,
    cgst_minor      bigint NOT NULL,
    sgst_minor      bigint NOT NULL CHECK (sgst_minor = cgst_minor),
    igst_minor      bigint NOT NULL,
    round_off_minor bigint NOT NULL CHECK (round_off_minor BETWEEN -1 AND 1),
    total_minor     bigint NOT NULL CHECK (total_minor = taxable_minor + cgst_minor + sgst_minor + igst_minor + round_off_minor),
    issued_at       timestamptz NOT NULL,
    UNIQUE (supplier_gstin, number)
);
CREATE INDEX invoice_user ON subscription.invoice (user_id, id); -- one's own, newest first
CREATE INDEX invoice_subscription ON subscription.invoice (subscription_id);

CREATE TABLE subscription.invoice_series (
    gstin  text   NOT NULL,
    series text   NOT NULL,
    fy     text   NOT NULL, -- April to March, such as 26-27
    last   bigint NOT NULL,
    PRIMARY KEY (gstin, series, fy)
);

-- The periods that were paid for.
CREATE TABLE subscription.subscription_period (
    subscription_id uuid NOT NULL REFERENCES subscription.subscription,
    n               int  NOT NULL CHECK (n >= 0),
    during          tstzrange NOT NULL CHECK (NOT isempty(during)),
    -- Deferred: the invoice is written last, under the lock of its series.
    invoice_id      uuid NOT NULL UNIQUE REFERENCES subscription.invoice DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (subscription_id, n)
);

-- What each user may use, written in the transaction of every transition.
CREATE TABLE subscription.entitlement_set (
    user_id         uuid PRIMARY KEY,
    epoch           bigint NOT NULL CHECK (epoch > 0),
    subscription_id uuid   NOT NULL REFERENCES subscription.subscription,
    plan_code       text   NOT NULL,
    plan_version    int    NOT NULL,
    features        text[] NOT NULL,
    ends_at         timestamptz, -- null: never
    updated_at      timestamptz NOT NULL,
    FOREIGN KEY (plan_code, plan_version) REFERENCES subscription.plan_version
);
CREATE INDEX entitlement_set_subscription ON subscription.entitlement_set (subscription_id);
CREATE INDEX entitlement_set_plan ON subscription.entitlement_set (plan_code, plan_version);

CREATE TABLE subscription.usage_counter (
    user_id      uuid   NOT NULL,
    feature      text   NOT NULL,
    period_start timestamptz NOT NULL,
    used         bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (user_id, feature, period_start)
);

-- +goose StatementBegin
CREATE FUNCTION subscription.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON subscription.plan_version
    FOR EACH ROW EXECUTE FUNCTION subscription.refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON subscription.plan_feature
    FOR EACH ROW EXECUTE FUNCTION subscription.refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON subscription.price
    FOR EACH ROW EXECUTE FUNCTION subscription.refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON subscription.subscription_event
    FOR EACH ROW EXECUTE FUNCTION subscription.refuse_change();

-- Facts for other services, written in the transaction of the change.
CREATE TABLE subscription.outbox (
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
CREATE INDEX outbox_due ON subscription.outbox (destination, seq);
CREATE INDEX outbox_key ON subscription.outbox (destination, key, seq);

-- What a consumer refused for good; an operator decides.
CREATE TABLE subscription.outbox_dead (
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
CREATE TABLE subscription.inbox (
    event_id     uuid PRIMARY KEY,
    source       text        NOT NULL,
    type         text        NOT NULL,
    processed_at timestamptz NOT NULL
);

-- Answers to Idempotency-Key requests, for the repeat.
CREATE TABLE subscription.idempotency_key (
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
DROP TABLE subscription.idempotency_key;
DROP TABLE subscription.inbox;
DROP TABLE subscription.outbox_dead;
DROP TABLE subscription.outbox;
DROP TABLE subscription.usage_counter;
DROP TABLE subscription.entitlement_set;
DROP TABLE subscription.subscription_period;
DROP TABLE subscription.invoice_series;
DROP TABLE subscription.invoice;
DROP TABLE subscription.subscription_event;
DROP TABLE subscription.subscription;
DROP TABLE subscription.price;
DROP TABLE subscription.plan_feature;
DROP TABLE subscription.plan_version;
DROP TABLE subscription.plan;
DROP FUNCTION subscription.refuse_change();
