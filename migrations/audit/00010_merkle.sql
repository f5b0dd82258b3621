-- +goose Up
-- The tree over the log (RFC 9162). A row is a full tile of C2SP tlog-tiles:
-- 256 hashes, and the root over them, which is one hash of the tile above: a
-- tile that is not full yet is read from the roots below it.
CREATE TABLE audit.tile (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx   bigint   NOT NULL CHECK (idx >= 0),
    root  bytea    NOT NULL CHECK (length(root) = 32),
    data  bytea    NOT NULL CHECK (length(data) = 8192),
    PRIMARY KEY (level, idx)
);
-- Hashes do not compress; out of line, the roots stay close together.
ALTER TABLE audit.tile ALTER COLUMN data SET STORAGE EXTERNAL;

-- The right edge: roots of the largest full subtrees, then the leaves after the
-- last full tile. tree_size stands behind size only while a service that knows
-- no tree writes, or wrote before this migration; the next writer takes those
-- events in before its own.
ALTER TABLE audit.log_head
    ADD COLUMN tree_size bigint NOT NULL DEFAULT 0 CHECK (tree_size BETWEEN 0 AND size),
    ADD COLUMN root      bytea  NOT NULL DEFAULT sha256('') CHECK (length(root) = 32),
    ADD COLUMN edge      bytea  NOT NULL DEFAULT '';
ALTER TABLE audit.log_head ALTER COLUMN edge SET STORAGE EXTERNAL;

-- Signed tree heads. One for each size, whoever signs: two of one size would be
-- a fork.
CREATE TABLE audit.checkpoint (
    size      bigint      PRIMARY KEY CHECK (size > 0),
    root      bytea       NOT NULL CHECK (length(root) = 32),
    note      text        NOT NULL, -- C2SP tlog-checkpoint, as it was signed
    signed_at timestamptz NOT NULL
);

-- What a witness answered for a checkpoint: note signature lines, some time
-- after the checkpoint itself.
CREATE TABLE audit.cosignature (
    size      bigint      NOT NULL,
    witness   text        NOT NULL, -- name of its key
    lines     text        NOT NULL,
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (size, witness)
);

-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'manas_audit') THEN
        GRANT SELECT, INSERT ON audit.tile, audit.checkpoint, audit.cosignature TO manas_audit;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE audit.cosignature;
DROP TABLE audit.checkpoint;
ALTER TABLE audit.log_head DROP COLUMN edge, DROP COLUMN root, DROP COLUMN tree_size;
DROP TABLE audit.tile;
