package user

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

// preferences is one person's row.
type preferences struct {
	UserID            uuid.UUID
	SecurityChannels  []string
	BillingChannels   []string
	ReminderChannels  []string
	ProductChannels   []string
	MarketingChannels []string
	QuietEnabled      bool
	QuietStart        string
	QuietEnd          string
	ContactLanguage   string
	ReducedMotion     bool
	HighContrast      bool
	Version           int64
	UpdatedAt         time.Time
}

// defaults is what counts until a person says otherwise: no marketing.
func defaults(userID uuid.UUID) preferences {
	return preferences{
		UserID: userID, SecurityChannels: []string{"EMAIL"}, BillingChannels: []string{"EMAIL"},
		ReminderChannels: []string{"EMAIL", "PUSH"}, ProductChannels: []string{"EMAIL"}, MarketingChannels: []string{},
		QuietStart: "22:00", QuietEnd: "07:00",
	}
}

// preferable lists what a person may change, and how.
var preferable = map[string]func(p *preferences, from preferences){
	"security_channels":   func(p *preferences, from preferences) { p.SecurityChannels = from.SecurityChannels },
	"billing_channels":    func(p *preferences, from preferences) { p.BillingChannels = from.BillingChannels },
	"reminder_channels":   func(p *preferences, from preferences) { p.ReminderChannels = from.ReminderChannels },
	"product_channels":    func(p *preferences, from preferences) { p.ProductChannels = from.ProductChannels },
	"marketing_channels":  func(p *preferences, from preferences) { p.MarketingChannels = from.MarketingChannels },
	"quiet_hours.enabled": func(p *preferences, from preferences) { p.QuietEnabled = from.QuietEnabled },
	"quiet_hours.start":   func(p *preferences, from preferences) { p.QuietStart = from.QuietStart },
	"quiet_hours.end":     func(p *preferences, from preferences) { p.QuietEnd = from.QuietEnd },
	"quiet_hours": func(p *preferences, from preferences) {
		p.QuietEnabled, p.QuietStart, p.QuietEnd = from.QuietEnabled, from.QuietStart, from.QuietEnd
	},
	"contact_language": func(p *preferences, from preferences) { p.ContactLanguage = from.ContactLanguage },
	"reduced_motion":   func(p *preferences, from preferences) { p.ReducedMotion = from.ReducedMotion },
	"high_contrast":    func(p *preferences, from preferences) { p.HighContrast = from.HighContrast },
}

// same reports whether a person would see no difference.
func (p preferences) same(o preferences) bool {
	for _, lists := range [][2][]string{
		{p.SecurityChannels, o.SecurityChannels},
		{p.BillingChannels, o.BillingChannels},
		{p.ReminderChannels, o.ReminderChannels},
		{p.ProductChannels, o.ProductChannels},
		{p.MarketingChannels, o.MarketingChannels},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			return false
		}
	}
	return p.QuietEnabled == o.QuietEnabled && p.QuietStart == o.QuietStart && p.QuietEnd == o.QuietEnd &&
		p.ContactLanguage == o.ContactLanguage && p.ReducedMotion == o.ReducedMotion && p.HighContrast == o.HighContrast
}

// checkPreferences refuses what the contract's bounds cannot say.
func checkPreferences(mask []string, to preferences) error {
	bad := fail.New(fail.InvalidArgument, "some fields are not valid")
	if len(mask) == 0 {
		bad = bad.Field("", "the body changes nothing")
	}
	for _, path := range mask {
		if _, ok := preferable[path]; !ok {
			bad = bad.Field(path, "cannot be changed")
		}
	}
	if slices.Contains(mask, "security_channels") && !slices.Contains(to.SecurityChannels, "EMAIL") {
		bad = bad.Field("securityChannels", "must hold EMAIL: news of the account's safety always comes by mail")
	}
	for path, text := range map[string]string{"start": to.QuietStart, "end": to.QuietEnd} {
		if (slices.Contains(mask, "quiet_hours."+path) || slices.Contains(mask, "quiet_hours")) && text == "" {
			bad = bad.Field("quietHours."+path, "must be a time, HH:MM")
		}
	}
	if len(bad.Fields) == 0 {
		return nil
	}
	return bad
}

// updatePreferences changes the masked fields of the caller's preferences.
func (s *Service) updatePreferences(ctx context.Context, caller *token.Caller, mask []string, to preferences, ifMatch string) (p preferences, err error) {
	if err := checkPreferences(mask, to); err != nil {
		return p, err
	}
	if _, err := s.read(ctx, caller.UserID); err != nil { // makes the profile if its event is late
		return p, err
	}
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		if p, err = s.lockPreferences(ctx, tx, caller.UserID); err != nil {
			return err
		}
		if err := unchanged(ifMatch, p.Version, "preferences"); err != nil {
			return err
		}
		before := p
		for _, path := range mask {
			preferable[path](&p, to)
		}
		if p.QuietEnabled && p.QuietStart == p.QuietEnd {
			return fail.New(fail.InvalidArgument, "some fields are not valid").Field("quietHours", "must not start when they end")
		}
		changed := changedPreferences(mask, before, p)
		if len(changed) == 0 {
			p = before
			return nil
		}
		if p, err = s.putPreferences(ctx, tx, p); err != nil {
			return err
		}
		return s.record(ctx, tx, caller, act{Action: trail.PreferencesUpdated, Targets: []target{userTarget(caller.UserID)}, Changes: changed})
	})
	if err != nil {
		return preferences{}, err
	}
	s.outbox.Wake()
	return p, nil
}

// changedPreferences names what really changed, channels with their values:
// they show when marketing was turned on.
func changedPreferences(mask []string, before, after preferences) []change {
	var out []change
	for _, path := range mask {
		one := before
		preferable[path](&one, after)
		if one.same(before) || slices.ContainsFunc(out, func(c change) bool { return c.Path == path }) {
			continue
		}
		c := change{Path: path}
		if path == "marketing_channels" {
			c.Before, c.After = strings.Join(before.MarketingChannels, " "), strings.Join(after.MarketingChannels, " ")
		}
		out = append(out, c)
	}
	return out
}
