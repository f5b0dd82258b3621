package payment

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
)

const selectPersonalData = `
SELECT jsonb_build_object(
    'payments', (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.id), '[]') FROM payment.payment AS p WHERE p.user_id = @id),
    'attempts', (SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.created_at), '[]')
                   FROM payment.attempt AS a JOIN payment.payment AS p ON p.id = a.payment_id WHERE p.user_id = @id),
    'journal', (SELECT coalesce(jsonb_agg(to_jsonb(j) || jsonb_build_object('account', o.account, 'amount_minor', o.amount_minor) ORDER BY j.posted_at, o.seq), '[]')
                  FROM payment.journal AS j JOIN payment.payment AS p ON p.id = j.payment_id JOIN payment.posting AS o ON o.journal_id = j.id
                 WHERE p.user_id = @id),
    'refunds', (SELECT coalesce(jsonb_agg(to_jsonb(r) - 'requested_by' - 'decided_by' - 'request_key' ORDER BY r.id), '[]')
                  FROM payment.refund AS r JOIN payment.payment AS p ON p.id = r.payment_id WHERE p.user_id = @id),
    'disputes', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]')
                   FROM payment.dispute AS d JOIN payment.payment AS p ON p.id = d.payment_id WHERE p.user_id = @id),
    'webhook_endpoints', (SELECT coalesce(jsonb_agg(to_jsonb(w) - 'secret' - 'previous_secret' ORDER BY w.id), '[]')
                            FROM payment.webhook_endpoint AS w WHERE w.created_by = @id),
    'mandates', (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.id), '[]') FROM payment.mandate AS m WHERE m.user_id = @id),
    'debits', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.created_at), '[]')
                 FROM payment.mandate_debit AS d JOIN payment.mandate AS m ON m.id = d.mandate_id WHERE m.user_id = @id),
    'payouts', (SELECT coalesce(jsonb_agg(to_jsonb(o) - 'requested_by' - 'decided_by' ORDER BY o.id), '[]') FROM payment.payout AS o WHERE o.beneficiary_id = @id)
)::text`

// personalData is everything held about a person, as one JSON object.
func (s *Service) personalData(ctx context.Context, userID uuid.UUID) (text []byte, err error) {
	err = s.db.Pool.QueryRow(ctx, selectPersonalData, pgx.NamedArgs{"id": userID}).Scan(&text)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("gather a person's data: %w", err))
	}
	return text, nil
}
