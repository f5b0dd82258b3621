package admin

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// approval is an act that waits for a second operator, or waited.
type approval struct {
	ID             uuid.UUID
	Kind           string
	Method         string
	Request        []byte
	RequestHash    []byte
	Etag           string
	RequestedBy    uuid.UUID
	Reason         string
	State          string
	DecidedBy      *uuid.UUID
	DecisionReason string
	Result         []byte
	CreatedAt      time.Time
	ExpiresAt      time.Time
}

const approvalColumns = `id, kind, method, request, request_hash, etag, requested_by, reason, state, decided_by, decision_reason, result, created_at, expires_at`

const insertApproval = `
INSERT INTO admin.approval (id, kind, method, request, request_hash, etag, requested_by, reason, state, created_at, expires_at)
VALUES (@id, @kind, @method, @request, @request_hash, @etag, @requested_by, @reason, 'PENDING', @created_at, @expires_at)`

func (s *Service) insertApproval(ctx context.Context, tx pg.Tx, a approval) error {
	_, err := run(ctx, tx, "insert an approval", insertApproval, args{
		"id": a.ID, "kind": a.Kind, "method": a.Method, "request": a.Request, "request_hash": a.RequestHash, "etag": a.Etag,
		"requested_by": a.RequestedBy, "reason": a.Reason, "created_at": a.CreatedAt, "expires_at": a.ExpiresAt,
	})
	return err
}

const selectApproval = `
SELECT ` + approvalColumns + `
  FROM admin.approval
 WHERE id = @id`

func (s *Service) approval(ctx context.Context, id uuid.UUID) (approval, bool, error) {
	return one[approval](ctx, s.db.Pool, "read an approval", selectApproval, args{"id": id})
}

const selectWaiting = `
SELECT ` + approvalColumns + `
  FROM admin.approval
 WHERE state IN ('PENDING', 'RUNNING') AND expires_at > @now
 ORDER BY id DESC
 LIMIT 100`

func (s *Service) waitingApprovals(ctx context.Context) ([]approval, error) {
	return all[approval](ctx, s.db.Pool, "list approvals", selectWaiting, args{"now": s.now()})
}

// Of any number who decide at once, one finds it waiting. Whoever died at it
// leaves it to the next once the lease is over: what is approved may be repeated.
const takeApproval = `
UPDATE admin.approval
   SET state = @state, decided_by = @by, decision_reason = @reason, decided_at = @now, lease_until = @lease
 WHERE id = @id AND requested_by <> @by AND expires_at > @now
   AND (state = 'PENDING' OR state = 'RUNNING' AND lease_until < @now)
RETURNING ` + approvalColumns

func (s *Service) takeApproval(ctx context.Context, tx pg.Tx, id, by uuid.UUID, state, reason string, now time.Time) (approval, bool, error) {
	return one[approval](ctx, tx, "take an approval", takeApproval, args{
		"id": id, "state": state, "by": by, "reason": reason, "now": now, "lease": now.Add(approvalLease),
	})
}

const endApproval = `
UPDATE admin.approval
   SET state = @state, result = @result, lease_until = NULL
 WHERE id = @id AND state = 'RUNNING' AND decided_by = @by`

func (s *Service) endApproval(ctx context.Context, tx pg.Tx, a approval) error {
	_, err := run(ctx, tx, "end an approval", endApproval, args{"id": a.ID, "state": a.State, "result": a.Result, "by": a.DecidedBy})
	return err
}
