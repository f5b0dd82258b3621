// Package idem makes money-moving calls repeatable: the first answer to an
// Idempotency-Key is stored and given again to every repetition of the same
// request, contract section 1.
package idem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// ReplayedHeader is response metadata, "true" on a stored answer; the edge
// prints it as Idempotency-Replayed.
const ReplayedHeader = "x-idempotency-replayed"

const (
	keyHeader  = "idempotency-key"  // forwarded by the edge
	keep       = 7 * 24 * time.Hour // contract section 1
	lease      = time.Minute        // a process that died in the act blocks its key no longer
	sweepEvery = time.Hour
	sweepSize  = 1000
	maxKey     = 255
)

// Store keeps answers in the table idempotency_key of a schema.
type Store struct {
	db     *pg.DB
	schema string
	now    func() time.Time
}

// NewStore makes the store of a schema.
func NewStore(db *pg.DB, schema string, now func() time.Time) *Store {
	return &Store{db: db, schema: schema, now: now}
}

// Interceptor acts on methods whose rule says idempotent, when the request
// carries a key. It runs after authorization and validation: a refused request
// spends no key.
func (s *Store) Interceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		keys := metadata.ValueFromIncomingContext(ctx, keyHeader)
		if len(keys) == 0 || !applies(info.FullMethod) {
			return next(ctx, req)
		}
		msg, ok := req.(proto.Message)
		if !ok {
			return nil, fmt.Errorf("request %T is not a message", req)
		}
		if len(keys) > 1 || !valid(keys[0]) {
			return nil, fail.New(fail.InvalidArgument, "the Idempotency-Key is not valid").Field("Idempotency-Key", "must be one value of 1 to 255 printable characters")
		}
		return s.once(ctx, scope(ctx, info.FullMethod), keys[0], msg, func(ctx context.Context) (any, error) { return next(ctx, req) })
	}
}

// applies reports whether the method's rule honours keys.
func applies(fullMethod string) bool {
	name := strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return false
	}
	rule, ok := proto.GetExtension(d.Options(), authzv1.E_Rule).(*authzv1.Rule)
	return ok && rule.GetIdempotent()
}

// valid is the contract's form: 1 to 255 printable ASCII characters.
func valid(key string) bool {
	if key == "" || len(key) > maxKey {
		return false
	}
	return strings.IndexFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
}

// scope keeps one person's keys apart from another's, and one method's from
// another's.
func scope(ctx context.Context, method string) string {
	if c, ok := token.FromContext(ctx); ok {
		return c.UserID.String() + method
	}
	return method
}

func (s *Store) once(ctx context.Context, scope, key string, req proto.Message, run func(ctx context.Context) (any, error)) (any, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	sum := sha256.Sum256(raw)
	claim, stored, err := s.claim(ctx, scope, key, sum[:])
	if err != nil {
		return nil, err
	}
	if stored != nil {
		return replay(ctx, stored)
	}
	resp, err := run(ctx)
	// Whatever became of the caller, the key must not stay claimed.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil {
		if rerr := s.release(end, scope, key, claim); rerr != nil { // its lease ends by itself; the first error is the one to tell
			zerolog.Ctx(ctx).Warn().Err(rerr).Msg("idempotency key stays claimed until its lease ends")
		}
		return nil, err
	}
	msg, ok := resp.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("answer %T is not a message", resp)
	}
	if err := s.finish(end, scope, key, claim, msg); err != nil {
		return nil, err
	}
	return resp, nil
}

func replay(ctx context.Context, stored []byte) (any, error) {
	wrapped := &anypb.Any{}
	if err := proto.Unmarshal(stored, wrapped); err != nil {
		return nil, fmt.Errorf("decode the stored answer: %w", err)
	}
	msg, err := wrapped.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("decode the stored answer: %w", err)
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs(ReplayedHeader, "true")); err != nil {
		return nil, fmt.Errorf("mark the stored answer: %w", err)
	}
	return msg, nil
}

func (s *Store) sql(text string) string { return strings.ReplaceAll(text, "{schema}", s.schema) }

