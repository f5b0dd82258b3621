package payment

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// orderNamed is the order that e speaks of. The provider's name goes before
// ours: ours may have passed through a browser. A dispute names the payment
// alone, which an earlier callback named beside the order. An order is only its
// own provider's; the sandbox dialect may speak of all.
const orderNamed = `(
SELECT a.merchant_order_id
  FROM (SELECT payment_id, merchant_order_id, 1 AS rank FROM payment.attempt
         WHERE provider_order_id = ANY(e.provider_refs) AND provider_order_id <> ''
        UNION ALL
        SELECT payment_id, merchant_order_id, 2 FROM payment.attempt WHERE merchant_order_id = e.merchant_order_id
        UNION ALL
        SELECT b.payment_id, b.merchant_order_id, 3
          FROM payment.webhook_event v JOIN payment.attempt b ON b.merchant_order_id = v.merchant_order_id
         WHERE e.topic IN ('refund', 'dispute') AND v.topic = 'order' AND v.provider = e.provider AND v.provider_refs && e.provider_refs) a
  JOIN payment.payment p ON p.id = a.payment_id
 WHERE p.provider = e.provider OR e.provider = 'sandbox'
 ORDER BY a.rank
 LIMIT 1)`

// An orphan whose order has come is received now. Those of other topics are
// given to their handlers again.
const lookAtOrphans = `
WITH due AS (
    SELECT id, provider, topic, merchant_order_id, provider_refs
      FROM payment.webhook_event
     WHERE state = 'ORPHAN' AND look_at <= @now
     ORDER BY look_at
     LIMIT @limit
       FOR UPDATE SKIP LOCKED)
UPDATE payment.webhook_event w
   SET looks = w.looks + 1,
       merchant_order_id = coalesce(o.merchant_order_id, w.merchant_order_id),
       state = CASE WHEN w.topic <> 'order' OR o.merchant_order_id IS NOT NULL THEN 'RECEIVED' ELSE 'ORPHAN' END,
       attempts = 0, next_attempt_at = @now, processed_at = NULL,
       look_at = CASE WHEN w.received_at > @since THEN (@pauses::timestamptz[])[least(w.looks, @longest) + 1] END
  FROM due e
  LEFT JOIN LATERAL ` + orderNamed + ` o ON true
 WHERE w.id = e.id
RETURNING w.state`

// lookAtOrphans gives the number of orphans looked at, and of those that are
// none any more.
func (s *Service) lookAtOrphans(ctx context.Context) (found, looked int, err error) {
	now := s.now()
	pauses := make([]time.Time, 0, looksApart)
	for looks := range looksApart {
		pauses = append(pauses, now.Add(lookAgainAfter(looks)))
	}
	states, err := all[struct{ State string }](ctx, s.db.Pool, lookAtOrphans, pgx.StrictNamedArgs{
		"now": now, "limit": looksAtOnce, "since": now.Add(-looksEnd), "pauses": pauses, "longest": looksApart - 1,
	})
	for _, one := range states {
		if one.State == eventReceived {
			found++
		}
	}
	return found, len(states), err
}

const orphanEvent = `
UPDATE payment.webhook_event
   SET state = 'ORPHAN', last_error = @last_error,
       look_at = CASE WHEN received_at > @since THEN coalesce(look_at, @look_at) END
 WHERE id = @id AND state = 'RECEIVED'`

// orphan keeps a callback about a thing that is not here, or not yet; it comes
// back, later each time.
func (s *Service) orphan(ctx context.Context, ev webhookEvent, why string) error {
	now := s.now()
	_, err := exec(ctx, s.db.Pool, orphanEvent, pgx.StrictNamedArgs{
		"id": ev.ID, "last_error": why, "look_at": now.Add(firstLook), "since": now.Add(-looksEnd),
	})
	return err
}

// A mandate is paused, resumed and paused again, and PhonePe says so in the same
// words; its callbacks have no id. So a claim heard again after it was settled is
// a reason to ask again. What only moves forward needs no second asking.
const hearAgain = `
UPDATE payment.webhook_event
   SET state = 'RECEIVED', attempts = 0, next_attempt_at = @now
 WHERE provider = @provider AND event_key = @event_key AND topic = 'mandate' AND state = 'PROCESSED' AND processed_at < @before`

// heardAgain takes a repeated claim.
func (s *Service) heardAgain(ctx context.Context, provider string, c callback) error {
	if c.Topic != topicMandate {
		return nil
	}
	now := s.now()
	n, err := exec(ctx, s.db.Pool, hearAgain, pgx.StrictNamedArgs{
		"provider": provider, "event_key": c.Key[:], "now": now, "before": now.Add(-repeatWithin),
	})
	if n > 0 {
		s.wake()
	}
	return err
}
