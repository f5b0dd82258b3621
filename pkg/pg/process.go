package pg

import (
	"context"
	"fmt"

	"github.com/manas360/platform/pkg/boot"
)

// Attach opens the process's database: its readiness is a check of the
// process, its pool shows in the process's metrics, and it closes after the
// last worker.
func Attach(ctx context.Context, p *boot.Process, c Config) (*DB, error) {
	db, err := Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	p.OnStop("postgres", func(context.Context) error { db.Close(); return nil })
	p.Check("postgres", db.Ping)
	if err := db.Metrics(p.Registry); err != nil {
		return nil, fmt.Errorf("register the pool's metrics: %w", err)
	}
	return db, nil
}
