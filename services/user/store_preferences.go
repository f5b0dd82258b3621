package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
)

const selectPreferences = `
SELECT user_id, security_channels, billing_channels, reminder_channels, product_channels, marketing_channels,
       quiet_enabled, quiet_start, quiet_end, contact_language, reduced_motion, high_contrast, version, updated_at
  FROM users.preferences
 WHERE user_id = @user_id`

// preferences reads a person's row, or the defaults.
func (s *Service) preferences(ctx context.Context, userID uuid.UUID) (preferences, error) {
	p, found, err := first[preferences](ctx, s.db.Pool, "read preferences", selectPreferences, args{"user_id": userID})
	if err != nil || found {
		return p, err
	}
	return defaults(userID), nil
}

const lockPreferences = selectPreferences + ` FOR UPDATE`

const insertPreferences = `
INSERT INTO users.preferences (user_id, security_channels, billing_channels, reminder_channels, product_channels, marketing_channels,
       quiet_enabled, quiet_start, quiet_end, contact_language, reduced_motion, high_contrast, version, updated_at)
VALUES (@user_id, @security_channels, @billing_channels, @reminder_channels, @product_channels, @marketing_channels,
       @quiet_enabled, @quiet_start, @quiet_end, @contact_language, @reduced_motion, @high_contrast, @version, @now)
    ON CONFLICT (user_id) DO NOTHING`

// lockPreferences locks a person's row, and makes one of the defaults first if
// there is none: two tabs then wait for one another.
func (s *Service) lockPreferences(ctx context.Context, tx pg.Tx, userID uuid.UUID) (preferences, error) {
	if _, err := run(ctx, tx, "insert preferences", insertPreferences, s.preferenceArgs(defaults(userID))); err != nil {
		return preferences{}, err
	}
	p, _, err := first[preferences](ctx, tx, "lock preferences", lockPreferences, args{"user_id": userID})
	return p, err
}

const updatePreferences = `
UPDATE users.preferences
   SET security_channels = @security_channels, billing_channels = @billing_channels, reminder_channels = @reminder_channels,
       product_channels = @product_channels, marketing_channels = @marketing_channels, quiet_enabled = @quiet_enabled,
       quiet_start = @quiet_start, quiet_end = @quiet_end, contact_language = @contact_language,
       reduced_motion = @reduced_motion, high_contrast = @high_contrast, version = @version + 1, updated_at = @now
 WHERE user_id = @user_id
RETURNING user_id, security_channels, billing_channels, reminder_channels, product_channels, marketing_channels,
          quiet_enabled, quiet_start, quiet_end, contact_language, reduced_motion, high_contrast, version, updated_at`

func (s *Service) putPreferences(ctx context.Context, tx pg.Tx, p preferences) (preferences, error) {
	p, _, err := first[preferences](ctx, tx, "update preferences", updatePreferences, s.preferenceArgs(p))
	return p, err
}

func (s *Service) preferenceArgs(p preferences) args {
	return args{
		"user_id": p.UserID, "security_channels": list(p.SecurityChannels), "billing_channels": list(p.BillingChannels),
		"reminder_channels": list(p.ReminderChannels), "product_channels": list(p.ProductChannels),
		"marketing_channels": list(p.MarketingChannels), "quiet_enabled": p.QuietEnabled, "quiet_start": p.QuietStart,
		"quiet_end": p.QuietEnd, "contact_language": p.ContactLanguage, "reduced_motion": p.ReducedMotion,
		"high_contrast": p.HighContrast, "version": p.Version, "now": s.now(),
	}
}

// list is a text array that is never NULL.
func list(v []string) []string {
	if v == nil {
		return []string{}
	}
	return v
}
