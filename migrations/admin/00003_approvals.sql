-- +goose Up
-- An act that waits for a second operator: what exactly was asked for, frozen.
-- Refunds and payouts have approvals of their own, with the money.
CREATE TABLE admin.approval (
    id              uuid PRIMARY KEY, -- v7: sorts by time
    kind            text        NOT NULL CHECK (kind IN ('ROLE_GRANT', 'BULK_SUSPEND', 'BULK_REVOKE_SESSIONS')),
    method          text        NOT NULL, -- full name of the RPC
    request         bytea       NOT NULL,
    request_hash    bytea       NOT NULL, -- SHA-256 of method and request
    etag            text        NOT NULL, -- of what it is about, when it was asked for; empty for many things
    requested_by    uuid        NOT NULL,
    reason          text        NOT NULL CHECK (length(reason) BETWEEN 10 AND 500),
    state           text        NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'APPROVED', 'REJECTED', 'FAILED')),
    decided_by      uuid,
    decision_reason text        NOT NULL DEFAULT '',
    result          bytea, -- what became of each
    lease_until     timestamptz, -- who approved is at it
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    decided_at      timestamptz,
    CONSTRAINT approval_two_people CHECK (decided_by IS NULL OR decided_by <> requested_by),
    CONSTRAINT approval_decided CHECK (state = 'PENDING' OR decided_by IS NOT NULL)
);
CREATE INDEX approval_waiting ON admin.approval (id DESC) WHERE state IN ('PENDING', 'RUNNING');

-- +goose Down
DROP TABLE admin.approval;
