package payment

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/trail"
)

const endpointColumns = `
SELECT id, organization_id, payer_id, url, description, events, enabled, disabled_reason, secret, previous_secret, previous_until,
       failing_since, created_at
  FROM payment.webhook_endpoint`

const selectEndpoint = endpointColumns + `
 WHERE id = @id`

func (s *Service) endpointByID(ctx context.Context, endpointID uuid.UUID) (endpoint, error) {
	return one[endpoint](ctx, s.db.Pool, selectEndpoint, pgx.StrictNamedArgs{"id": endpointID})
}

const selectEndpointOf = endpointColumns + `
 WHERE id = @id AND organization_id = @organization_id`

func (s *Service) endpointOf(ctx context.Context, q pg.Querier, organizationID, endpointID uuid.UUID) (endpoint, error) {
	return one[endpoint](ctx, q, selectEndpointOf, pgx.StrictNamedArgs{"id": endpointID, "organization_id": organizationID})
}

const selectEndpoints = endpointColumns + `
 WHERE organization_id = @organization_id AND id < @before
 ORDER BY id DESC
 LIMIT @limit`

func (s *Service) endpoints(ctx context.Context, organizationID, before uuid.UUID, limit int) ([]endpoint, error) {
	return all[endpoint](ctx, s.db.Pool, selectEndpoints, pgx.StrictNamedArgs{"organization_id": organizationID, "before": before, "limit": limit})
}

// The advisory lock makes the count hold until the commit.
const lockOrganization = `SELECT pg_advisory_xact_lock(hashtextextended('payment.webhook_endpoint ' || @organization_id::uuid, 0))`

const countEndpoints = `SELECT count(*) FROM payment.webhook_endpoint WHERE organization_id = @organization_id`

const insertEndpoint = `
INSERT INTO payment.webhook_endpoint (id, organization_id, payer_id, url, description, events, secret, created_by, created_at, updated_at)
VALUES (@id, @organization_id, @payer_id, @url, @description, @events, @secret, @by, @now, @now)`

// addEndpoint writes a new endpoint. Fails with CONFLICT beyond mostEndpoints.
func (s *Service) addEndpoint(ctx context.Context, e endpoint, by uuid.UUID) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockOrganization, pgx.StrictNamedArgs{"organization_id": e.OrganizationID}); err != nil {
			return err //nolint:wrapcheck // InTx says what it was
		}
		var n int
		if err := tx.QueryRow(ctx, countEndpoints, pgx.StrictNamedArgs{"organization_id": e.OrganizationID}).Scan(&n); err != nil {
			return err //nolint:wrapcheck // InTx says what it was
		}
		if n >= mostEndpoints {
			return fail.New(fail.Conflict, "an organization has at most %d endpoints", mostEndpoints)
		}
		if _, err := exec(ctx, tx, insertEndpoint, pgx.StrictNamedArgs{
			"id": e.ID, "organization_id": e.OrganizationID, "payer_id": e.PayerID, "url": e.URL, "description": e.Description,
			"events": e.Events, "secret": e.Secret, "by": by, "now": e.CreatedAt,
		}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditEndpoint(ctx, trail.WebhookEndpointCreated, e, by, "", e.CreatedAt)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("add endpoint: %w", err)
	}
	s.outbox.Wake()
	return nil
}

const updateEndpoint = `
UPDATE payment.webhook_endpoint
   SET payer_id = @payer_id, url = @url, description = @description, events = @events, enabled = @enabled, disabled_reason = @disabled_reason,
       secret = @secret, previous_secret = @previous_secret, previous_until = @previous_until, failing_since = @failing_since, updated_at = @now
 WHERE id = @id`

// changeEndpoint changes one under its row's lock, and audits it.
func (s *Service) changeEndpoint(ctx context.Context, organizationID, endpointID, by uuid.UUID, action trail.Action, change func(*endpoint)) (e endpoint, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		if e, err = one[endpoint](ctx, tx, selectEndpointOf+` FOR UPDATE`, pgx.StrictNamedArgs{"id": endpointID, "organization_id": organizationID}); err != nil {
			return err
		}
		change(&e)
		if err := writeEndpoint(ctx, tx, e, now); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditEndpoint(ctx, action, e, by, "", now)) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return endpoint{}, fmt.Errorf("change endpoint: %w", err)
	}
	s.outbox.Wake()
	return e, nil
}

