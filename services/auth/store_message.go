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
}

// Releases before River sent what is due by next_attempt_at; at infinity they
// leave a row alone, and so the two can run side by side.
const insertMessage = `
INSERT INTO auth.message (id, channel, template, locale, content, created_at, next_attempt_at)
VALUES (@id, @channel, @template, @locale, @content, @now, 'infinity')`

func (s *Service) insertMessage(ctx context.Context, tx pg.Tx, m queued, now time.Time) error {
	_, err := run(ctx, tx, "queue a message", insertMessage, args{
		"id": m.ID, "channel": m.Channel, "template": m.Template, "locale": m.Locale, "content": m.Content, "now": now,
	})
	return err
}

const selectMessage = `
SELECT id, channel, template, locale, content
  FROM auth.message
 WHERE id = @id AND content IS NOT NULL`

// message reads one that waits.
func (s *Service) message(ctx context.Context, id uuid.UUID) (queued, bool, error) {
	return one[queued](ctx, s.db.Pool, "read a message", selectMessage, args{"id": id})
}

const messageSent = `
UPDATE auth.message SET content = NULL, sent_at = @now, attempts = attempts + 1 WHERE id = @id`

// messageSent blanks the message: a code is nowhere to be found once mailed.
func (s *Service) messageSent(ctx context.Context, id uuid.UUID, now time.Time) error {
	_, err := run(ctx, s.db.Pool, "note a message sent", messageSent, args{"id": id, "now": now})
	return err
}

const messageFailed = `
UPDATE auth.message
   SET attempts = attempts + 1, content = CASE WHEN @given_up THEN NULL ELSE content END
 WHERE id = @id`

func (s *Service) messageFailed(ctx context.Context, id uuid.UUID, givenUp bool) error {
	_, err := run(ctx, s.db.Pool, "note a message unsent", messageFailed, args{"id": id, "given_up": givenUp})
	return err
}

type waitingMessages struct {
	Channel string
	N       int64
	Oldest  time.Time
}

const countMessages = `
SELECT channel, count(*) AS n, min(created_at) AS oldest
  FROM auth.message
 WHERE content IS NOT NULL
 GROUP BY channel`

func (s *Service) waitingMessages(ctx context.Context) ([]waitingMessages, error) {
	return all[waitingMessages](ctx, s.db.Pool, "count messages", countMessages, nil)
}
