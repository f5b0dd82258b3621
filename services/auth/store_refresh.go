package auth

import (
	"context"
	"time"

	"github.com/manas360/platform/pkg/outbox"
)

// Compare and set: of any number of callers with one token, one moves the
// counter. One round trip for the whole of a refresh: whoever moves the counter
// writes the row of outbox and reads what the new token says, at one instant. If
// something changes at that instant the token carries the old epoch and is stale
// at once. The tag is compared by its sum: how long that takes tells nothing.
const rotateSession = `
WITH was AS (
     SELECT x.id, x.last_seen_at
       FROM auth.session AS x JOIN auth.account AS a ON a.id = x.account_id
      WHERE x.id = @id AND x.account_id = @account_id AND a.state = 'ACTIVE'
), rotated AS (
     UPDATE auth.session AS x
        SET counter = counter + 1, rotated_at = @now, last_seen_at = @now,
            idle_until = least(expires_at, @now::timestamptz + make_interval(secs => idle_seconds))
       FROM was
      WHERE x.id = was.id AND x.counter = @counter AND x.revoked_at IS NULL AND x.idle_until > @now AND x.expires_at > @now
        AND sha256(sha256(x.salt || @key::bytea)) = sha256(@tag::bytea)
  RETURNING x.salt, x.amr, x.auth_time, x.idle_until, was.last_seen_at AS seen_before
), told AS (
     INSERT INTO auth.outbox (event_id, destination, type, key, payload, request_id, traceparent, occurred_at, next_attempt_at)
     SELECT @event_id, 'audit', @type, @event_key, @payload, @request_id, @traceparent, @occurred_at, @due
       FROM rotated
)
SELECT rotated.*, owner.*
  FROM rotated CROSS JOIN LATERAL (` + selectOwner + `) AS owner`

const selectOwner = accountColumns + `
 WHERE a.id = @account_id`

// renewed is what a token minted after a rotation says.
type renewed struct {
	account

	Salt       []byte
	AMR        []string
	AuthTime   time.Time
	IdleUntil  time.Time
	SeenBefore time.Time
}

// rotate moves a session's counter and writes what happened. False: the token is
// not the current one of a live session of an active account, and nothing was
// touched.
func (s *Service) rotate(ctx context.Context, t refreshToken, key []byte, what outbox.Row, now time.Time) (renewed, bool, error) {
	return one[renewed](ctx, s.db.Pool, "rotate a session", rotateSession, args{
		"id": t.Session, "account_id": t.Account, "counter": t.Counter, "key": key, "tag": t.Tag[:], "now": now,
		"event_id": what.ID, "type": what.Type, "event_key": what.Key, "payload": what.Payload,
		"request_id": what.RequestID, "traceparent": what.Traceparent, "occurred_at": what.OccurredAt, "due": what.Due,
	})
}
