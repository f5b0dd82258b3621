package subscription

import (
	"context"

	"github.com/google/uuid"
)

// membership is somebody's place in an organization, as user tells it.
type membership struct {
	OrganizationID uuid.UUID
	UserID         uuid.UUID
	PayerID        uuid.UUID
	Member         bool // false: was
	Version        int64
}

// join notes who is where and marks the set of the one it is about. It does not
// fold it here: that takes the user's lock, and whoever holds a payer's takes no
// other.
func (s *Service) join(ctx context.Context, tx txn, m membership) error {
	if err := s.lockPayer(ctx, tx, m.PayerID); err != nil {
		return err
	}
	changed, err := s.putMember(ctx, tx, m)
	if err != nil || !changed {
		return err
	}
	return s.mark(ctx, tx, m.UserID, s.now())
}
