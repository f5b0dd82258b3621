package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// usage is what an edge has counted of a feature since start.
type usage struct {
	UserID  uuid.UUID
	Feature string
	Start   time.Time
	Used    int64
}

// In one order, so that edges that tell of the same people at once do not wait
// for each other in a circle. A zero only asks.
const raiseUses = `
INSERT INTO subscription.usage_counter AS u (user_id, feature, period_start, used)
SELECT t.user_id, t.feature, t.period_start, max(t.used)
  FROM unnest(@users::uuid[], @features::text[], @starts::timestamptz[], @used::bigint[]) AS t (user_id, feature, period_start, used)
 WHERE t.used > 0
 GROUP BY 1, 2, 3
 ORDER BY 1, 2, 3
    ON CONFLICT (user_id, feature, period_start) DO UPDATE
   SET used = excluded.used
 WHERE u.used < excluded.used`

const selectRecorded = `
SELECT array_agg(COALESCE(u.used, 0) ORDER BY t.place)
  FROM unnest(@users::uuid[], @features::text[], @starts::timestamptz[]) WITH ORDINALITY AS t (user_id, feature, period_start, place)
  LEFT JOIN subscription.usage_counter AS u USING (user_id, feature, period_start)`

// raiseUses lifts counters to what is told, never lowers one, and gives what
// they are after, in the same order.
func (s *Service) raiseUses(ctx context.Context, list []usage) ([]int64, error) {
	n := len(list)
	users, features, starts, used := make([]uuid.UUID, n), make([]string, n), make([]time.Time, n), make([]int64, n)
	for i, u := range list {
		users[i], features[i], starts[i], used[i] = u.UserID, u.Feature, u.Start, u.Used
	}
	told := args{"users": users, "features": features, "starts": starts, "used": used}
	if _, err := exec(ctx, s.db.Pool, "raise counters", raiseUses, told); err != nil {
		return nil, err
	}
	return scalar[[]int64](ctx, s.db.Pool, selectRecorded, args{"users": users, "features": features, "starts": starts})
}
