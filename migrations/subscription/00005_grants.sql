-- +goose Up
-- A part of a counted feature that is held for something under way. It counts
-- as used until it is released or its time is over; whoever lets go of one that
-- has run out marks it, so that its commit comes too late for certain.
CREATE TABLE subscription.reservation (
    id           uuid PRIMARY KEY,
    user_id      uuid        NOT NULL,
    feature      text        NOT NULL,
    period_start timestamptz NOT NULL, -- of the counter it counts in, also when the commit comes in the next period
    amount       bigint      NOT NULL CHECK (amount > 0),
    state        text        NOT NULL CHECK (state IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED')),
    used         bigint CHECK (used BETWEEN 1 AND amount), -- what was committed
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL,
    settled_at   timestamptz,
    CHECK ((state = 'COMMITTED') = (used IS NOT NULL)),
    CHECK ((state = 'HELD') = (settled_at IS NULL)),
    CHECK (expires_at > created_at)
);
CREATE INDEX reservation_held ON subscription.reservation (user_id, feature, period_start) WHERE state = 'HELD'; -- what counts
CREATE INDEX reservation_due ON subscription.reservation (expires_at) WHERE state = 'HELD';                      -- the sweeper
CREATE INDEX reservation_old ON subscription.reservation (settled_at) WHERE settled_at IS NOT NULL;              -- likewise

-- Whether something may be held of it: then one more use is decided under its
-- lock, else by one statement.
ALTER TABLE subscription.usage_counter ADD COLUMN holds boolean NOT NULL DEFAULT false;

-- What somebody has besides their plan, or does not have in spite of it. Those
-- that follow from an organization are no rows here: they are its payer's plan.
CREATE TABLE subscription.entitlement_grant (
    id          uuid PRIMARY KEY,
    user_id     uuid        NOT NULL,
    source      text        NOT NULL CHECK (source IN ('override', 'addon', 'removal', 'organization')),
    feature     text        NOT NULL CHECK (feature ~ '^[a-z0-9][a-z0-9_]{0,63}$'),
    kind        text        NOT NULL CHECK (kind IN ('boolean', 'quantity', 'metered')),
    limit_value bigint CHECK (limit_value >= 0), -- null is unlimited
    period      text        NOT NULL DEFAULT 'none' CHECK (period IN ('none', 'day', 'month')),
    priority    int         NOT NULL DEFAULT 0,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz, -- null: never ends
    origin      text        NOT NULL DEFAULT '', -- where it comes from, such as an organization's or a purchase's id
    granted_by  text        NOT NULL,
    reason      text        NOT NULL,
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    CHECK ((kind = 'metered') = (period <> 'none')),
    CHECK (kind <> 'boolean' OR limit_value IS NULL),
    CHECK (valid_until > valid_from)
);
CREATE INDEX entitlement_grant_user ON subscription.entitlement_grant (user_id, id);

-- A set holds the fold of the plan and the grants. One that was written before
-- there were grants has no limits of its own and goes by its plan; so does one
-- that an older program has written since: its fold is of another epoch.
ALTER TABLE subscription.entitlement_set
    ADD COLUMN limits       jsonb,
    ADD COLUMN plan_ends_at timestamptz, -- end of the plan alone; ends_at is the next instant at which the fold may differ
    ADD COLUMN folded_epoch bigint,
    ADD COLUMN due_at       timestamptz; -- when it has to be folded again; null: its subscription's end is all that comes
CREATE INDEX entitlement_set_due ON subscription.entitlement_set (due_at) WHERE due_at IS NOT NULL;

-- Sets that something else has changed under: folded again soon, and at the
-- next read. Only ever added to and deleted, so that whoever marks many waits
-- for nobody.
CREATE TABLE subscription.entitlement_stale (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id   uuid        NOT NULL,
    marked_at timestamptz NOT NULL
);
CREATE INDEX entitlement_stale_user ON subscription.entitlement_stale (user_id);

-- Who is in which organization and who pays for it, as user tells it.
CREATE TABLE subscription.organization_member (
    organization_id uuid    NOT NULL,
    user_id         uuid    NOT NULL,
    payer_id        uuid    NOT NULL,
    member          boolean NOT NULL, -- false: was
    version         bigint  NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_member_user ON subscription.organization_member (user_id) WHERE member;   -- whose plans somebody has
CREATE INDEX organization_member_payer ON subscription.organization_member (payer_id) WHERE member; -- who has somebody's plan

-- +goose Down
DROP TABLE subscription.organization_member;
DROP TABLE subscription.entitlement_stale;
ALTER TABLE subscription.entitlement_set
    DROP COLUMN limits,
    DROP COLUMN plan_ends_at,
    DROP COLUMN folded_epoch,
    DROP COLUMN due_at;
DROP TABLE subscription.entitlement_grant;
ALTER TABLE subscription.usage_counter DROP COLUMN holds;
DROP TABLE subscription.reservation;
