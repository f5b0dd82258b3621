-- +goose Up
-- People. Address, state and roles are auth's; they are kept here by event so
-- that reading a profile asks one table. The schema is "users" because "user"
-- is a reserved word.
CREATE TABLE users.profile (
    user_id         uuid PRIMARY KEY,
    email           text,
    phone           text,
    state           text        NOT NULL CHECK (state IN ('ACTIVE', 'SUSPENDED', 'DELETED')),
    roles           text[]      NOT NULL DEFAULT '{}',
    account_version bigint      NOT NULL DEFAULT 0, -- of the last AccountChanged applied
    first_name      text        NOT NULL CHECK (length(first_name) <= 100),
    last_name       text        NOT NULL CHECK (length(last_name) <= 100),
    display_name    text        NOT NULL DEFAULT '' CHECK (length(display_name) <= 200),
    bio             text        NOT NULL DEFAULT '' CHECK (length(bio) <= 2000),
    timezone        text        NOT NULL DEFAULT 'Asia/Kolkata',
    locale          text        NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'hi', 'kn', 'ta', 'te')),
    avatar_url      text        NOT NULL DEFAULT '' CHECK (avatar_url = '' OR avatar_url LIKE 'https://%'),
    version         bigint      NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);

-- Facts for other services, written in the transaction of the change.
CREATE TABLE users.outbox (
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
CREATE INDEX outbox_due ON users.outbox (destination, seq);
CREATE INDEX outbox_key ON users.outbox (destination, key, seq);

-- What a consumer refused for good; an operator decides.
CREATE TABLE users.outbox_dead (
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
CREATE TABLE users.inbox (
    event_id     uuid PRIMARY KEY,
    source       text        NOT NULL,
    type         text        NOT NULL,
    processed_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE users.inbox;
DROP TABLE users.outbox_dead;
DROP TABLE users.outbox;
DROP TABLE users.profile;
