package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// The environment of a child.
const (
	roleVar     = "MANAS_CHAOS_ROLE"
	databaseVar = "MANAS_CHAOS_DATABASE"
	addressVar  = "MANAS_CHAOS_ADDRESS"

	valueType   = "google.protobuf.Int64Value"
	destination = "consumer"
	keys        = 7   // aggregates whose order is watched
	backlog     = 400 // events that may wait before the producer lets the others catch up
)

// play is the whole life of a child.
func play(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := zerolog.New(os.Stderr).With().Timestamp().Str("role", role).Int("pid", os.Getpid()).Logger()
	db, err := pg.Open(ctx, pg.Config{URL: os.Getenv(databaseVar), Max: 4})
	if err != nil {
		return err
	}
	defer db.Close()
	o := outbox.New("producer", id.NewMaker(time.Now, source{}), time.Now)
	switch role {
	case "producer":
		return produce(ctx, db, o)
	case "relay":
		conn, err := grpc.NewClient(os.Getenv(addressVar), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}}))
		if err != nil {
			return err
		}
		err = o.Relay(db, destination, eventv1.NewEventInboxServiceClient(conn), log)(ctx)
		return errors.Join(err, conn.Close())
	case "consumer":
		return consume(ctx, db)
	case "payer":
		return pay(ctx, db, o)
	case "carrier":
		return carry(ctx, db, o, log)
	case "audit":
		return keepTrail(ctx, db)
	default:
		return fmt.Errorf("no role %q", role)
	}
}

// source is a stream of bytes that differ in every process.
type source struct{}

func (source) Read(p []byte) (int, error) { u := uuid.New(); return copy(p, u[:]), nil }

var errUndo = errors.New("changed its mind")

// produce writes numbered business rows, each with its event in the same
// transaction. Some transactions are undone: their events must not exist.
func produce(ctx context.Context, db *pg.DB, o *outbox.Outbox) error {
	for ctx.Err() == nil {
		var waiting int
		if err := db.Pool.QueryRow(ctx, `SELECT count(*) FROM producer.outbox`).Scan(&waiting); err != nil {
			return err
		}
		if waiting > backlog {
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return nil //nolint:nilerr // asked to end
			}
			continue
		}
		err := db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			for range 1 + rand.IntN(4) {
				if err := one(ctx, tx, o); err != nil {
					return err
				}
			}
			if rand.IntN(10) == 0 {
				return errUndo
			}
			return nil
		})
		// The database may still be at work for the producer that was killed, on the same number.
		if err != nil && !errors.Is(err, errUndo) && !pg.IsUnique(err, "row_pkey") && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func one(ctx context.Context, tx pgx.Tx, o *outbox.Outbox) error {
	key := "key-" + strconv.Itoa(rand.IntN(keys))
	var value int64
	err := tx.QueryRow(ctx, `
INSERT INTO producer.row (key, value)
SELECT $1, coalesce(max(value), 0) + 1 FROM producer.row WHERE key = $1
RETURNING value`, key).Scan(&value)
	if err != nil {
		return err
	}
	return o.Append(ctx, tx, outbox.Event{Key: key, Destinations: []string{destination}, Payload: wrapperspb.Int64(value)})
}

// consume serves the inbox. Applying twice or out of order is refused by no
// constraint here: the test must see it.
func consume(ctx context.Context, db *pg.DB) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", os.Getenv(addressVar))
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	from := func(context.Context) string { return "producer" }
	eventv1.RegisterEventInboxServiceServer(s, outbox.NewInbox(db, "consumer", time.Now, from, map[string]outbox.Handler{
		valueType: {Source: "producer", Apply: apply},
	}))
	context.AfterFunc(ctx, s.GracefulStop)
	return s.Serve(l)
}

func apply(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
	v := &wrapperspb.Int64Value{}
	if err := outbox.Payload(ev, v); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO consumer.applied (key, value) VALUES ($1, $2)`, ev.GetKey(), v.GetValue())
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

const tables = `
CREATE SCHEMA producer;
CREATE SCHEMA consumer;
CREATE TABLE producer.row (key text NOT NULL, value bigint NOT NULL, PRIMARY KEY (key, value));
CREATE TABLE consumer.applied (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, value bigint NOT NULL);
CREATE TABLE producer.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, destination text NOT NULL, type text NOT NULL,
    key text NOT NULL, payload bytea NOT NULL, request_id text NOT NULL DEFAULT '', traceparent text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0, next_attempt_at timestamptz NOT NULL,
    last_error text NOT NULL DEFAULT '', UNIQUE (event_id, destination));
CREATE INDEX outbox_due ON producer.outbox (destination, seq);
CREATE INDEX outbox_key ON producer.outbox (destination, key, seq);
CREATE TABLE producer.outbox_dead (
    seq bigint NOT NULL, event_id uuid NOT NULL, destination text NOT NULL, type text NOT NULL, key text NOT NULL,
    payload bytea NOT NULL, request_id text NOT NULL DEFAULT '', traceparent text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL, attempts int NOT NULL DEFAULT 0, next_attempt_at timestamptz NOT NULL,
    last_error text NOT NULL DEFAULT '', dead_at timestamptz NOT NULL, reason text NOT NULL, PRIMARY KEY (event_id, destination));
CREATE TABLE consumer.inbox (event_id uuid PRIMARY KEY, source text NOT NULL, type text NOT NULL, processed_at timestamptz NOT NULL);`

func migrate(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, tables)
	return errors.Join(err, conn.Close(ctx))
}
