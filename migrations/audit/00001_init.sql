-- +goose Up
-- One row: the last position of the log. Its row lock makes the writer single,
-- so positions have no gaps and no two writers fork the log.
CREATE TABLE audit.log_head (
    id   int    PRIMARY KEY CHECK (id = 1),
    size bigint NOT NULL CHECK (size >= 0)
);
INSERT INTO audit.log_head (id, size) VALUES (1, 0);

-- The log. Class and event_ts are functions of the event (its action, the time
-- inside its UUIDv7), so the key refuses a second delivery for ever.
-- No DEFAULT partition: an event without a home waits in its producer's outbox.
CREATE TABLE audit.event (
    retention_class text        NOT NULL CHECK (retention_class IN ('ops', 'security', 'financial')),
    event_ts        timestamptz NOT NULL,
    event_id        uuid        NOT NULL,
    seq             bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    source          text        NOT NULL,
    action          text        NOT NULL,
    actor_type      text        NOT NULL,
    actor_id        text        NOT NULL,
    outcome         text        NOT NULL CHECK (outcome IN ('SUCCESS', 'DENIED', 'FAILURE')),
    request_id      text        NOT NULL,
    leaf_hash       bytea       NOT NULL CHECK (length(leaf_hash) = 32), -- SHA-256(0x00 || canonical), RFC 9162
    canonical       bytea       NOT NULL, -- deterministic protobuf of manas.audit.v1.Event, stored verbatim
    PRIMARY KEY (retention_class, event_ts, event_id)
) PARTITION BY LIST (retention_class);

CREATE TABLE audit.event_ops PARTITION OF audit.event FOR VALUES IN ('ops') PARTITION BY RANGE (event_ts);
CREATE TABLE audit.event_security PARTITION OF audit.event FOR VALUES IN ('security') PARTITION BY RANGE (event_ts);
CREATE TABLE audit.event_financial PARTITION OF audit.event FOR VALUES IN ('financial') PARTITION BY RANGE (event_ts);

CREATE INDEX event_time ON audit.event (occurred_at DESC, seq DESC);                       -- newest first, no filter
CREATE INDEX event_actor ON audit.event (actor_id, occurred_at DESC, seq DESC);            -- what did this one do
CREATE INDEX event_action ON audit.event (action text_pattern_ops, occurred_at DESC);      -- whole action or its prefix
CREATE INDEX event_request ON audit.event (request_id, occurred_at DESC, seq DESC);        -- one act across services
CREATE INDEX event_seq ON audit.event (seq);                                               -- the log's own order

-- One row for each thing an event touched, so that "what happened to this"
-- is one index scan. No foreign key: retention drops partitions whole.
CREATE TABLE audit.event_target (
    target_id       text        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    seq             bigint      NOT NULL,
    target_type     text        NOT NULL,
    retention_class text        NOT NULL,
    event_ts        timestamptz NOT NULL,
    event_id        uuid        NOT NULL,
    PRIMARY KEY (target_id, occurred_at, seq, target_type)
);

-- +goose StatementBegin
-- ensure_partitions makes monthly partitions of every class from the month of
-- from_day on. The service may run it without owning the tables.
CREATE FUNCTION audit.ensure_partitions(from_day date, months int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    class text;
    first date := date_trunc('month', from_day)::date;
    made  int := 0;
    start_day date;
    name text;
BEGIN
    IF months < 1 OR months > 24 THEN
        RAISE EXCEPTION 'months must be 1 to 24, got %', months;
    END IF;
    FOREACH class IN ARRAY ARRAY['ops', 'security', 'financial'] LOOP
        FOR i IN 0 .. months - 1 LOOP
            start_day := (first + make_interval(months => i))::date;
            name := format('event_%s_%s', class, to_char(start_day, 'YYYYMM'));
            IF to_regclass('audit.' || name) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE audit.%I PARTITION OF audit.%I FOR VALUES FROM (%L) TO (%L)',
                    name, 'event_' || class,
                    start_day::text || ' 00:00:00+00', ((start_day + make_interval(months => 1))::date)::text || ' 00:00:00+00');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION audit.ensure_partitions(date, int) FROM PUBLIC;
SELECT audit.ensure_partitions((now() - interval '1 month')::date, 5);

-- The service inserts and reads; nothing it runs can change or remove an event.
-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'manas_audit') THEN
        REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM manas_audit;
        ALTER DEFAULT PRIVILEGES IN SCHEMA audit REVOKE ALL ON TABLES FROM manas_audit;
        GRANT SELECT, INSERT ON audit.event, audit.event_target TO manas_audit;
        GRANT SELECT, UPDATE ON audit.log_head TO manas_audit;
        GRANT EXECUTE ON FUNCTION audit.ensure_partitions(date, int) TO manas_audit;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION audit.ensure_partitions(date, int);
DROP TABLE audit.event_target;
DROP TABLE audit.event;
DROP TABLE audit.log_head;
