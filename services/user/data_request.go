package user

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
)

const (
	kindExport  = "EXPORT"
	kindErasure = "ERASURE"

	statePending   = "PENDING"
	stateReady     = "READY"
	stateScheduled = "SCHEDULED"

	exportLife   = 7 * 24 * time.Hour
	erasureDelay = 30 * 24 * time.Hour
	warnBefore   = 48 * time.Hour // DPDP Rules 2025

	dataPoll     = time.Second // when nobody wakes the worker
	dataTimeout  = 30 * time.Second
	dataRetryMax = 5 * time.Minute
	keyBytes     = 32
)

// dataRequest is a person's wish about the own data.
type dataRequest struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	Kind       string
	State      string
	CreatedAt  time.Time
	ExpiresAt  *time.Time
	DueAt      *time.Time
	WarnedAt   *time.Time
	FinishedAt *time.Time
	Attempts   int
	Done       []string
}

// askExport asks for the caller's archive.
func (s *Service) askExport(ctx context.Context, c *token.Caller) (dataRequest, error) {
	now := s.now()
	return s.openRequest(ctx, c, dataRequest{ID: s.ids.New(), UserID: c.UserID, Kind: kindExport, State: statePending, CreatedAt: now}, now)
}

// askErasure asks for the caller to be forgotten.
func (s *Service) askErasure(ctx context.Context, c *token.Caller) (dataRequest, error) {
	if slices.ContainsFunc(c.Roles, func(r string) bool { return r != "user" && r != "guest" && r != "therapist" }) {
		return dataRequest{}, fail.New(fail.PermissionDenied, "give up your role first")
	}
	now := s.now()
	due := now.Add(s.erasureDelay)
	return s.openRequest(ctx, c, dataRequest{
		ID: s.ids.New(), UserID: c.UserID, Kind: kindErasure, State: stateScheduled, CreatedAt: now, DueAt: &due,
	}, due.Add(-warnBefore))
}

// gather asks each service that has not answered for its part. What one of them
// cannot answer now is asked again later.
func (s *Service) gather(ctx context.Context, r dataRequest) error {
	var late error
	for name, p := range s.people {
		if slices.Contains(r.Done, name) {
			continue
		}
		part, err := p.personalData(ctx, r.UserID)
		if err == nil {
			err = s.keepPart(ctx, r, name, part)
		}
		late = errors.Join(late, err)
	}
	if !slices.Contains(r.Done, schema) {
		part, err := s.ownData(ctx, r.UserID)
		if err == nil {
			err = s.keepPart(ctx, r, schema, part)
		}
		late = errors.Join(late, err)
	}
	if late != nil {
		return late
	}
	return s.finishExport(ctx, r)
}

// keepPart seals what a service answered.
func (s *Service) keepPart(ctx context.Context, r dataRequest, service string, part []byte) error {
	if !json.Valid(part) {
		return fmt.Errorf("%s answered no JSON", service)
	}
	aead, err := s.personAEAD(ctx, r.UserID)
	if err != nil {
		return err
	}
	return s.storePart(ctx, r.ID, service, aead.Seal(nil, nil, part, partRow(r.ID, service))) //nolint:gosec // the aead makes the nonce itself
}

func partRow(request uuid.UUID, service string) []byte {
	return []byte("data part " + request.String() + " " + service)
}

// archive opens the parts of a request.
func (s *Service) archive(ctx context.Context, r dataRequest) (map[string]any, error) {
	parts, err := s.parts(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	aead, err := s.personAEAD(ctx, r.UserID)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for service, sealed := range parts {
		text, err := aead.Open(nil, nil, sealed, partRow(r.ID, service))
		if err != nil {
			return nil, fmt.Errorf("open the part of %s: %w", service, err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("read the part of %s: %w", service, err)
		}
		if service == schema {
			service = "user"
		}
		out[service] = v
	}
	return out, nil
}

// personAEAD is the person's own key, made when it is first needed.
func (s *Service) personAEAD(ctx context.Context, person uuid.UUID) (cipher.AEAD, error) {
	master, err := newAEAD(s.dataKey)
	if err != nil {
		return nil, err
	}
	fresh := make([]byte, keyBytes)
	if _, err := io.ReadFull(s.rand, fresh); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	row := []byte("person key " + person.String())
	sealed, err := s.personKey(ctx, person, master.Seal(nil, nil, fresh, row)) //nolint:gosec // the aead makes the nonce itself
	if err != nil {
		return nil, err
	}
	key, err := master.Open(nil, nil, sealed, row)
	if err != nil {
		return nil, fmt.Errorf("was DATA_KEY_SECRET changed? %w", err)
	}
	return newAEAD(key)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make an aead: %w", err)
	}
	return aead, nil
}

func deriveKey(secret, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return key, nil
}

// forget has every service erase a person whose day has come. auth goes first:
// it knows whether the person has signed in again, and nobody signs in after it.
func (s *Service) forget(ctx context.Context, r dataRequest) error {
	for _, name := range s.forgetOrder() {
		if slices.Contains(r.Done, name) {
			continue
		}
		err := s.people[name].erase(ctx, r.UserID)
		if fail.Is(err, fail.Conflict) {
			return s.cancelRequest(ctx, r.UserID, s.now())
		}
		if err != nil {
			return err
		}
		if err := s.noteDone(ctx, r.ID, name); err != nil {
			return err
		}
	}
	return s.finishErasure(ctx, r)
}

func (s *Service) forgetOrder() []string {
	var out []string
	for name := range s.people {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		switch {
		case a == "auth":
			return -1
		case b == "auth":
			return 1
		default:
			return 0
		}
	})
	return out
}

// workRequests does what is due until ctx ends.
func (s *Service) workRequests(ctx context.Context) error {
	tick := time.NewTicker(dataPoll)
	defer tick.Stop()
	for {
		worked, err := s.workOne(ctx)
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("data request waits")
		}
		if worked {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.dataBell:
		case <-tick.C:
		}
	}
}

// workOne takes the first request due. Two processes never work on one: taking
// it moves its next try.
func (s *Service) workOne(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, dataTimeout)
	defer cancel()
	now := s.now()
	if err := s.expireArchives(ctx, now); err != nil {
		return false, err
	}
	r, found, err := s.takeRequest(ctx, now)
	if err != nil || !found {
		return false, err
	}
	switch {
	case r.Kind == kindExport:
		err = s.gather(ctx, r)
	case r.WarnedAt == nil && r.DueAt.After(now):
		err = s.warn(ctx, r, now)
	case r.DueAt.After(now):
		err = s.waitUntil(ctx, r.ID, *r.DueAt)
	default:
		err = s.forget(ctx, r)
	}
	if err != nil {
		return true, fmt.Errorf("%s %s: %w", r.Kind, r.ID, err)
	}
	return true, nil
}
