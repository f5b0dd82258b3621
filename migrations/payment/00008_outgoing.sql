-- +goose Up
-- Where an organization wants to be told of its payments (Standard Webhooks).
CREATE TABLE payment.webhook_endpoint (
    id                uuid PRIMARY KEY, -- v7: sorts by time
    organization_id   uuid        NOT NULL,
    payer_id          uuid        NOT NULL, -- whose payments they are
    url               text        NOT NULL CHECK (length(url) <= 2048),
    description       text        NOT NULL DEFAULT '' CHECK (length(description) <= 200),
    events            text[]      NOT NULL CHECK (cardinality(events) > 0),
    enabled           boolean     NOT NULL DEFAULT true,
    disabled_reason   text        NOT NULL DEFAULT '',
    secret            bytea       NOT NULL, -- sealed
    previous_secret   bytea, -- sealed; signs as well until
    previous_until    timestamptz,
    failing_since     timestamptz,
    created_by        uuid        NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX webhook_endpoint_of_organization ON payment.webhook_endpoint (organization_id, id);
CREATE INDEX webhook_endpoint_of_payer ON payment.webhook_endpoint (payer_id) WHERE enabled;

-- What is to be told, built in the transaction of what happened.
CREATE TABLE payment.webhook_delivery (
    id              uuid PRIMARY KEY, -- v7
    endpoint_id     uuid        NOT NULL REFERENCES payment.webhook_endpoint (id) ON DELETE CASCADE,
    message_id      text        NOT NULL, -- the same at every repeat
    event           text        NOT NULL,
    body            bytea       NOT NULL,
    state           text        NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    attempts        int         NOT NULL DEFAULT 0,
    next_attempt_at timestamptz, -- null when it has ended
    last_status     int         NOT NULL DEFAULT 0,
    last_error      text        NOT NULL DEFAULT '',
    latency_ms      int         NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    delivered_at    timestamptz,
    CONSTRAINT webhook_delivery_once UNIQUE (endpoint_id, message_id)
);
CREATE INDEX webhook_delivery_due ON payment.webhook_delivery (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX webhook_delivery_log ON payment.webhook_delivery (endpoint_id, id DESC);

-- +goose Down
DROP TABLE payment.webhook_delivery;
DROP TABLE payment.webhook_endpoint;
