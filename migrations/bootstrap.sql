-- Schemas and one role each. Run by a superuser before the migrations, which
-- the same user runs and therefore owns: no service role can alter a table.
DO $$
DECLARE
    pair text[];
    schema_name text;
    role_name text;
    table_name text;
BEGIN
    FOREACH pair SLICE 1 IN ARRAY ARRAY[
        ['auth', 'manas_auth'], ['users', 'manas_user'], ['subscription', 'manas_subscription'],
        ['payment', 'manas_payment'], ['audit', 'manas_audit'], ['admin', 'manas_admin']
    ] LOOP
        schema_name := pair[1];
        role_name := pair[2];
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role_name);
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', schema_name);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, role_name);
        -- audit's rights are narrower and stand in its own migration.
        IF schema_name <> 'audit' THEN
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', schema_name, role_name);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO %I', schema_name, role_name);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', schema_name, role_name);
            EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', schema_name, role_name);
            -- What only grows stays so, however often this file is run.
            FOR table_name IN
                SELECT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                 WHERE t.tgname = 'only_append' AND c.relnamespace = schema_name::regnamespace
            LOOP
                EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM %I', table_name, role_name);
            END LOOP;
        END IF;
        -- Here rather than at connect, where a pooler would refuse them. No
        -- query of a service runs longer; a stuck one frees its locks. A relay
        -- waits 5 s for a peer inside its transaction, hence 10 s of idling.
        -- The owner, who migrates, has no limits.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET statement_timeout = ''5s''', role_name, current_database());
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET lock_timeout = ''2s''', role_name, current_database());
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET idle_in_transaction_session_timeout = ''10s''', role_name, current_database());
    END LOOP;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
END
$$;
