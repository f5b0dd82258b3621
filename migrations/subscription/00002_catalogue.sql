-- +goose Up
-- What is sold on the first day (domain.md 3.4 and 3.5, its "=>" lines): a year costs ten
-- months, features follow the first generation, themed rooms come with Premium.
INSERT INTO subscription.plan (code, kind, name, description, tier, trial_days, featured, version) VALUES
    ('free', 'plan', 'Free', 'Find your footing: assessments, journal and ten messages a day to the companion.', 1, 0, false, 1),
    ('basic', 'plan', 'Basic', 'More room, data export and priority support.', 10, 14, false, 1),
    ('premium', 'plan', 'Premium', 'Themed rooms, unlimited companion, reports and a dashboard.', 50, 14, true, 1),
    ('enterprise', 'plan', 'Enterprise', 'Everything, for organizations.', 100, 30, false, 1),
    ('premium_monthly', 'product', 'Premium, month by month', 'Premium for a month.', 50, 0, false, 1),
    ('premium_yearly', 'product', 'Premium, year by year', 'Premium for a year.', 50, 0, false, 1),
    ('lifetime', 'product', 'Anytime Buddy, for life', 'Premium, paid once.', 50, 0, false, 1),
    ('track_single', 'product', 'Single track', 'One sound track to keep.', 1, 0, false, 1);

INSERT INTO subscription.plan_version (plan_code, version, published_at)
SELECT code, 1, '2026-01-01T00:00:00+05:30' FROM subscription.plan;

INSERT INTO subscription.plan_feature (plan_code, version, feature, kind)
SELECT p.code, 1, f.feature, 'boolean'
  FROM (VALUES
        ('api_access', 1),
        ('data_export', 10),
        ('priority_support', 10),
        ('webhook_support', 50),
        ('premium_dashboard', 50),
        ('advanced_reporting', 50),
        ('team_collaboration', 50),
        ('premium_themed_rooms', 50),
        ('sso_oauth', 100),
        ('phone_support', 100),
        ('24_7_support', 100),
        ('audit_logs', 100),
        ('ip_whitelisting', 100),
        ('custom_branding', 100),
        ('custom_domains', 100),
        ('unlimited_storage', 100),
        ('unlimited_users', 100),
        ('white_label', 100)
       ) AS f (feature, tier)
  JOIN subscription.plan AS p ON p.tier >= f.tier AND p.code <> 'track_single';

-- A null limit is unlimited.
INSERT INTO subscription.plan_feature (plan_code, version, feature, kind, limit_value, period)
SELECT p.code, 1, f.feature, f.kind, f.limit_value, f.period
  FROM (VALUES
        (1, 'api_calls', 'metered', 100, 'month'),
        (1, 'users', 'quantity', 1, 'none'),
        (1, 'storage_gb', 'quantity', 1, 'none'),
        (1, 'ai_messages', 'metered', 10, 'day'),
        (10, 'api_calls', 'metered', 10000, 'month'),
        (10, 'users', 'quantity', 1, 'none'),
        (10, 'storage_gb', 'quantity', 10, 'none'),
        (10, 'ai_messages', 'metered', NULL::bigint, 'day'),
        (50, 'api_calls', 'metered', 100000, 'month'),
        (50, 'users', 'quantity', 10, 'none'),
        (50, 'storage_gb', 'quantity', 100, 'none'),
        (50, 'ai_messages', 'metered', NULL::bigint, 'day'),
        (100, 'api_calls', 'metered', NULL::bigint, 'month'),
        (100, 'users', 'quantity', NULL::bigint, 'none'),
        (100, 'storage_gb', 'quantity', NULL::bigint, 'none'),
        (100, 'ai_messages', 'metered', NULL::bigint, 'day')
       ) AS f (tier, feature, kind, limit_value, period)
  JOIN subscription.plan AS p ON p.tier = f.tier AND p.code <> 'track_single';

-- Ids are fixed: the same on every stack, so that nothing that names one breaks.
INSERT INTO subscription.price (id, plan_code, version, cycle, currency, amount_minor, tax_mode, tax_category, sac_code) VALUES
    ('019b7000-0000-7000-8000-000000000001', 'free', 1, 'MONTHLY', 'INR', 0, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000002', 'free', 1, 'YEARLY', 'INR', 0, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000003', 'basic', 1, 'MONTHLY', 'INR', 49900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000004', 'basic', 1, 'YEARLY', 'INR', 499000, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000005', 'premium', 1, 'MONTHLY', 'INR', 149900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000006', 'premium', 1, 'YEARLY', 'INR', 1499000, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000007', 'enterprise', 1, 'MONTHLY', 'INR', 499900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000008', 'enterprise', 1, 'YEARLY', 'INR', 4999000, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-000000000009', 'premium_monthly', 1, 'MONTHLY', 'INR', 29900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-00000000000a', 'premium_yearly', 1, 'YEARLY', 'INR', 299900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-00000000000b', 'lifetime', 1, 'LIFETIME', 'INR', 999900, 'INCLUSIVE', 'standard_18', '999312'),
    ('019b7000-0000-7000-8000-00000000000c', 'track_single', 1, 'ONE_TIME', 'INR', 3000, 'INCLUSIVE', 'standard_18', '999312');

-- +goose Down
-- Nothing can stand on a catalogue that is gone; TRUNCATE also passes the triggers.
TRUNCATE subscription.plan CASCADE;
