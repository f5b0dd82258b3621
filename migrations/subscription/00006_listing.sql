-- +goose Up
-- An operator's list by state or plan, newest first, without reading the rest.
CREATE INDEX subscription_state ON subscription.subscription (state, id DESC);
CREATE INDEX subscription_plan_newest ON subscription.subscription (plan_code, id DESC);

-- +goose Down
DROP INDEX subscription.subscription_plan_newest;
DROP INDEX subscription.subscription_state;