// A key is taken when it is new, expired, or left RUNNING by a process whose
// lease is over. fence tells the takers apart, so that a slow loser stores
// nothing.
const claimKey = `
INSERT INTO {schema}.idempotency_key AS k (scope, key, request_hash, state, fence, locked_until, created_at, expires_at)
VALUES (@scope, @key, @hash, 'RUNNING', 1, @locked_until, @now, @expires_at)
    ON CONFLICT (scope, key) DO UPDATE
       SET request_hash = excluded.request_hash, state = 'RUNNING', fence = k.fence + 1, response = NULL,
           locked_until = excluded.locked_until, created_at = excluded.created_at, expires_at = excluded.expires_at
     WHERE k.expires_at <= @now
        OR (k.state = 'RUNNING' AND k.locked_until <= @now AND k.request_hash = excluded.request_hash)
RETURNING fence`

const readKey = `SELECT request_hash, state, response FROM {schema}.idempotency_key WHERE scope = @scope AND key = @key`

// claim takes the key, or answers what is stored under it.
func (s *Store) claim(ctx context.Context, scope, key string, hash []byte) (fence int64, stored []byte, err error) {
	now := s.now()
	args := pgx.NamedArgs{
		"scope": scope, "key": key, "hash": hash, "now": now, "locked_until": now.Add(lease), "expires_at": now.Add(keep),
	}
	err = s.db.Pool.QueryRow(ctx, s.sql(claimKey), args).Scan(&fence)
	if err == nil {
		return fence, nil, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, pg.Err(fmt.Errorf("claim the key: %w", err))
	}
	var (
		known []byte
		state string
	)
	err = s.db.Pool.QueryRow(ctx, s.sql(readKey), pgx.NamedArgs{"scope": scope, "key": key}).Scan(&known, &state, &stored)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // released between the two statements
		return 0, nil, fail.New(fail.IdempotencyInProgress, "the first request with this key has just ended; repeat it").RetryAfter(time.Second)
	case err != nil:
		return 0, nil, pg.Err(fmt.Errorf("read the key: %w", err))
	case !bytes.Equal(known, hash):
		return 0, nil, fail.New(fail.IdempotencyKeyReused, "this key was used for another request")
	case state != "DONE":
		return 0, nil, fail.New(fail.IdempotencyInProgress, "the first request with this key is still being worked on").RetryAfter(time.Second)
	}
	return 0, stored, nil
}

const finishKey = `
UPDATE {schema}.idempotency_key
   SET state = 'DONE', response = @response
 WHERE scope = @scope AND key = @key AND fence = @fence`

func (s *Store) finish(ctx context.Context, scope, key string, fence int64, msg proto.Message) error {
	wrapped, err := anypb.New(msg)
	if err != nil {
		return fmt.Errorf("wrap the answer: %w", err)
	}
	raw, err := proto.Marshal(wrapped)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if _, err := s.db.Pool.Exec(ctx, s.sql(finishKey), pgx.NamedArgs{"scope": scope, "key": key, "fence": fence, "response": raw}); err != nil {
		return pg.Err(fmt.Errorf("store the answer: %w", err))
	}
	return nil
}

const releaseKey = `DELETE FROM {schema}.idempotency_key WHERE scope = @scope AND key = @key AND fence = @fence AND state = 'RUNNING'`

// release gives the key back after a failure: handlers are repeatable, so the
// client may try again with it.
func (s *Store) release(ctx context.Context, scope, key string, fence int64) error {
	if _, err := s.db.Pool.Exec(ctx, s.sql(releaseKey), pgx.NamedArgs{"scope": scope, "key": key, "fence": fence}); err != nil {
		return pg.Err(fmt.Errorf("release the key: %w", err))
	}
	return nil
}

const sweepKeys = `
DELETE FROM {schema}.idempotency_key
 WHERE (scope, key) IN (SELECT scope, key FROM {schema}.idempotency_key WHERE expires_at <= @now LIMIT @limit)`

// Sweep is a worker that removes expired keys once an hour.
func (s *Store) Sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		tag, err := s.db.Pool.Exec(ctx, s.sql(sweepKeys), pgx.NamedArgs{"now": s.now(), "limit": sweepSize})
		if err != nil {
			return pg.Err(fmt.Errorf("remove expired keys: %w", err))
		}
		if tag.RowsAffected() == sweepSize {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
