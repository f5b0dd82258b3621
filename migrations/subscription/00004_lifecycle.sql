-- +goose Up
-- What a subscription goes through after it was bought: the lifecycle package
-- decides, these columns keep what it decided.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- A frozen time that only its owner moves, for subscriptions made under it.
CREATE TABLE subscription.test_clock (
    id         text PRIMARY KEY, -- clk_…, as clients know it
    created_by uuid        NOT NULL,
    frozen_at  timestamptz NOT NULL,
    target     timestamptz, -- null unless it is on its way
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (target >= frozen_at)
);
CREATE INDEX test_clock_moving ON subscription.test_clock (id) WHERE target IS NOT NULL;

-- A price cut that a customer asks for by its code.
CREATE TABLE subscription.coupon (
    code            text PRIMARY KEY CHECK (code ~ '^[A-Z0-9][A-Z0-9_-]{2,31}$'),
    percent_off     int    CHECK (percent_off BETWEEN 1 AND 100),
    minor_off       bigint CHECK (minor_off > 0),
    currency        text   NOT NULL DEFAULT 'INR',
    plan_codes      text[] NOT NULL DEFAULT '{}', -- empty is every plan
    cycles          text[] NOT NULL DEFAULT '{}', -- empty is every cycle
    valid_from      timestamptz NOT NULL,
    valid_until     timestamptz, -- null: no end
    max_redemptions int CHECK (max_redemptions > 0), -- null: no limit
    redeemed        int NOT NULL DEFAULT 0 CHECK (redeemed >= 0),
    created_by      uuid,
    created_at      timestamptz NOT NULL,
    CHECK (num_nonnulls(percent_off, minor_off) = 1),
    CHECK (valid_until > valid_from),
    CHECK (redeemed <= max_redemptions) -- whatever races
);

ALTER TABLE subscription.subscription
    ADD COLUMN paid_until           timestamptz, -- end of the last paid period; null: current_period_end
    ADD COLUMN period_no            int NOT NULL DEFAULT 0 CHECK (period_no >= 0),
    ADD COLUMN anchor_no            int NOT NULL DEFAULT 0, -- the period that starts at the anchor
    ADD COLUMN declined             boolean NOT NULL DEFAULT false,
    ADD COLUMN unpaid_until         timestamptz,
    ADD COLUMN paused_until         timestamptz,
    ADD COLUMN banked_us            bigint NOT NULL DEFAULT 0 CHECK (banked_us >= 0), -- paid microseconds that a pause keeps
    ADD COLUMN mandate_id           uuid, -- once it can be debited
    ADD COLUMN wants_renewal        boolean NOT NULL DEFAULT false, -- ordered with a mandate
    ADD COLUMN charge_step          int NOT NULL DEFAULT 0 CHECK (charge_step BETWEEN 0 AND 2), -- next period: not charged, placed, sent
    ADD COLUMN cancelled_at         timestamptz,
    ADD COLUMN cancel_reason        text NOT NULL DEFAULT '' CHECK (length(cancel_reason) <= 500),
    ADD COLUMN pending_price_id     uuid REFERENCES subscription.price,
    ADD COLUMN pending_plan_version int,
    ADD COLUMN replaces             uuid REFERENCES subscription.subscription, -- whose unused time it was credited
    ADD COLUMN coupon_code          text REFERENCES subscription.coupon,
    ADD COLUMN noticed              int NOT NULL DEFAULT 0, -- notices sent for the running period
    ADD COLUMN provider             text NOT NULL DEFAULT '', -- of its payments
    ADD CONSTRAINT subscription_clock FOREIGN KEY (test_clock_id) REFERENCES subscription.test_clock;
