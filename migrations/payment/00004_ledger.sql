-- +goose Up
-- The rest of the chart. payee:{user}, payee_pending:{user} and
-- customer_credit:{user} are made when first used.
INSERT INTO payment.account (code, kind, normal_side) VALUES
    ('gateway_clearing:phonepe-v1', 'asset', 'debit'),
    ('gateway_clearing:razorpay', 'asset', 'debit'),
    ('gateway_clearing:stripe', 'asset', 'debit'),
    ('gateway_clearing:sandbox', 'asset', 'debit'),
    ('payouts_in_transit', 'liability', 'credit')
    ON CONFLICT DO NOTHING;

-- How a payment's net of tax is shared. A rule is never changed: another share
-- is another rule.
CREATE TABLE payment.split_rule (
    code      text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
    payee_bps int  NOT NULL CHECK (payee_bps BETWEEN 0 AND 10000),
    basis     text NOT NULL CHECK (basis = 'net_of_tax')
);
INSERT INTO payment.split_rule (code, payee_bps, basis) VALUES
    ('session', 6000, 'net_of_tax'),
    ('executive_session', 8000, 'net_of_tax'),
    ('course', 7000, 'net_of_tax');

ALTER TABLE payment.payment
    ADD COLUMN beneficiary_id uuid,
    ADD COLUMN split_rule     text NOT NULL DEFAULT '',
    ADD CONSTRAINT payment_split CHECK ((beneficiary_id IS NULL) = (split_rule = ''));
-- What somebody earned.
CREATE INDEX payment_of_beneficiary ON payment.payment (beneficiary_id) WHERE beneficiary_id IS NOT NULL;

-- Payouts have no payment.
ALTER TABLE payment.journal ALTER COLUMN payment_id DROP NOT NULL;

-- One row for each who earned: the lock of that person's payouts.
CREATE TABLE payment.payee (
    user_id    uuid PRIMARY KEY,
    created_at timestamptz NOT NULL
);

-- Money asked for by one person and sent by another.
CREATE TABLE payment.payout (
    id             uuid PRIMARY KEY, -- v7: sorts by time
    beneficiary_id uuid        NOT NULL REFERENCES payment.payee (user_id),
    amount_minor   bigint      NOT NULL CHECK (amount_minor >= 10000),
    currency       text        NOT NULL CHECK (currency = 'INR'),
    state          text        NOT NULL CHECK (state IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'REJECTED')),
    requested_by   uuid        NOT NULL,
    reason         text        NOT NULL,
    decided_by     uuid, -- who approved or rejected it
    decided_at     timestamptz,
    settled_at     timestamptz, -- when the bank's answer was noted
    bank_reference text        NOT NULL DEFAULT '',
    failure        text        NOT NULL DEFAULT '', -- why it was rejected or failed
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CONSTRAINT payout_two_people CHECK (state IN ('PENDING', 'REJECTED') OR
        (decided_by IS NOT NULL AND decided_by <> requested_by AND decided_by <> beneficiary_id)),
    CONSTRAINT payout_not_to_oneself CHECK (requested_by <> beneficiary_id),
    CONSTRAINT payout_referenced CHECK (state <> 'COMPLETED' OR bank_reference <> '')
);
CREATE UNIQUE INDEX payout_one_pending ON payment.payout (beneficiary_id) WHERE state = 'PENDING';
CREATE UNIQUE INDEX payout_bank_reference ON payment.payout (bank_reference) WHERE state = 'COMPLETED';
CREATE INDEX payout_of_beneficiary ON payment.payout (beneficiary_id, id DESC);
CREATE INDEX payout_state ON payment.payout (state, id DESC);

-- Which payments a payout is for. Below nothing: given back after it was earned.
CREATE TABLE payment.payout_item (
    payout_id    uuid   NOT NULL REFERENCES payment.payout (id),
    payment_id   uuid   NOT NULL REFERENCES payment.payment (id),
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    PRIMARY KEY (payout_id, payment_id)
);
CREATE INDEX payout_item_of_payment ON payment.payout_item (payment_id);

