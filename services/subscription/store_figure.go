package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// figureRow is what is counted of a subscription.
type figureRow struct {
	ID          uuid.UUID
	Version     int64
	UserID      uuid.UUID
	PlanCode    string
	Cycle       string
	State       string
	Currency    string
	YearMinor   int64
	LiveFrom    *time.Time
	LiveUntil   *time.Time
	PayingFrom  *time.Time
	PayingUntil *time.Time
	TrialAt     *time.Time
}

// Virtual time is nobody's revenue: test clocks are left out. A price that does
// not recur is not paid for by the month.
const selectFigures = `
SELECT s.id, s.version, s.user_id, s.plan_code, s.cycle, s.state, r.currency, y.minor AS year_minor,
       e.live_from, CASE WHEN s.state IN ('EXPIRED', 'CANCELLED') THEN e.last END AS live_until,
       CASE WHEN y.minor > 0 THEN e.active_from END AS paying_from,
       CASE WHEN y.minor > 0 AND s.state IN ('EXPIRED', 'CANCELLED', 'PAUSED') THEN e.last END AS paying_until, e.trial_at
  FROM subscription.subscription AS s
  JOIN subscription.price AS r ON r.id = s.price_id
 CROSS JOIN LATERAL (SELECT CASE s.cycle WHEN 'MONTHLY' THEN 12 WHEN 'QUARTERLY' THEN 4 WHEN 'YEARLY' THEN 1 ELSE 0 END * r.amount_minor AS minor) AS y
 CROSS JOIN LATERAL (
       SELECT min(v.occurred_at) FILTER (WHERE v.to_state IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'GRACE', 'PAUSED')) AS live_from,
              min(v.occurred_at) FILTER (WHERE v.to_state = 'ACTIVE') AS active_from,
              min(v.occurred_at) FILTER (WHERE v.to_state = 'TRIALING') AS trial_at,
              max(v.occurred_at) AS last
         FROM subscription.subscription_event AS v
        WHERE v.subscription_id = s.id) AS e
 WHERE s.test_clock_id IS NULL AND (@id::uuid IS NULL OR s.id = @id) AND s.id > @after
 ORDER BY s.id
 LIMIT @size`

// figures reads a page, or one.
func (s *Service) figures(ctx context.Context, q querier, id *uuid.UUID, after uuid.UUID, size int) ([]figureRow, error) {
	return many[figureRow](ctx, q, selectFigures, args{"id": id, "after": after, "size": size})
}

// search narrows an operator's list; empty fields match everything.
type search struct {
	UserID             *uuid.UUID
	State, Plan, Cycle string
}

const selectFound = subscriptionRows + `
 WHERE (@before::uuid IS NULL OR s.id < @before) AND (@user_id::uuid IS NULL OR s.user_id = @user_id)
   AND (@state = '' OR s.state = @state) AND (@plan = '' OR s.plan_code = @plan) AND (@cycle = '' OR s.cycle = @cycle)
 ORDER BY s.id DESC
 LIMIT @size`

// find reads a page of everybody's subscriptions, newest first.
func (s *Service) find(ctx context.Context, f search, before *uuid.UUID, size int) ([]subscription, error) {
	return many[subscription](ctx, s.db.Pool, selectFound, args{
		"before": before, "user_id": f.UserID, "state": f.State, "plan": f.Plan, "cycle": f.Cycle, "size": size,
	})
}
