package user

import (
	"context"

	"github.com/google/uuid"
)

const insertConsent = `
INSERT INTO users.consent (id, user_id, document, version, granted, locale, source, ip_prefix, occurred_at)
VALUES (@id, @user_id, @document, @version, @granted, @locale, @source, @ip_prefix, @occurred_at)`

func (s *Service) insertConsent(ctx context.Context, q querier, c consent) error {
	_, err := run(ctx, q, "insert a consent", insertConsent, args{
		"id": c.ID, "user_id": c.UserID, "document": c.Document, "version": c.Version, "granted": c.Granted,
		"locale": c.Locale, "source": c.Source, "ip_prefix": c.IPPrefix, "occurred_at": c.OccurredAt,
	})
	return err
}

const selectConsents = `
SELECT id, user_id, document, version, granted, locale, source, ip_prefix, occurred_at
  FROM users.consent
 WHERE user_id = @user_id AND (occurred_at, id) < (@before_time, @before_id)
 ORDER BY occurred_at DESC, id DESC
 LIMIT @limit`

const countConsents = `
SELECT count(*) FROM users.consent WHERE user_id = @user_id`

// consents reads a page, newest first, and counts them all.
func (s *Service) consents(ctx context.Context, userID uuid.UUID, before cursor, limit int) ([]consent, int64, error) {
	n, err := number(ctx, s.db.Pool, "count consents", countConsents, args{"user_id": userID})
	if err != nil {
		return nil, 0, err
	}
	rows, err := all[consent](ctx, s.db.Pool, "list consents", selectConsents, args{
		"user_id": userID, "before_time": before.Time, "before_id": before.ID, "limit": limit,
	})
	return rows, n, err
}

const selectCurrentConsents = `
SELECT DISTINCT ON (document) id, user_id, document, version, granted, locale, source, ip_prefix, occurred_at
  FROM users.consent
 WHERE user_id = @user_id
 ORDER BY document, occurred_at DESC, id DESC`

// currentConsents reads the newest of each document.
func (s *Service) currentConsents(ctx context.Context, userID uuid.UUID) ([]consent, error) {
	return all[consent](ctx, s.db.Pool, "read current consents", selectCurrentConsents, args{"user_id": userID})
}