-- +goose StatementBegin
CREATE FUNCTION payment.payout_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payout uuid := CASE TG_TABLE_NAME WHEN 'payout' THEN (to_jsonb(NEW) ->> 'id')::uuid
                                      ELSE (to_jsonb(NEW) ->> 'payout_id')::uuid END;
BEGIN
    IF (SELECT p.amount_minor FROM payment.payout p WHERE p.id = payout) IS DISTINCT FROM
       (SELECT sum(i.amount_minor)::bigint FROM payment.payout_item i WHERE i.payout_id = payout) THEN
        RAISE EXCEPTION 'the items of payout % do not add up to it', payout
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payout_adds_up';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER payout_adds_up AFTER INSERT OR UPDATE OF amount_minor ON payment.payout
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment.payout_adds_up();
CREATE CONSTRAINT TRIGGER payout_adds_up AFTER INSERT ON payment.payout_item
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment.payout_adds_up();

-- The chain of journals: each hash covers its journal and the hash before.
CREATE TABLE payment.journal_seal (
    seq        bigint PRIMARY KEY CHECK (seq > 0),
    journal_id uuid  NOT NULL CONSTRAINT journal_sealed_once UNIQUE REFERENCES payment.journal (id),
    prev_hash  bytea NOT NULL CHECK (length(prev_hash) = 32),
    hash       bytea NOT NULL CHECK (length(hash) = 32)
);

-- Journals that wait for their seal. A queue rather than a search: journals
-- become visible in another order than they are dated.
CREATE TABLE payment.journal_unsealed (
    journal_id uuid PRIMARY KEY REFERENCES payment.journal (id),
    posted_at  timestamptz NOT NULL
);
CREATE INDEX journal_unsealed_order ON payment.journal_unsealed (posted_at, journal_id);
INSERT INTO payment.journal_unsealed (journal_id, posted_at) SELECT id, posted_at FROM payment.journal;
-- +goose StatementBegin
CREATE FUNCTION payment.journal_awaits_seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO payment.journal_unsealed (journal_id, posted_at) VALUES (NEW.id, NEW.posted_at);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER journal_awaits_seal AFTER INSERT ON payment.journal
    FOR EACH ROW EXECUTE FUNCTION payment.journal_awaits_seal();

-- Balances after the journal of that number; of accounts that moved since the
-- seal before.
CREATE TABLE payment.ledger_seal (
    seq           bigint NOT NULL REFERENCES payment.journal_seal (seq),
    account       text   NOT NULL REFERENCES payment.account (code),
    currency      text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    balance_minor bigint NOT NULL,
    PRIMARY KEY (account, currency, seq)
);
CREATE INDEX ledger_seal_seq ON payment.ledger_seal (seq);

CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.journal_seal
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.ledger_seal
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.payout_item
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.account
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();
CREATE TRIGGER only_append BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.split_rule
    FOR EACH STATEMENT EXECUTE FUNCTION payment.only_append();

-- Nor may the service try; bootstrap.sql says so again after its grants. The
-- tables are the migrating user's, so it cannot take the triggers away either.
-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'manas_payment') THEN
        REVOKE UPDATE, DELETE ON payment.account, payment.journal, payment.posting, payment.journal_seal, payment.ledger_seal,
            payment.payout_item, payment.split_rule FROM manas_payment;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE payment.ledger_seal;
DROP TRIGGER journal_awaits_seal ON payment.journal;
DROP FUNCTION payment.journal_awaits_seal();
DROP TABLE payment.journal_unsealed;
DROP TABLE payment.journal_seal;
DROP TABLE payment.payout_item;
DROP TABLE payment.payout;
DROP FUNCTION payment.payout_adds_up();
DROP TABLE payment.payee;
DROP TRIGGER only_append ON payment.account;
ALTER TABLE payment.payment DROP COLUMN split_rule, DROP COLUMN beneficiary_id;
DROP TABLE payment.split_rule;
