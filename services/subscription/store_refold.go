package subscription

import (
	"context"
	"time"

	"github.com/google/uuid"
)

const selectMarks = `
SELECT seq
  FROM subscription.entitlement_stale
 WHERE user_id = @user_id`

type markRow struct{ Seq int64 }

// marks names what was marked of a user until now.
func (s *Service) marks(ctx context.Context, tx txn, userID uuid.UUID) ([]int64, error) {
	rows, err := many[markRow](ctx, tx, selectMarks, args{"user_id": userID})
	list := make([]int64, 0, len(rows))
	for _, r := range rows {
		list = append(list, r.Seq)
	}
	return list, err
}

const deleteMarks = `DELETE FROM subscription.entitlement_stale WHERE seq = ANY (@seqs)`

// unmark deletes marks that have been seen to.
func (s *Service) unmark(ctx context.Context, tx txn, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	_, err := exec(ctx, tx, "delete marks", deleteMarks, args{"seqs": seqs})
	return err
}

const lockPayer = `SELECT pg_advisory_xact_lock(hashtextextended(@user_id::text, 1))`

// lockPayer makes who joins somebody's organization wait for a change of the
// plan that they will have, and the other way round: neither misses the other.
// After it only an invoice series is locked.
func (s *Service) lockPayer(ctx context.Context, tx txn, userID uuid.UUID) error {
	_, err := exec(ctx, tx, "lock a payer", lockPayer, args{"user_id": userID})
	return err
}

const markUser = `INSERT INTO subscription.entitlement_stale (user_id, marked_at) VALUES (@user_id, @now)`

// mark has one user's set folded again.
func (s *Service) mark(ctx context.Context, tx txn, userID uuid.UUID, now time.Time) error {
	_, err := exec(ctx, tx, "mark a set", markUser, args{"user_id": userID, "now": now})
	return err
}

const markMembers = `
INSERT INTO subscription.entitlement_stale (user_id, marked_at)
SELECT DISTINCT m.user_id, @now::timestamptz
  FROM subscription.organization_member AS m
 WHERE m.payer_id = @payer_id AND m.member AND m.user_id <> m.payer_id`

// markMembers has the sets of those folded again who have userID's plan.
func (s *Service) markMembers(ctx context.Context, tx txn, userID uuid.UUID, now time.Time) error {
	if err := s.lockPayer(ctx, tx, userID); err != nil {
		return err
	}
	_, err := exec(ctx, tx, "mark members", markMembers, args{"payer_id": userID, "now": now})
	return err
}

const selectRefolds = `
(SELECT DISTINCT user_id AS id FROM subscription.entitlement_stale LIMIT @size)
 UNION
(SELECT user_id FROM subscription.entitlement_set WHERE due_at <= @now ORDER BY due_at LIMIT @size)
 LIMIT @size`

// refolds names users whose set has to be folded again.
func (s *Service) refolds(ctx context.Context, now time.Time, size int) ([]dueRow, error) {
	return many[dueRow](ctx, s.db.Pool, selectRefolds, args{"now": now, "size": size})
}

const putMember = `
INSERT INTO subscription.organization_member AS m (organization_id, user_id, payer_id, member, version)
VALUES (@organization_id, @user_id, @payer_id, @member, @version)
    ON CONFLICT (organization_id, user_id) DO UPDATE
   SET payer_id = excluded.payer_id, member = excluded.member, version = excluded.version
 WHERE m.version < excluded.version`

// putMember copies user's word unless a newer one is here.
func (s *Service) putMember(ctx context.Context, tx txn, m membership) (changed bool, err error) {
	n, err := exec(ctx, tx, "put a member", putMember, args{
		"organization_id": m.OrganizationID, "user_id": m.UserID, "payer_id": m.PayerID, "member": m.Member, "version": m.Version,
	})
	return n > 0, err
}