func writeEndpoint(ctx context.Context, tx pgx.Tx, e endpoint, now time.Time) error {
	_, err := exec(ctx, tx, updateEndpoint, pgx.StrictNamedArgs{
		"id": e.ID, "payer_id": e.PayerID, "url": e.URL, "description": e.Description, "events": e.Events, "enabled": e.Enabled,
		"disabled_reason": e.DisabledReason, "secret": e.Secret, "previous_secret": e.PreviousSecret, "previous_until": e.PreviousUntil,
		"failing_since": e.FailingSince, "now": now,
	})
	return err
}

const deleteEndpoint = `DELETE FROM payment.webhook_endpoint WHERE id = @id`

func (s *Service) removeEndpoint(ctx context.Context, organizationID, endpointID, by uuid.UUID) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		e, err := s.endpointOf(ctx, tx, organizationID, endpointID)
		if err != nil {
			return err
		}
		if _, err := exec(ctx, tx, deleteEndpoint, pgx.StrictNamedArgs{"id": e.ID}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditEndpoint(ctx, trail.WebhookEndpointDeleted, e, by, "", s.now())) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return fmt.Errorf("remove endpoint: %w", err)
	}
	s.outbox.Wake()
	return nil
}

const selectListeners = `
SELECT id FROM payment.webhook_endpoint
 WHERE payer_id = @payer_id AND enabled AND @event = ANY (events)`

const insertDelivery = `
INSERT INTO payment.webhook_delivery (id, endpoint_id, message_id, event, body, state, next_attempt_at, created_at)
VALUES (@id, @endpoint_id, @message_id, @event, @body, 'PENDING', @now, @now)
    ON CONFLICT (endpoint_id, message_id) DO NOTHING`

type listener struct{ ID uuid.UUID }

// tellOrganizations writes what the payer's organizations are to be told, in the transaction
// of what happened. p is as it is committed.
func (s *Service) tellOrganizations(ctx context.Context, tx pgx.Tx, p payment, event string, now time.Time) error {
	if event == "" {
		return nil
	}
	to, err := all[listener](ctx, tx, selectListeners, pgx.StrictNamedArgs{"payer_id": p.UserID, "event": event})
	if err != nil || len(to) == 0 {
		return err
	}
	body, err := message(event, p, now)
	if err != nil {
		return err
	}
	for _, l := range to {
		if _, err := exec(ctx, tx, insertDelivery, pgx.StrictNamedArgs{
			"id": s.ids.New(), "endpoint_id": l.ID, "message_id": messageID(p, event), "event": event, "body": body, "now": now,
		}); err != nil {
			return err
		}
	}
	return nil
}

// addTest has a test message told.
func (s *Service) addTest(ctx context.Context, e endpoint) (delivery, error) {
	now, deliveryID := s.now(), s.ids.New()
	body := fmt.Appendf(nil, `{"type":%q,"timestamp":%q,"data":{}}`, tellTest, now.UTC().Format(time.RFC3339Nano))
	if _, err := exec(ctx, s.db.Pool, insertDelivery, pgx.StrictNamedArgs{
		"id": deliveryID, "endpoint_id": e.ID, "message_id": "msg_" + deliveryID.String(), "event": tellTest, "body": body, "now": now,
	}); err != nil {
		return delivery{}, err
	}
	return s.deliveryOf(ctx, e.ID, deliveryID)
}

const deliveryColumns = `
SELECT id, endpoint_id, message_id, event, body, state, attempts, next_attempt_at, last_status, last_error, latency_ms, created_at, delivered_at
  FROM payment.webhook_delivery`

const selectDelivery = deliveryColumns + `
 WHERE id = @id AND endpoint_id = @endpoint_id`

func (s *Service) deliveryOf(ctx context.Context, endpointID, deliveryID uuid.UUID) (delivery, error) {
	return one[delivery](ctx, s.db.Pool, selectDelivery, pgx.StrictNamedArgs{"id": deliveryID, "endpoint_id": endpointID})
}

const selectDeliveries = deliveryColumns + `
 WHERE endpoint_id = @endpoint_id AND id < @before
 ORDER BY id DESC
 LIMIT @limit`

func (s *Service) deliveries(ctx context.Context, endpointID, before uuid.UUID, limit int) ([]delivery, error) {
	return all[delivery](ctx, s.db.Pool, selectDeliveries, pgx.StrictNamedArgs{"endpoint_id": endpointID, "before": before, "limit": limit})
}

