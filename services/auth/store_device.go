package auth

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

// seen is a device an account signs in on.
type seen struct {
	AccountID, ID   uuid.UUID
	Label, IPPrefix string
}

const selectDevice = `
SELECT true FROM auth.device WHERE account_id = @account_id AND id = @id`

func (s *Service) hasDevice(ctx context.Context, q pg.Querier, account, device uuid.UUID) (bool, error) {
	list, err := column[bool](ctx, q, "read a device", selectDevice, args{"account_id": account, "id": device})
	return len(list) == 1, err
}

const countDevices = `
SELECT count(*) FROM auth.device WHERE account_id = @account_id`

const upsertDevice = `
INSERT INTO auth.device AS d (account_id, id, label, ip_prefix, first_seen_at, last_seen_at)
VALUES (@account_id, @id, @label, @ip_prefix, @now, @now)
    ON CONFLICT (account_id, id) DO UPDATE SET last_seen_at = @now, label = @label, ip_prefix = @ip_prefix
RETURNING xmax = 0 AS is_new`

// seeDevice notes a sign-in on a device. others counts the devices there were
// before. The account's row is locked by the sign-in.
func (s *Service) seeDevice(ctx context.Context, tx pg.Tx, d seen, now time.Time) (others int64, isNew bool, err error) {
	counts, err := column[int64](ctx, tx, "count devices", countDevices, args{"account_id": d.AccountID})
	if err != nil {
		return 0, false, err
	}
	list, err := column[bool](ctx, tx, "note a device", upsertDevice, args{
		"account_id": d.AccountID, "id": d.ID, "label": d.Label, "ip_prefix": d.IPPrefix, "now": now,
	})
	if err != nil {
		return 0, false, err
	}
	return counts[0], list[0], nil
}
