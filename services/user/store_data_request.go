package user

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

const requestColumns = `id, user_id, kind, state, created_at, expires_at, due_at, warned_at, finished_at, attempts, done`

const insertRequest = `
INSERT INTO users.data_request (id, user_id, kind, state, created_at, due_at, next_try_at)
VALUES (@id, @user_id, @kind, @state, @now, @due_at, @next)
    ON CONFLICT (user_id, kind) WHERE state IN ('PENDING', 'SCHEDULED') DO NOTHING`

const selectOpenRequest = `
SELECT ` + requestColumns + `
  FROM users.data_request
 WHERE user_id = @user_id AND kind = @kind AND state IN ('PENDING', 'SCHEDULED')`

// openRequest writes a request with its event; one that is open is answered
// instead.
func (s *Service) openRequest(ctx context.Context, c *token.Caller, r dataRequest, next time.Time) (dataRequest, error) {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, insertRequest, pgx.NamedArgs{
			"id": r.ID, "user_id": r.UserID, "kind": r.Kind, "state": r.State, "now": r.CreatedAt, "due_at": r.DueAt, "next": next,
		})
		if err != nil {
			return pg.Err(fmt.Errorf("open a data request: %w", err))
		}
		if tag.RowsAffected() == 0 {
			r, err = s.oneRequest(ctx, tx, selectOpenRequest, pgx.NamedArgs{"user_id": r.UserID, "kind": r.Kind})
			return err
		}
		return s.outbox.Append(ctx, tx, requestOpened(c, r, s.now())...)
	})
	if err != nil {
		return dataRequest{}, err
	}
	s.outbox.Wake()
	s.ringData()
	return r, nil
}

func (s *Service) oneRequest(ctx context.Context, q querier, sql string, args pgx.NamedArgs) (dataRequest, error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return dataRequest{}, pg.Err(fmt.Errorf("query a data request: %w", err))
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[dataRequest])
	if errors.Is(err, pgx.ErrNoRows) {
		return dataRequest{}, fail.New(fail.NotFound, "there is no such request")
	}
	if err != nil {
		return dataRequest{}, pg.Err(fmt.Errorf("read a data request: %w", err))
	}
	return r, nil
}

const selectRequest = `
SELECT ` + requestColumns + `
  FROM users.data_request
 WHERE id = @id AND user_id = @user_id`

func (s *Service) requestOf(ctx context.Context, person, id uuid.UUID) (dataRequest, error) {
	return s.oneRequest(ctx, s.db.Pool, selectRequest, pgx.NamedArgs{"id": id, "user_id": person})
}

const selectRequests = `
SELECT ` + requestColumns + `
  FROM users.data_request
 WHERE user_id = @user_id AND (created_at, id) < (@before_time, @before_id)
 ORDER BY created_at DESC, id DESC
 LIMIT @limit`

const countRequests = `
SELECT count(*) FROM users.data_request WHERE user_id = @user_id`

func (s *Service) requestsOf(ctx context.Context, person uuid.UUID, before time.Time, beforeID uuid.UUID, limit int) (list []dataRequest, total int64, err error) {
	if err := s.db.Pool.QueryRow(ctx, countRequests, pgx.NamedArgs{"user_id": person}).Scan(&total); err != nil {
		return nil, 0, pg.Err(fmt.Errorf("count data requests: %w", err))
	}
	rows, err := s.db.Pool.Query(ctx, selectRequests, pgx.NamedArgs{"user_id": person, "before_time": before, "before_id": beforeID, "limit": limit})
	if err != nil {
		return nil, 0, pg.Err(fmt.Errorf("list data requests: %w", err))
	}
	if list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[dataRequest]); err != nil {
		return nil, 0, pg.Err(fmt.Errorf("read data requests: %w", err))
	}
	return list, total, nil
}

// Taking moves the next try: a process that dies leaves the request to another.
const takeRequest = `
UPDATE users.data_request
   SET attempts = attempts + 1, next_try_at = @now::timestamptz + least(make_interval(secs => power(2, least(attempts, 12))), @longest::interval)
 WHERE id = (SELECT id FROM users.data_request
              WHERE state IN ('PENDING', 'SCHEDULED') AND next_try_at <= @now
              ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING ` + requestColumns

