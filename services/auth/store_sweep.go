package auth

import (
	"context"
	"time"
)

const (
	sweepChallenges    = `DELETE FROM auth.challenge WHERE expires_at < @before`
	sweepCodes         = `DELETE FROM auth.one_time WHERE expires_at < @before`
	sweepRegistrations = `DELETE FROM auth.registration WHERE expires_at < @before`
	sweepRecipients    = `DELETE FROM auth.recipient WHERE sent_at < @before`
	sweepSessions      = `DELETE FROM auth.session WHERE expires_at < @before`
	sweepAuthzEvents   = `DELETE FROM auth.authz_event WHERE expires_at < @before`
	sweepMessages      = `DELETE FROM auth.message WHERE created_at < @before AND content IS NULL`
	sweepContents      = `UPDATE auth.message SET content = NULL WHERE content IS NOT NULL AND created_at < @before`
	sweepCeremonies    = `DELETE FROM auth.passkey_ceremony WHERE expires_at < @before`
	sweepDevices       = `DELETE FROM auth.device WHERE last_seen_at < @before`
	sweepKeyRows       = `DELETE FROM auth.api_key WHERE expires_at < @before`
	sweepFlows         = `DELETE FROM auth.oidc_flow WHERE expires_at < @before`
	sweepActive        = `DELETE FROM auth.active_day WHERE day < (@before::timestamptz AT TIME ZONE 'UTC')::date`
	sweepInbox         = `DELETE FROM auth.inbox WHERE processed_at < @before`
)

// sweepOnce deletes what nobody will ask for again.
func (s *Service) sweepOnce(ctx context.Context, now time.Time) error {
	const day = 24 * time.Hour
	for _, x := range []struct {
		sql  string
		keep time.Duration // beyond its end, so that an answer can still say why
	}{
		{sweepChallenges, day},
		{sweepCodes, day},
		{sweepRegistrations, 0},
		{sweepRecipients, time.Hour},
		{sweepSessions, 30 * day},
		{sweepAuthzEvents, time.Hour},
		{sweepMessages, 7 * day},
		{sweepContents, 2 * day}, // longer than any job tries: nobody would send it
		{sweepInbox, 30 * day},   // no outbox repeats a delivery that late
		{sweepActive, 400 * day},
		{sweepDevices, deviceLife},
		{sweepCeremonies, day},
		{sweepKeyRows, 30 * day},
		{sweepFlows, day},
	} {
		if _, err := run(ctx, s.db.Pool, "sweep", x.sql, args{"before": now.Add(-x.keep)}); err != nil {
			return err
		}
	}
	return nil
}
