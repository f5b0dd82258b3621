package admin

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/outbox"
)

// record writes an operator's look at data before it is answered: a look that
// cannot be recorded does not happen.
func (s *Service) record(ctx context.Context, ev outbox.Event) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return s.outbox.Append(ctx, tx, ev)
	})
	if err != nil {
		return fmt.Errorf("record the look: %w", err)
	}
	s.outbox.Wake()
	return nil
}
