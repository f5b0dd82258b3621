package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// queued is a message waiting for the transport.
type queued struct {
	ID       uuid.UUID
	Channel  string
	Template string
	Locale   string
	Content  []byte
	Attempts int
}

const insertMessage = `
INSERT INTO auth.message (id, channel, template, locale, content, created_at, next_attempt_at)
VALUES (@id, @channel, @template, @locale, @content, @now, @now)`

func (s *Service) insertMessage(ctx context.Context, tx pg.Tx, m queued, now time.Time) error {
	_, err := run(ctx, tx, "queue a message", insertMessage, args{
		"id": m.ID, "channel": m.Channel, "template": m.Template, "locale": m.Locale, "content": m.Content, "now": now,
	})
	return err
}

const takeMessage = `
SELECT id, channel, template, locale, content, attempts
  FROM auth.message
 WHERE content IS NOT NULL AND next_attempt_at <= @now
 ORDER BY next_attempt_at, id
 LIMIT 1
   FOR UPDATE SKIP LOCKED`

func (s *Service) takeMessage(ctx context.Context, tx pg.Tx, now time.Time) (queued, bool, error) {
	return one[queued](ctx, tx, "take a message", takeMessage, args{"now": now})
}

const messageSent = `
UPDATE auth.message SET content = NULL, sent_at = @now, attempts = attempts + 1 WHERE id = @id`

// messageSent blanks the message: a code is nowhere to be found once mailed.
func (s *Service) messageSent(ctx context.Context, tx pg.Tx, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, tx, "note a message sent", messageSent, args{"id": id, "now": now})
	return err
}

const messageFailed = `
UPDATE auth.message
   SET attempts = attempts + 1, next_attempt_at = @next, content = CASE WHEN @dead THEN NULL ELSE content END
 WHERE id = @id`

func (s *Service) messageFailed(ctx context.Context, tx pg.Tx, id uuid.UUID, next time.Time, dead bool) error {
	_, err := run(ctx, tx, "note a message unsent", messageFailed, args{"id": id, "next": next, "dead": dead})
	return err
}
