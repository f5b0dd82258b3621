-- +goose Up
-- What operators do lives with its owner; admin keeps its own outbox, so that
-- an operator's look at a person is on record before it is answered.
-- Facts for other services, written in the transaction of the change.
CREATE TABLE admin.outbox (
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
CREATE INDEX outbox_due ON admin.outbox (destination, seq);
CREATE INDEX outbox_key ON admin.outbox (destination, key, seq);

-- What a consumer refused for good; an operator decides.
CREATE TABLE admin.outbox_dead (
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
CREATE TABLE admin.inbox (
    event_id     uuid PRIMARY KEY,
    source       text        NOT NULL,
    type         text        NOT NULL,
    processed_at timestamptz NOT NULL
);

-- Answers to repeated money-moving calls, kept seven days.
CREATE TABLE admin.idempotency_key (
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
DROP TABLE admin.idempotency_key;
DROP TABLE admin.inbox;
DROP TABLE admin.outbox_dead;
DROP TABLE admin.outbox;
