-- +goose Up
-- Rises with every change of who is in an organization or pays for it, under
-- its lock: subscription, which is told each, ignores what is older than it
-- knows. 0: it was never told of this one.
ALTER TABLE users.organization ADD COLUMN roster_version bigint NOT NULL DEFAULT 0;
CREATE INDEX organization_untold ON users.organization (id) WHERE roster_version = 0 AND deleted_at IS NULL; -- told when a process starts

-- +goose Down
DROP INDEX users.organization_untold;
ALTER TABLE users.organization DROP COLUMN roster_version;
