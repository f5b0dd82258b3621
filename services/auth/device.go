package auth

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	devicePrefix   = "dev_"
	deviceMACBytes = 16
	deviceLife     = 365 * 24 * time.Hour
	maxLabel       = 120
)

// deviceToken is what a device shows to be known again. It names no account:
// several people may sign in on one device.
func (s *Service) deviceToken(device uuid.UUID) string {
	tag := mac(s.secrets.devices, device.String())[:deviceMACBytes]
	return devicePrefix + base64.RawURLEncoding.EncodeToString(append(device[:], tag...))
}

// parseDevice reads a device token that has one spelling only.
func (s *Service) parseDevice(raw string) (uuid.UUID, bool) {
	var device uuid.UUID
	text, ok := strings.CutPrefix(raw, devicePrefix)
	if !ok {
		return device, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(device)+deviceMACBytes || base64.RawURLEncoding.EncodeToString(b) != text {
		return device, false
	}
	copy(device[:], b)
	return device, hmac.Equal(b[len(device):], mac(s.secrets.devices, device.String())[:deviceMACBytes])
}

// deviceOf is the device a sign-in comes from: the one it shows, else one of
// the same kind in the same neighbourhood, so that a client that keeps no token
// is not a new device each time.
func (s *Service) deviceOf(account uuid.UUID, c *token.Caller) uuid.UUID {
	if device, ok := s.parseDevice(c.Device); ok {
		return device
	}
	var device uuid.UUID
	copy(device[:], mac(s.secrets.devices, "by looks", account.String(), c.UserAgent, trail.Network(c.ClientIP)))
	return device
}

// knownDevice gives the device that the caller shows, if the account has signed
// in on it. It asks for unknown accounts, too: the same time.
func (s *Service) knownDevice(ctx context.Context, account uuid.UUID, c *token.Caller) (uuid.UUID, bool, error) {
	device, ok := s.parseDevice(c.Device)
	if !ok {
		return device, false, nil
	}
	known, err := s.hasDevice(ctx, s.db.Pool, account, device)
	return device, known, err
}

// noteDevice remembers where an account signs in. The owner is told of a device
// not seen before, but for the first of all.
func (s *Service) noteDevice(ctx context.Context, tx pg.Tx, acc account, c *token.Caller, now time.Time) (uuid.UUID, error) {
	device := s.deviceOf(acc.ID, c)
	others, isNew, err := s.seeDevice(ctx, tx, seen{
		AccountID: acc.ID, ID: device, Label: plain(c.UserAgent, maxLabel), IPPrefix: trail.Network(c.ClientIP),
	}, now)
	if err != nil || !isNew || others == 0 {
		return device, err
	}
	return device, s.tell(ctx, tx, acc, "new_device", now)
}