CREATE INDEX subscription_clock_due ON subscription.subscription (test_clock_id, due_at) WHERE test_clock_id IS NOT NULL;
CREATE INDEX subscription_pending_price ON subscription.subscription (pending_price_id) WHERE pending_price_id IS NOT NULL;
CREATE INDEX subscription_replaces ON subscription.subscription (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX subscription_coupon ON subscription.subscription (coupon_code) WHERE coupon_code IS NOT NULL;
CREATE INDEX subscription_mandate ON subscription.subscription (mandate_id) WHERE mandate_id IS NOT NULL;

-- A trial is had once.
CREATE TABLE subscription.trial (
    user_id         uuid PRIMARY KEY,
    subscription_id uuid        NOT NULL UNIQUE REFERENCES subscription.subscription,
    started_at      timestamptz NOT NULL
);

-- One redemption of a coupon for each order; an order that was not paid gives it back.
CREATE TABLE subscription.coupon_redemption (
    subscription_id uuid PRIMARY KEY REFERENCES subscription.subscription,
    coupon_code     text        NOT NULL REFERENCES subscription.coupon,
    user_id         uuid        NOT NULL,
    redeemed_at     timestamptz NOT NULL,
    released_at     timestamptz
);
CREATE UNIQUE INDEX coupon_redemption_once ON subscription.coupon_redemption (coupon_code, user_id) WHERE released_at IS NULL;

-- Who stands on somebody's invoices, and so where the supply takes place.
CREATE TABLE subscription.billing_profile (
    user_id    uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    address    text NOT NULL DEFAULT '' CHECK (length(address) <= 500),
    country    text NOT NULL DEFAULT 'IN' CHECK (country ~ '^[A-Z]{2}$'),
    state      text NOT NULL DEFAULT '' CHECK (state ~ '^([0-9]{2})?$'), -- GST state code
    gstin      text NOT NULL DEFAULT '',
    version    bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    CHECK (country = 'IN' OR (state = '' AND gstin = ''))
);

-- An invoice is a draft until its money comes: only then it takes a number.
ALTER TABLE subscription.invoice
    ALTER COLUMN number DROP NOT NULL,
    ALTER COLUMN payment_id DROP NOT NULL, -- nothing is paid for a total of zero
    ADD COLUMN kind         text NOT NULL DEFAULT 'ORDER' CHECK (kind IN ('ORDER', 'RENEWAL', 'CREDIT_NOTE')),
    ADD COLUMN period_no    int, -- which period it pays
    ADD COLUMN customer     jsonb NOT NULL DEFAULT '{}', -- the billing profile as it was
    ADD COLUMN corrects     uuid REFERENCES subscription.invoice, -- of a credit note
    ADD COLUMN credit_minor bigint NOT NULL DEFAULT 0 CHECK (credit_minor >= 0), -- paid by unused time
    ADD COLUMN hash         bytea, -- SHA-256 of what the document says
    ADD COLUMN finalized_at timestamptz,
    ADD COLUMN paid_at      timestamptz,
    ADD COLUMN voided_at    timestamptz,
    ADD CONSTRAINT invoice_numbered CHECK (state IN ('DRAFT', 'VOID') OR number IS NOT NULL);
-- A credit note is about the payment of the invoice that it corrects.
ALTER TABLE subscription.invoice DROP CONSTRAINT invoice_payment_id_key;
CREATE UNIQUE INDEX invoice_payment ON subscription.invoice (payment_id) WHERE kind <> 'CREDIT_NOTE'; -- money is invoiced once
CREATE INDEX invoice_corrects ON subscription.invoice (corrects) WHERE corrects IS NOT NULL;
-- A period is charged once: money.md B8.
CREATE UNIQUE INDEX invoice_period ON subscription.invoice (subscription_id, period_no)
    WHERE kind = 'RENEWAL' AND state <> 'VOID';

-- Attempts to have a draft paid. Each has an order of its own at payment; while
-- one is open there is no other: money.md B14, B16.
CREATE TABLE subscription.charge (
    order_id   uuid PRIMARY KEY, -- what payment knows it by
    invoice_id uuid        NOT NULL REFERENCES subscription.invoice,
    attempt_no int         NOT NULL CHECK (attempt_no > 0),
    state      text        NOT NULL CHECK (state IN ('OPEN', 'PAID', 'FAILED')),
    payment_id uuid, -- once payment has answered
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (invoice_id, attempt_no)
);
CREATE UNIQUE INDEX charge_open ON subscription.charge (invoice_id) WHERE state = 'OPEN';

-- What a final document says never changes; that it was paid or voided may.
-- +goose StatementBegin
CREATE FUNCTION subscription.keep_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.number IS NOT NULL AND
       (NEW.number, NEW.lines, NEW.customer, NEW.currency, NEW.taxable_minor, NEW.cgst_minor, NEW.sgst_minor, NEW.igst_minor,
        NEW.round_off_minor, NEW.total_minor, NEW.place_of_supply, NEW.supplier_gstin, NEW.issued_at, NEW.hash)
       IS DISTINCT FROM
       (OLD.number, OLD.lines, OLD.customer, OLD.currency, OLD.taxable_minor, OLD.cgst_minor, OLD.sgst_minor, OLD.igst_minor,
        OLD.round_off_minor, OLD.total_minor, OLD.place_of_supply, OLD.supplier_gstin, OLD.issued_at, OLD.hash)
    THEN
        RAISE EXCEPTION 'invoice % is final', OLD.number;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER keep_final BEFORE UPDATE ON subscription.invoice FOR EACH ROW EXECUTE FUNCTION subscription.keep_final();

-- No instant is paid twice: money.md B6. Deferred, because a pause moves several.
ALTER TABLE subscription.subscription_period
    ADD CONSTRAINT period_once EXCLUDE USING gist (subscription_id WITH =, during WITH &&) DEFERRABLE INITIALLY DEFERRED;

-- +goose Down
ALTER TABLE subscription.subscription_period DROP CONSTRAINT period_once;
DROP TRIGGER keep_final ON subscription.invoice;
DROP FUNCTION subscription.keep_final();
DROP TABLE subscription.charge;
DROP INDEX subscription.invoice_period;
DROP INDEX subscription.invoice_corrects;
DROP INDEX subscription.invoice_payment;
ALTER TABLE subscription.invoice
    DROP CONSTRAINT invoice_numbered,
    DROP COLUMN voided_at, DROP COLUMN paid_at, DROP COLUMN finalized_at, DROP COLUMN hash,
    DROP COLUMN corrects, DROP COLUMN customer, DROP COLUMN period_no, DROP COLUMN kind;
DROP TABLE subscription.billing_profile;
DROP TABLE subscription.coupon_redemption;
DROP TABLE subscription.trial;
ALTER TABLE subscription.subscription
    DROP CONSTRAINT subscription_clock,
    DROP COLUMN provider, DROP COLUMN noticed, DROP COLUMN coupon_code, DROP COLUMN replaces, DROP COLUMN pending_plan_version, DROP COLUMN pending_price_id,
    DROP COLUMN cancel_reason, DROP COLUMN cancelled_at, DROP COLUMN charge_step, DROP COLUMN wants_renewal, DROP COLUMN mandate_id, DROP COLUMN banked_us, DROP COLUMN paused_until,
    DROP COLUMN unpaid_until, DROP COLUMN declined, DROP COLUMN anchor_no, DROP COLUMN period_no, DROP COLUMN paid_until;
DROP TABLE subscription.coupon;
DROP TABLE subscription.test_clock;
