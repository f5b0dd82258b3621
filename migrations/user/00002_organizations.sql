-- +goose Up
-- How a person wants to be treated. No row: the defaults of preferences.go.
CREATE TABLE users.preferences (
    user_id            uuid PRIMARY KEY REFERENCES users.profile (user_id),
    security_channels  text[]      NOT NULL CHECK ('EMAIL' = ANY (security_channels)),
    billing_channels   text[]      NOT NULL,
    reminder_channels  text[]      NOT NULL,
    product_channels   text[]      NOT NULL,
    marketing_channels text[]      NOT NULL,
    quiet_enabled      boolean     NOT NULL,
    quiet_start        text        NOT NULL CHECK (quiet_start ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    quiet_end          text        NOT NULL CHECK (quiet_end ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    contact_language   text        NOT NULL CHECK (contact_language IN ('', 'en', 'hi', 'kn', 'ta', 'te')),
    reduced_motion     boolean     NOT NULL,
    high_contrast      boolean     NOT NULL,
    version            bigint      NOT NULL,
    updated_at         timestamptz NOT NULL,
    CHECK ((security_channels || billing_channels || reminder_channels || product_channels || marketing_channels)
           <@ ARRAY['EMAIL', 'SMS', 'WHATSAPP', 'PUSH'])
);

-- What people agreed to and took back: evidence under the DPDP Act. Only ever
-- added to; the newest of a document is in force.
CREATE TABLE users.consent (
    id          uuid PRIMARY KEY,
    user_id     uuid        NOT NULL,
    document    text        NOT NULL CHECK (document IN ('TERMS', 'PRIVACY', 'MARKETING', 'RESEARCH', 'TELETHERAPY')),
    version     text        NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    granted     boolean     NOT NULL,
    locale      text        NOT NULL CHECK (locale IN ('en', 'hi', 'kn', 'ta', 'te')),
    source      text        NOT NULL CHECK (source IN ('SETTINGS', 'REGISTRATION', 'SIGN_IN')),
    ip_prefix   text        NOT NULL DEFAULT '', -- /24 or /48
    occurred_at timestamptz NOT NULL
);
CREATE INDEX consent_of_user ON users.consent (user_id, occurred_at DESC, id DESC);

-- For every role, the owner's too: a right can be granted again by accident.
-- +goose StatementBegin
CREATE FUNCTION users.keep_consents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'consents are only ever added' USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER consent_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON users.consent
    FOR EACH STATEMENT EXECUTE FUNCTION users.keep_consents();

-- How many people the plan of a payer allows, copied from subscription by
-- event. Its row is the lock under which seats are taken.
CREATE TABLE users.seat_limit (
    user_id    uuid PRIMARY KEY,
    epoch      bigint      NOT NULL DEFAULT 0, -- of the last EntitlementChanged applied
    seats      bigint      NOT NULL CHECK (seats >= -1), -- -1: no end
    ends_at    timestamptz,                    -- after it the Free plan's number counts
    updated_at timestamptz NOT NULL
);

CREATE TABLE users.organization (
    id         uuid PRIMARY KEY,
    name       text        NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    type       text        NOT NULL CHECK (type IN ('CORPORATE', 'EDUCATION', 'HEALTHCARE', 'INSURANCE', 'GOVERNMENT')),
    payer_id   uuid        NOT NULL, -- the owner whose plan gives the seats
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX organization_payer ON users.organization (payer_id) WHERE deleted_at IS NULL; -- seats are counted by payer

CREATE TABLE users.org_member (
    org_id    uuid        NOT NULL REFERENCES users.organization (id),
    user_id   uuid        NOT NULL,
    role      text        NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX org_member_page ON users.org_member (org_id, joined_at, user_id);
CREATE INDEX org_member_user ON users.org_member (user_id, joined_at DESC, org_id DESC);

CREATE TABLE users.invitation (
    id          uuid PRIMARY KEY,
    org_id      uuid        NOT NULL REFERENCES users.organization (id),
    email       text        NOT NULL CHECK (length(email) <= 254), -- canonical
    role        text        NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
    token_hash  bytea       NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    locale      text        NOT NULL,
    invited_by  uuid        NOT NULL,
    created_at  timestamptz NOT NULL,
    sent_at     timestamptz NOT NULL,
    sent        int         NOT NULL DEFAULT 1, -- mails
    expires_at  timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid,
    revoked_at  timestamptz,
    CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE UNIQUE INDEX invitation_open ON users.invitation (org_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitation_page ON users.invitation (org_id, created_at DESC, id DESC);
CREATE INDEX invitation_email ON users.invitation (email, created_at DESC, id DESC) WHERE accepted_at IS NULL AND revoked_at IS NULL; -- what was sent to me

CREATE TABLE users.therapist_profile (
    user_id          uuid PRIMARY KEY REFERENCES users.profile (user_id),
    type             text        NOT NULL CHECK (type IN ('PSYCHOLOGIST', 'PSYCHIATRIST', 'THERAPIST', 'COACH')),
    specializations  text[]      NOT NULL,
    experience_years int         NOT NULL CHECK (experience_years BETWEEN 0 AND 80),
    license_number   text        NOT NULL CHECK (length(license_number) <= 64),
    languages        text[]      NOT NULL,
    about            text        NOT NULL CHECK (length(about) <= 2000),
    state            text        NOT NULL CHECK (state IN ('DRAFT', 'PENDING', 'VERIFIED', 'REJECTED', 'SUSPENDED')),
    reason           text        NOT NULL DEFAULT '',
    submitted_at     timestamptz,
    decided_at       timestamptz,
    verified_at      timestamptz,
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CHECK (state <> 'VERIFIED' OR verified_at IS NOT NULL)
);
CREATE INDEX therapist_public ON users.therapist_profile (verified_at DESC, user_id DESC) WHERE state = 'VERIFIED';
CREATE INDEX therapist_queue ON users.therapist_profile (updated_at DESC, user_id DESC);

-- +goose Down
DROP TABLE users.therapist_profile;
DROP TABLE users.invitation;
DROP TABLE users.org_member;
DROP TABLE users.organization;
DROP TABLE users.seat_limit;
DROP TABLE users.consent;
DROP FUNCTION users.keep_consents();
DROP TABLE users.preferences;