func (s *Service) takeRequest(ctx context.Context, now time.Time) (dataRequest, bool, error) {
	r, err := s.oneRequest(ctx, s.db.Pool, takeRequest, pgx.NamedArgs{"now": now, "longest": dataRetryMax})
	if fail.Is(err, fail.NotFound) {
		return r, false, nil
	}
	return r, err == nil, err
}

const insertPart = `
INSERT INTO users.data_part (request_id, service, content) VALUES (@id, @service, @content)
    ON CONFLICT (request_id, service) DO UPDATE SET content = @content`

const markDone = `
UPDATE users.data_request SET done = array_append(done, @service) WHERE id = @id AND NOT @service = ANY (done)`

func (s *Service) storePart(ctx context.Context, id uuid.UUID, service string, content []byte) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insertPart, pgx.NamedArgs{"id": id, "service": service, "content": content}); err != nil {
			return pg.Err(fmt.Errorf("keep a part: %w", err))
		}
		if _, err := tx.Exec(ctx, markDone, pgx.NamedArgs{"id": id, "service": service}); err != nil {
			return pg.Err(fmt.Errorf("note a part: %w", err))
		}
		return nil
	})
}

func (s *Service) noteDone(ctx context.Context, id uuid.UUID, service string) error {
	_, err := s.db.Pool.Exec(ctx, markDone, pgx.NamedArgs{"id": id, "service": service})
	return pg.Err(err)
}

const selectParts = `
SELECT service, content FROM users.data_part WHERE request_id = @id`

func (s *Service) parts(ctx context.Context, id uuid.UUID) (map[string][]byte, error) {
	rows, err := s.db.Pool.Query(ctx, selectParts, pgx.NamedArgs{"id": id})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("list parts: %w", err))
	}
	type part struct {
		Service string
		Content []byte
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[part])
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read parts: %w", err))
	}
	out := map[string][]byte{}
	for _, p := range list {
		out[p.Service] = p.Content
	}
	return out, nil
}

// The first key to be written is the person's; whoever comes second uses it.
const insertPersonKey = `
INSERT INTO users.person_key AS k (user_id, key, created_at) VALUES (@user_id, @key, @now)
    ON CONFLICT (user_id) DO UPDATE SET key = k.key
RETURNING key`

func (s *Service) personKey(ctx context.Context, person uuid.UUID, fresh []byte) (key []byte, err error) {
	err = s.db.Pool.QueryRow(ctx, insertPersonKey, pgx.NamedArgs{"user_id": person, "key": fresh, "now": s.now()}).Scan(&key)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read a person's key: %w", err))
	}
	return key, nil
}

const finishExport = `
UPDATE users.data_request SET state = 'READY', finished_at = @now, expires_at = @expires_at WHERE id = @id AND state = 'PENDING'`

func (s *Service) finishExport(ctx context.Context, r dataRequest) error {
	now := s.now()
	return s.finish(ctx, r, finishExport, pgx.NamedArgs{"id": r.ID, "now": now, "expires_at": now.Add(exportLife)}, exportReady(r, now))
}

const warnRequest = `
UPDATE users.data_request SET warned_at = @now, next_try_at = due_at, attempts = 0 WHERE id = @id AND state = 'SCHEDULED'`

// warn tells the person a second time.
func (s *Service) warn(ctx context.Context, r dataRequest, now time.Time) error {
	return s.finish(ctx, r, warnRequest, pgx.NamedArgs{"id": r.ID, "now": now}, erasureNear(r, now))
}

const waitRequest = `
UPDATE users.data_request SET next_try_at = @until, attempts = 0 WHERE id = @id`

func (s *Service) waitUntil(ctx context.Context, id uuid.UUID, until time.Time) error {
	_, err := s.db.Pool.Exec(ctx, waitRequest, pgx.NamedArgs{"id": id, "until": until})
	return pg.Err(err)
}

const cancelRequest = `
UPDATE users.data_request SET state = 'CANCELLED', finished_at = @now WHERE user_id = @user_id AND kind = 'ERASURE' AND state = 'SCHEDULED'`

func (s *Service) cancelRequest(ctx context.Context, person uuid.UUID, now time.Time) error {
	return s.cancelRequestIn(ctx, s.db.Pool, person, now)
}

