package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
)

// kept is a callback as the administrator sees it.
type kept struct {
	ID              uuid.UUID
	Provider        string
	Event           string
	ProviderEventID string
	Topic           string
	Subject         string
	MerchantOrderID string
	State           string
	ClaimedState    string
	ClaimedMinor    *int64
	ClaimedCurrency string
	Attempts        int
	LastError       string
	ReceivedAt      time.Time
	ProcessedAt     *time.Time
	RequestID       string
}

const keptColumns = `
SELECT id, provider, event, provider_event_id, topic, subject, merchant_order_id, state, claimed_state, claimed_minor,
       CASE WHEN claimed_currency = '' THEN 'INR' ELSE claimed_currency END AS claimed_currency, attempts, last_error,
       received_at, processed_at, request_id
  FROM payment.webhook_event`

// keptQuery is a page of callbacks, newest first. What is empty is not asked.
type keptQuery struct {
	State, Provider string
	Before          *uuid.UUID
	Limit           int
}

const keptPage = `
   AND (@provider = '' OR provider = @provider) AND (@before::uuid IS NULL OR id < @before)
 ORDER BY id DESC
 LIMIT @limit`

// Most of them are processed: whoever looks for the others has an index.
const (
	selectKept       = keptColumns + ` WHERE (@state = '' OR state = @state)` + keptPage
	selectKeptFailed = keptColumns + ` WHERE state = @state AND state <> 'PROCESSED'` + keptPage
)

func (s *Service) keptEvents(ctx context.Context, q keptQuery) ([]kept, error) {
	sql := selectKept
	if q.State != "" && q.State != eventProcessed {
		sql = selectKeptFailed
	}
	return all[kept](ctx, s.db.Pool, sql, pgx.StrictNamedArgs{"state": q.State, "provider": q.Provider, "before": q.Before, "limit": q.Limit})
}

var errNoEvent = errors.New("no such event")

const retryKept = `
UPDATE payment.webhook_event
   SET state = 'RECEIVED', attempts = 0, next_attempt_at = @now, processed_at = NULL
 WHERE id = @id AND state IN ('ORPHAN', 'FAILED', 'INTEGRITY_FAILED')`

const selectKeptOne = keptColumns + `
 WHERE id = @id`

// retryKept has a callback that did not end well understood again. Money stays
// safe: a callback is a reason to ask, whoever repeats it.
func (s *Service) retryKept(ctx context.Context, eventID, by uuid.UUID, reason string) (k kept, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		now := s.now()
		before, err := one[kept](ctx, tx, selectKeptOne+` FOR UPDATE`, pgx.StrictNamedArgs{"id": eventID})
		if fail.Is(err, fail.NotFound) {
			return errNoEvent
		}
		if err != nil {
			return err
		}
		n, err := exec(ctx, tx, retryKept, pgx.StrictNamedArgs{"id": eventID, "now": now})
		if err != nil {
			return err
		}
		if n == 1 {
			if err := s.outbox.Append(ctx, tx, auditRetried(ctx, before, by, reason, now)); err != nil {
				return err //nolint:wrapcheck // its own words
			}
		}
		k, err = one[kept](ctx, tx, selectKeptOne, pgx.StrictNamedArgs{"id": eventID})
		return err
	})
	if err != nil {
		return kept{}, fmt.Errorf("retry callback: %w", err)
	}
	s.outbox.Wake()
	s.wake()
	return k, nil
}