const replayDelivery = `
UPDATE payment.webhook_delivery
   SET state = 'PENDING', attempts = 0, next_attempt_at = @now, delivered_at = NULL
 WHERE id = @id AND endpoint_id = @endpoint_id`

// replay has a delivery sent again, under its own message id.
func (s *Service) replay(ctx context.Context, endpointID, deliveryID uuid.UUID) (delivery, error) {
	if _, err := exec(ctx, s.db.Pool, replayDelivery, pgx.StrictNamedArgs{"id": deliveryID, "endpoint_id": endpointID, "now": s.now()}); err != nil {
		return delivery{}, err
	}
	return s.deliveryOf(ctx, endpointID, deliveryID)
}

// Two of one endpoint at once, lest one that is slow takes all slots.
const leaseDeliveries = `
UPDATE payment.webhook_delivery
   SET next_attempt_at = @lease, attempts = attempts + 1
 WHERE id IN (SELECT d.id
                FROM payment.webhook_delivery d
               WHERE d.next_attempt_at <= @now
                 AND d.id IN (SELECT x.id
                                FROM (SELECT id, row_number() OVER (PARTITION BY endpoint_id ORDER BY next_attempt_at, id) AS no
                                        FROM payment.webhook_delivery
                                       WHERE next_attempt_at <= @now) AS x
                               WHERE x.no <= 2)
               ORDER BY d.next_attempt_at, d.id
               LIMIT @limit
                 FOR UPDATE SKIP LOCKED)
RETURNING id, endpoint_id, message_id, event, body, state, attempts, next_attempt_at, last_status, last_error, latency_ms, created_at, delivered_at`

func (s *Service) leaseDeliveries(ctx context.Context, limit int) ([]delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	now := s.now()
	return all[delivery](ctx, s.db.Pool, leaseDeliveries, pgx.StrictNamedArgs{"lease": now.Add(deliveryLease), "now": now, "limit": limit})
}

const endDelivery = `
UPDATE payment.webhook_delivery
   SET state = @state, next_attempt_at = @next, last_status = @status, last_error = @last_error, latency_ms = @latency_ms, delivered_at = @delivered_at
 WHERE id = @id AND state = 'PENDING'`

// keepDelivery writes how a try went. An endpoint that takes nothing for the
// whole time of a message, or says that it is gone, is switched off.
func (s *Service) keepDelivery(ctx context.Context, e endpoint, d delivery, status int, took time.Duration, cause error) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		state, lastError := deliveryDelivered, ""
		var next, delivered *time.Time
		if cause == nil {
			delivered = &now
		} else {
			lastError = clip(cause.Error(), 500)
			state = deliveryFailed
			if pause, again := nextTry(d, d.Attempts); again && status != http.StatusGone {
				at := now.Add(pause)
				state, next = deliveryPending, &at
			}
		}
		if _, err := exec(ctx, tx, endDelivery, pgx.StrictNamedArgs{
			"id": d.ID, "state": state, "next": next, "status": status, "last_error": lastError, "latency_ms": int(took.Milliseconds()), "delivered_at": delivered,
		}); err != nil {
			return err
		}
		current, err := one[endpoint](ctx, tx, selectEndpoint+` FOR UPDATE`, pgx.StrictNamedArgs{"id": e.ID})
		if err != nil {
			return err
		}
		return s.judge(ctx, tx, current, state, status, now)
	})
	if err != nil {
		return fmt.Errorf("keep delivery %s: %w", d.ID, err)
	}
	return nil
}

// judge notes since when an endpoint takes nothing, and switches it off when a
// message was tried to its end in vain.
func (s *Service) judge(ctx context.Context, tx pgx.Tx, e endpoint, state string, status int, now time.Time) error {
	var events []outbox.Event
	switch {
	case state == deliveryDelivered && e.FailingSince == nil:
		return nil
	case state == deliveryDelivered:
		e.FailingSince = nil
	case state == deliveryFailed && e.Enabled:
		e.Enabled, e.DisabledReason = false, "it took nothing for three days"
		if status == http.StatusGone {
			e.DisabledReason = "it said that it is gone"
		}
		events = append(events, auditEndpoint(ctx, trail.WebhookEndpointDisabled, e, uuid.Nil, e.DisabledReason, now))
	case e.FailingSince == nil:
		e.FailingSince = &now
	default:
		return nil
	}
	if err := writeEndpoint(ctx, tx, e, now); err != nil {
		return err
	}
	return s.outbox.Append(ctx, tx, events...) //nolint:wrapcheck // its own words
}