func (s *Service) cancelRequestIn(ctx context.Context, q querier, person uuid.UUID, now time.Time) error {
	_, err := q.Exec(ctx, cancelRequest, pgx.NamedArgs{"user_id": person, "now": now})
	return pg.Err(err)
}

const finishErasure = `
UPDATE users.data_request SET state = 'COMPLETED', finished_at = @now WHERE id = @id AND state = 'SCHEDULED'`

// ownWipes are what user itself forgets. Consents stay, they are the proof of
// what was allowed; they name the person by id alone. With the key go all
// archives, those in backups too.
var ownWipes = []string{
	`DELETE FROM users.data_part WHERE request_id IN (SELECT id FROM users.data_request WHERE user_id = @user_id)`,
	`DELETE FROM users.person_key WHERE user_id = @user_id`,
	`UPDATE users.data_request SET state = 'EXPIRED' WHERE user_id = @user_id AND kind = 'EXPORT' AND state IN ('PENDING', 'READY')`,
	`DELETE FROM users.therapist_profile WHERE user_id = @user_id`,
	`DELETE FROM users.preferences WHERE user_id = @user_id`,
	`DELETE FROM users.org_member WHERE user_id = @user_id`,
	`UPDATE users.profile
        SET email = NULL, phone = NULL, state = 'DELETED', roles = '{}', first_name = '', last_name = '', display_name = '', bio = '', avatar_url = '',
            version = version + 1, updated_at = @now
      WHERE user_id = @user_id`,
}

func (s *Service) finishErasure(ctx context.Context, r dataRequest) error {
	now := s.now()
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := s.tellLeaving(ctx, tx, r.UserID); err != nil {
			return err
		}
		for _, sql := range ownWipes {
			if _, err := tx.Exec(ctx, sql, pgx.NamedArgs{"user_id": r.UserID, "now": now}); err != nil {
				return pg.Err(fmt.Errorf("erase a person: %w", err))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.finish(ctx, r, finishErasure, pgx.NamedArgs{"id": r.ID, "now": now}, erasureDone(r, now))
}

// finish moves a request on and tells of it, once.
func (s *Service) finish(ctx context.Context, r dataRequest, sql string, args pgx.NamedArgs, events []outbox.Event) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, args)
		if err != nil {
			return pg.Err(fmt.Errorf("move data request %s on: %w", r.ID, err))
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return s.outbox.Append(ctx, tx, events...)
	})
	if err != nil {
		return err
	}
	s.outbox.Wake()
	return nil
}

const expireArchives = `
WITH gone AS (
    UPDATE users.data_request SET state = 'EXPIRED' WHERE state = 'READY' AND expires_at <= @now RETURNING id)
DELETE FROM users.data_part WHERE request_id IN (SELECT id FROM gone)`

func (s *Service) expireArchives(ctx context.Context, now time.Time) error {
	_, err := s.db.Pool.Exec(ctx, expireArchives, pgx.NamedArgs{"now": now})
	return pg.Err(err)
}

const selectOwnData = `
SELECT jsonb_build_object(
    'profile', (SELECT to_jsonb(p) FROM users.profile AS p WHERE p.user_id = @id),
    'preferences', (SELECT to_jsonb(p) FROM users.preferences AS p WHERE p.user_id = @id),
    'consents', (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.occurred_at), '[]') FROM users.consent AS c WHERE c.user_id = @id),
    'organizations', (SELECT coalesce(jsonb_agg(to_jsonb(m) || jsonb_build_object('name', o.name) ORDER BY m.joined_at), '[]')
                        FROM users.org_member AS m JOIN users.organization AS o ON o.id = m.org_id WHERE m.user_id = @id),
    'therapist_profile', (SELECT to_jsonb(t) FROM users.therapist_profile AS t WHERE t.user_id = @id),
    'data_requests', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.created_at), '[]') FROM users.data_request AS r WHERE r.user_id = @id)
)::text`

// ownData is everything user holds about a person, as one JSON object.
func (s *Service) ownData(ctx context.Context, person uuid.UUID) (text []byte, err error) {
	err = s.db.Pool.QueryRow(ctx, selectOwnData, pgx.NamedArgs{"id": person}).Scan(&text)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("gather a person's data: %w", err))
	}
	return text, nil
}
