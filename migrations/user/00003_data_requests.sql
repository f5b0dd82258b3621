-- +goose Up
-- A person's wish about the own data. An erasure waits for its day and goes on
-- until every service has forgotten; an export is read for seven days.
CREATE TABLE users.data_request (
    id          uuid PRIMARY KEY,
    user_id     uuid        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('EXPORT', 'ERASURE')),
    state       text        NOT NULL CHECK (state IN ('PENDING', 'READY', 'EXPIRED', 'SCHEDULED', 'CANCELLED', 'COMPLETED')),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    due_at      timestamptz,
    warned_at   timestamptz, -- told a second time, 48 h before
    finished_at timestamptz,
    next_try_at timestamptz NOT NULL,
    attempts    int         NOT NULL DEFAULT 0,
    done        text[]      NOT NULL DEFAULT '{}' -- services that have answered
);
-- One at a time, however often it is asked for.
CREATE UNIQUE INDEX data_request_open ON users.data_request (user_id, kind) WHERE state IN ('PENDING', 'SCHEDULED');
CREATE INDEX data_request_of_user ON users.data_request (user_id, created_at DESC, id DESC);
CREATE INDEX data_request_due ON users.data_request (next_try_at) WHERE state IN ('PENDING', 'SCHEDULED');
CREATE INDEX data_request_expiry ON users.data_request (expires_at) WHERE state = 'READY';

-- What one service holds about the person, sealed under the person's key.
CREATE TABLE users.data_part (
    request_id uuid NOT NULL REFERENCES users.data_request (id) ON DELETE CASCADE,
    service    text NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (request_id, service)
);

-- The key of a person's archives, sealed under the service's. Destroyed with the
-- account: copies of archives in backups are then noise.
CREATE TABLE users.person_key (
    user_id    uuid PRIMARY KEY,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE users.person_key;
DROP TABLE users.data_part;
DROP TABLE users.data_request;
