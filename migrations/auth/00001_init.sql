-- +goose Up
-- An identity. E-mail is canonical: lower case, NFKC. plan, features and
-- plan_epoch are subscription's, projected here for tokens; epoch is ours: a
-- token with a smaller one is stale.
CREATE TABLE auth.account (
    id                uuid PRIMARY KEY,
    email             text        NOT NULL,
    email_verified_at timestamptz,
    phone             text,
    state             text        NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'SUSPENDED', 'DELETED')),
    first_name        text        NOT NULL,
    last_name         text        NOT NULL,
    locale            text        NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'hi', 'kn', 'ta', 'te')),
    accepted_terms    text        NOT NULL,
    epoch             bigint      NOT NULL DEFAULT 1,
    version           bigint      NOT NULL DEFAULT 1,
    plan              text        NOT NULL DEFAULT 'free',
    features          text[]      NOT NULL DEFAULT '{}',
    plan_epoch        bigint      NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    last_login_at     timestamptz,
    CONSTRAINT account_email_key UNIQUE (email)
);
-- The administrator's list, newest first.
CREATE INDEX account_newest ON auth.account (created_at DESC, id DESC);

-- A password as an argon2id PHC string.
CREATE TABLE auth.credential (
    account_id uuid PRIMARY KEY REFERENCES auth.account (id),
    phc        text        NOT NULL,
    updated_at timestamptz NOT NULL
);

-- A wish for an account, waiting for the mailed code. One row for each try: a
-- stranger who registers an address again must not replace its owner's password.
CREATE TABLE auth.registration (
    id             uuid PRIMARY KEY,
    email          text        NOT NULL,
    phc            text        NOT NULL,
    phone          text,
    first_name     text        NOT NULL,
    last_name      text        NOT NULL,
    locale         text        NOT NULL,
    accepted_terms text        NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL
);
-- Login tells a right password of an unproved address from a wrong one.
CREATE INDEX registration_email ON auth.registration (email, created_at DESC);
CREATE INDEX registration_expiry ON auth.registration (expires_at);

-- When an address was last sent a code: one a minute.
CREATE TABLE auth.recipient (
    address text PRIMARY KEY,
    sent_at timestamptz NOT NULL
);

-- Something to prove. mac is a keyed hash of the code, or of the handle of a
-- login that owes its second factor. A challenge without registration and
-- account can never succeed: it answers for a known address.
CREATE TABLE auth.challenge (
    id              uuid PRIMARY KEY,
    purpose         text        NOT NULL CHECK (purpose IN ('REGISTER', 'LOGIN_MFA')),
    registration_id uuid REFERENCES auth.registration (id) ON DELETE CASCADE,
    account_id      uuid REFERENCES auth.account (id),
    mac             bytea       NOT NULL,
    attempts        int         NOT NULL DEFAULT 0,
    max_attempts    int         NOT NULL DEFAULT 5,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz
);
CREATE INDEX challenge_registration ON auth.challenge (registration_id);
CREATE INDEX challenge_account ON auth.challenge (account_id);
CREATE INDEX challenge_expiry ON auth.challenge (expires_at);

-- A sign-in on one device. The refresh token is (id, counter, MAC); its key
-- comes from salt and a secret that is not in the database, so a copy of this
-- table opens nothing.
CREATE TABLE auth.session (
    id            uuid PRIMARY KEY,
    account_id    uuid        NOT NULL REFERENCES auth.account (id),
    salt          bytea       NOT NULL,
    counter       bigint      NOT NULL DEFAULT 1,
    rotated_at    timestamptz NOT NULL,
    amr           text[]      NOT NULL,
    auth_time     timestamptz NOT NULL,
    mfa_at        timestamptz,
    user_agent    text        NOT NULL DEFAULT '',
    ip            text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    idle_seconds  int         NOT NULL,
    idle_until    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    revoke_reason text        NOT NULL DEFAULT ''
);
-- The owner's list and "end them all"; only live ones.
CREATE INDEX session_live ON auth.session (account_id, created_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX session_account ON auth.session (account_id);
CREATE INDEX session_expiry ON auth.session (expires_at);

-- A TOTP secret, sealed for its account. It counts once confirmed; last_step
-- makes every code good once.
CREATE TABLE auth.totp (
    account_id   uuid PRIMARY KEY REFERENCES auth.account (id),
    secret       bytea       NOT NULL,
    last_step    bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz
);

-- Ways back in, as keyed hashes; each good once.
CREATE TABLE auth.recovery_code (
    account_id uuid        NOT NULL REFERENCES auth.account (id),
    mac        bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    PRIMARY KEY (account_id, mac)
);

-- Token keys; the private half is sealed with the kid.
CREATE TABLE auth.signing_key (
    kid        text PRIMARY KEY,
    alg        text        NOT NULL CHECK (alg IN ('EdDSA', 'ES256')),
    state      text        NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'RETIRING', 'DEAD')),
    private    bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
