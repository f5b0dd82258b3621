package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/audit"
)

const pageSecret = "a secret of the test, thirty-two characters or more"

// pay writes numbered business rows, each with its audit event in the same
// transaction. It outlives the database, which is killed too.
func pay(ctx context.Context, db *pg.DB, o *outbox.Outbox) error {
	for ctx.Err() == nil {
		var waiting int
		err := db.Pool.QueryRow(ctx, `SELECT count(*) FROM producer.outbox`).Scan(&waiting)
		if err != nil || waiting > backlog {
			if pause(ctx, 20*time.Millisecond) != nil {
				return nil //nolint:nilerr // asked to end
			}
			continue
		}
		_ = db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error { // whether it is there, the database says in the end
			for range 1 + rand.IntN(4) {
				if err := payment(ctx, tx, o); err != nil {
					return err
				}
			}
			if rand.IntN(10) == 0 {
				return errUndo
			}
			return nil
		})
		o.Wake()
	}
	return nil
}

func payment(ctx context.Context, tx pgx.Tx, o *outbox.Outbox) error {
	key := "key-" + strconv.Itoa(rand.IntN(keys))
	var value int64
	err := tx.QueryRow(ctx, `
INSERT INTO producer.row (key, value)
SELECT $1, coalesce(max(value), 0) + 1 FROM producer.row WHERE key = $1
RETURNING value`, key).Scan(&value)
	if err != nil {
		return err
	}
	return o.Append(ctx, tx, outbox.Event{Key: key, Destinations: []string{"audit"}, Payload: &auditv1.Event{
		Action: "payment.created", Actor: &auditv1.Event_Actor{Type: "service", Id: "payment"}, Outcome: auditv1.Event_SUCCESS,
		Targets: []*auditv1.Event_Target{{Type: "payment", Id: fmt.Sprintf("%s.%d", key, value)}},
	}})
}

// carry is the relay to audit, several batches under way.
func carry(ctx context.Context, db *pg.DB, o *outbox.Outbox, log zerolog.Logger) error {
	conn, err := grpc.NewClient(os.Getenv(addressVar), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}}))
	if err != nil {
		return err
	}
	return errors.Join(o.Relay(db, "audit", outbox.Client(conn), log)(ctx), conn.Close())
}

// keepTrail is the audit service itself, without mTLS.
func keepTrail(ctx context.Context, db *pg.DB) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", os.Getenv(addressVar))
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	audit.New(db, pageSecret, time.Now).Register(g, func(context.Context) string { return "payment" })
	context.AfterFunc(ctx, g.GracefulStop)
	return g.Serve(l)
}

func migrateTrail(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, tables+"CREATE SCHEMA audit;")
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	return migrations.For("audit")(ctx, url)
}
