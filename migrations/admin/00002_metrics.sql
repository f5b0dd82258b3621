-- +goose Up
-- What is counted, one row for each thing, as the service that owns it told
-- last. A version that is not above the known one changes nothing, so it does
-- not matter how often, or in which order, news arrive.
CREATE TABLE admin.account_figure (
    id         uuid PRIMARY KEY,
    version    bigint NOT NULL,
    created_on date   NOT NULL,
    deleted_on date
);

CREATE TABLE admin.active_figure (
    day date NOT NULL,
    id  uuid NOT NULL, -- of the account
    PRIMARY KEY (day, id)
);

CREATE TABLE admin.payment_figure (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL,
    outcome      text   NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'pending')),
    provider     text   NOT NULL,
    method       text   NOT NULL,
    currency     text   NOT NULL,
    amount_minor bigint NOT NULL,
    created_on   date   NOT NULL
);

CREATE TABLE admin.journal_figure (
    id           uuid PRIMARY KEY,
    day          date   NOT NULL,
    currency     text   NOT NULL,
    gross_minor  bigint NOT NULL,
    refund_minor bigint NOT NULL,
    tax_minor    bigint NOT NULL,
    due_minor    bigint NOT NULL
);

CREATE TABLE admin.subscription_figure (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL,
    user_id      uuid   NOT NULL,
    plan_code    text   NOT NULL,
    cycle        text   NOT NULL,
    currency     text   NOT NULL,
    year_minor   bigint NOT NULL,
    live_from    date,
    live_until   date,
    paying_from  date,
    paying_until date,
    trial_on     date,
    trialing     boolean NOT NULL
);
-- Who paid when a range began, and whether they still do; whose trial it was.
CREATE INDEX subscription_figure_paying ON admin.subscription_figure (user_id, paying_from) WHERE paying_from IS NOT NULL;
CREATE INDEX subscription_figure_trial ON admin.subscription_figure (trial_on) WHERE trial_on IS NOT NULL;

-- What each of those rows counts for. The one place that says so: rollups are
-- kept by the difference it makes, and built anew from its sum.
CREATE VIEW admin.cell AS
SELECT 'account' AS source, id, 'created' AS metric, created_on AS day, '' AS a, '' AS b, '' AS currency, 1 AS n, 0::bigint AS minor FROM admin.account_figure
UNION ALL
SELECT 'account', id, 'deleted', deleted_on, '', '', '', 1, 0 FROM admin.account_figure WHERE deleted_on IS NOT NULL
UNION ALL
SELECT 'active', id, 'active', day, '', '', '', 1, 0 FROM admin.active_figure
UNION ALL
SELECT 'payment', id, outcome, created_on, provider, method, currency, 1, amount_minor FROM admin.payment_figure
UNION ALL
SELECT 'journal', id, 'gross', day, '', '', currency, 1, gross_minor FROM admin.journal_figure WHERE gross_minor <> 0
UNION ALL
SELECT 'journal', id, 'refund', day, '', '', currency, 1, refund_minor FROM admin.journal_figure WHERE refund_minor <> 0
UNION ALL
SELECT 'journal', id, 'tax', day, '', '', currency, 1, tax_minor FROM admin.journal_figure WHERE tax_minor <> 0
UNION ALL
SELECT 'journal', id, 'due', day, '', '', currency, 1, due_minor FROM admin.journal_figure WHERE due_minor <> 0
UNION ALL
SELECT 'subscription', id, 'live_from', live_from, plan_code, '', '', 1, 0 FROM admin.subscription_figure WHERE live_from IS NOT NULL
UNION ALL
SELECT 'subscription', id, 'live_until', live_until, plan_code, '', '', 1, 0 FROM admin.subscription_figure WHERE live_from IS NOT NULL AND live_until IS NOT NULL
UNION ALL
SELECT 'subscription', id, 'paying_from', paying_from, plan_code, cycle, currency, 1, year_minor FROM admin.subscription_figure WHERE paying_from IS NOT NULL
UNION ALL
SELECT 'subscription', id, 'paying_until', paying_until, plan_code, cycle, currency, 1, year_minor FROM admin.subscription_figure WHERE paying_from IS NOT NULL AND paying_until IS NOT NULL;

CREATE TABLE admin.rollup (
    metric   text   NOT NULL,
    day      date   NOT NULL,
    a        text   NOT NULL, -- plan or provider
    b        text   NOT NULL, -- cycle or method
    currency text   NOT NULL,
    n        bigint NOT NULL,
    minor    bigint NOT NULL,
    PRIMARY KEY (metric, day, a, b, currency)
);

-- Counting anew: numbers are told while nothing is wanted that is not done.
CREATE TABLE admin.rebuild (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    wanted   bigint NOT NULL,
    done     bigint NOT NULL,
    done_at  timestamptz
);
INSERT INTO admin.rebuild (wanted, done) VALUES (1, 0); -- what was there before admin counted

-- +goose Down
DROP TABLE admin.rebuild;
DROP TABLE admin.rollup;
DROP VIEW admin.cell;
DROP TABLE admin.subscription_figure;
DROP TABLE admin.journal_figure;
DROP TABLE admin.payment_figure;
DROP TABLE admin.active_figure;
DROP TABLE admin.account_figure;
