-- +goose Up
-- Callbacks of every dialect: what they are about, and by which names.
ALTER TABLE payment.webhook_event
    ADD COLUMN topic             text    NOT NULL DEFAULT '' CHECK (topic IN ('', 'order', 'refund', 'dispute', 'mandate', 'settlement')),
    ADD COLUMN subject           text    NOT NULL DEFAULT '', -- the refund, dispute or mandate
    ADD COLUMN provider_event_id text    NOT NULL DEFAULT '', -- as the provider numbers them
    ADD COLUMN provider_refs     text[]  NOT NULL DEFAULT '{}', -- its names of the order and of what belongs to it
    ADD COLUMN claimed_currency  text    NOT NULL DEFAULT '',
    ADD COLUMN final             boolean NOT NULL DEFAULT false, -- it claims that the order has ended
    ADD COLUMN looks             int     NOT NULL DEFAULT 0,
    ADD COLUMN look_at           timestamptz; -- an orphan's: when to look again for what it is about
-- Only where the body says it, and so the signature: elsewhere it proves nothing.
CREATE UNIQUE INDEX webhook_event_id_once ON payment.webhook_event (provider, provider_event_id)
    WHERE provider = 'stripe' AND provider_event_id <> '';
-- A dispute names a payment only; another callback named its order.
CREATE INDEX webhook_event_refs ON payment.webhook_event USING gin (provider_refs) WITH (fastupdate = off) WHERE topic = 'order';
-- Orphans to look at again.
CREATE INDEX webhook_event_look ON payment.webhook_event (look_at) WHERE state = 'ORPHAN' AND look_at IS NOT NULL;
-- What the administrator reads: what did not end well, newest first.
CREATE INDEX webhook_event_state ON payment.webhook_event (state, id DESC) WHERE state <> 'PROCESSED';
-- Callbacks name the provider's order.
CREATE INDEX attempt_provider_order ON payment.attempt (provider_order_id) WHERE provider_order_id <> '';

-- +goose Down
DROP INDEX payment.attempt_provider_order;
DROP INDEX payment.webhook_event_state;
DROP INDEX payment.webhook_event_look;
DROP INDEX payment.webhook_event_refs;
DROP INDEX payment.webhook_event_id_once;
ALTER TABLE payment.webhook_event
    DROP COLUMN look_at, DROP COLUMN looks, DROP COLUMN final, DROP COLUMN claimed_currency, DROP COLUMN provider_refs,
    DROP COLUMN provider_event_id, DROP COLUMN subject, DROP COLUMN topic;