-- One key signs, however many replicas start at once.
CREATE UNIQUE INDEX signing_key_active ON auth.signing_key ((true)) WHERE state = 'ACTIVE';

CREATE TABLE auth.role (
    name      text PRIMARY KEY,
    level     int     NOT NULL, -- nobody touches an account of his own level or above
    needs_mfa boolean NOT NULL
);
CREATE TABLE auth.permission (name text PRIMARY KEY);
CREATE TABLE auth.role_permission (
    role       text NOT NULL REFERENCES auth.role (name),
    permission text NOT NULL REFERENCES auth.permission (name),
    PRIMARY KEY (role, permission)
);
CREATE INDEX role_permission_permission ON auth.role_permission (permission);
CREATE TABLE auth.account_role (
    account_id uuid        NOT NULL REFERENCES auth.account (id),
    role       text        NOT NULL REFERENCES auth.role (name),
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, role)
);
CREATE INDEX account_role_role ON auth.account_role (role, account_id);

-- The truth behind revocation: what makes tokens dead or stale before their
-- time. Rows go when no token they could concern is left.
CREATE TABLE auth.authz_event (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('SESSION_REVOKED', 'ACCOUNT_REVOKED', 'ACCOUNT_STALE')),
    key         uuid        NOT NULL,
    min_epoch   bigint      NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
-- Every gateway asks twice a second for what is new.
CREATE INDEX authz_event_recorded ON auth.authz_event (recorded_at, seq);
CREATE INDEX authz_event_expiry ON auth.authz_event (expires_at);

-- Mail on its way. content is sealed and goes once it is sent.
CREATE TABLE auth.message (
    id              uuid PRIMARY KEY,
    channel         text        NOT NULL CHECK (channel IN ('EMAIL', 'SMS', 'WHATSAPP')),
    template        text        NOT NULL,
    locale          text        NOT NULL,
    content         bytea,
    attempts        int         NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz
);
-- The sender's queue.
CREATE INDEX message_due ON auth.message (next_attempt_at, id) WHERE content IS NOT NULL;
CREATE INDEX message_created ON auth.message (created_at);

-- Facts for other services, written in the transaction of the change.
CREATE TABLE auth.outbox (
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
CREATE INDEX outbox_due ON auth.outbox (destination, seq);
CREATE INDEX outbox_key ON auth.outbox (destination, key, seq);

-- What a consumer refused for good; an operator decides.
CREATE TABLE auth.outbox_dead (
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
CREATE TABLE auth.inbox (
    event_id     uuid PRIMARY KEY,
    source       text        NOT NULL,
    type         text        NOT NULL,
    processed_at timestamptz NOT NULL
);

-- +goose Down
DROP TABLE auth.inbox;
DROP TABLE auth.outbox_dead;
DROP TABLE auth.outbox;
DROP TABLE auth.message;
DROP TABLE auth.authz_event;
DROP TABLE auth.account_role;
DROP TABLE auth.role_permission;
DROP TABLE auth.permission;
DROP TABLE auth.role;
DROP TABLE auth.signing_key;
DROP TABLE auth.recovery_code;
DROP TABLE auth.totp;
DROP TABLE auth.session;
DROP TABLE auth.challenge;
DROP TABLE auth.recipient;
DROP TABLE auth.registration;
DROP TABLE auth.credential;
DROP TABLE auth.account;
