package auth

import (
	"context"
	"crypto/hmac"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
)

const (
	maxAPIKeys   = 20
	apiKeyLife   = 90 * 24 * time.Hour
	keyTokenLife = 5 * time.Minute // of the token a key is exchanged for
)

// byKey is what a session of a key has shown: it is no person's.
var byKey = []string{token.APIKey}

// keyWish is what a person wants a key to be.
type keyWish struct {
	Name        string
	Permissions []string
	ExpiresAt   time.Time // zero: the default
}

// createAPIKey makes a key and gives its secret, which is not kept.
func (s *Service) createAPIKey(ctx context.Context, w keyWish, c *token.Caller) (k apiKey, raw string, err error) {
	now := s.now()
	if k, err = newAPIKey(w, now); err != nil {
		return apiKey{}, "", err
	}
	secret, err := randomBytes(s.rand, token.APIKeySecretBytes)
	if err != nil {
		return apiKey{}, "", err
	}
	k.ID, k.AccountID = s.ids.New(), c.UserID
	k.MAC = s.apiKeyMAC(k.ID, secret)
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error { return s.addAPIKey(ctx, tx, k, c, now) })
	if err != nil {
		return apiKey{}, "", err
	}
	s.outbox.Wake()
	return k, token.FormatAPIKey(k.ID, secret), nil
}

func newAPIKey(w keyWish, now time.Time) (apiKey, error) {
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	k := apiKey{
		Name: plain(w.Name, 400), Permissions: slices.Compact(slices.Sorted(slices.Values(w.Permissions))),
		CreatedAt: now, ExpiresAt: now.Add(apiKeyLife),
	}
	if !w.ExpiresAt.IsZero() {
		k.ExpiresAt = w.ExpiresAt
	}
	if k.Name == "" {
		bad = bad.Field("name", "must not be empty")
	}
	if !k.ExpiresAt.After(now) || k.ExpiresAt.After(now.AddDate(1, 0, 0)) {
		bad = bad.Field("expiresAt", "must be in the future, at most a year from now")
	}
	if len(bad.Fields) > 0 {
		return apiKey{}, bad
	}
	return k, nil
}

func (s *Service) addAPIKey(ctx context.Context, tx pg.Tx, k apiKey, c *token.Caller, now time.Time) error {
	if err := s.lockAccount(ctx, tx, c.UserID); err != nil { // else two at once would both be the twentieth
		return err
	}
	acc, found, err := s.account(ctx, tx, c.UserID)
	if err != nil || !found {
		return orNoAccount(err)
	}
	// What a key could never use it may not be given: an administrator's
	// permissions ask for a second factor, which no program holds.
	may := acc.inForce(byKey)
	for _, p := range k.Permissions {
		if !c.Has(p) || !slices.Contains(may, p) {
			return fail.New(fail.PermissionDenied, "a key can only hold permissions that you hold without a second factor")
		}
	}
	live, err := s.countAPIKeys(ctx, tx, c.UserID, now)
	if err != nil {
		return err
	}
	if live >= maxAPIKeys {
		return fail.New(fail.Conflict, "there are %d keys already, delete one first", maxAPIKeys)
	}
	if err := s.insertAPIKey(ctx, tx, k); err != nil {
		return err
	}
	m := mail{To: acc.Email, Template: "api_key_created", Locale: acc.Locale, Name: acc.FirstName, Params: map[string]string{"detail": k.Name}}
	if err := s.queueMail(ctx, tx, m, now); err != nil {
		return err
	}
	return s.record(ctx, tx, c, now, act{
		Action: trail.APIKeyCreated, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID), apiKeyTarget(k.ID)}, Outcome: success,
		Changes: []change{{Path: "permissions", After: strings.Join(k.Permissions, " ")}, {Path: "expires_at", After: k.ExpiresAt.UTC().Format(time.RFC3339)}},
	})
}

// deleteAPIKey ends a key; its tokens die with it at every edge.
func (s *Service) deleteAPIKey(ctx context.Context, key uuid.UUID, c *token.Caller) error {
	var news []authzEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		ended, err := s.endAPIKey(ctx, tx, c.UserID, key, now)
		if err != nil {
			return err
		}
		if !ended {
			return noSuchKey()
		}
		if news, err = s.recordAuthz(ctx, tx, sessionRevoked, 0, now, key); err != nil {
			return err
		}
		return s.record(ctx, tx, c, now, act{
			Action: trail.APIKeyRevoked, Actor: userActor(c.UserID, c.SessionID), Targets: []target{userTarget(c.UserID), apiKeyTarget(key)}, Outcome: success,
		})
	})
	if err != nil {
		return err
	}
	s.publish(ctx, news...)
	s.outbox.Wake()
	return nil
}

func noSuchKey() error { return fail.New(fail.NotFound, "there is no such key") }

// exchanged is an access token in a key's name.
type exchanged struct {
	Access  string
	Expires time.Time
}

// exchangeAPIKey gives the token that stands for a key. The account is read
// after the key, all of it in one statement: whatever the owner has lost by
// then, the token lacks.
func (s *Service) exchangeAPIKey(ctx context.Context, raw string) (exchanged, error) {
	keyID, secret, ok := token.ParseAPIKey(raw)
	if !ok {
		return exchanged{}, notOurKey()
	}
	k, found, err := s.apiKey(ctx, s.db.Pool, keyID)
	if err != nil {
		return exchanged{}, err
	}
	if !found || !hmac.Equal(k.MAC, s.apiKeyMAC(keyID, secret)) {
		return exchanged{}, notOurKey()
	}
	now := s.now()
	if k.RevokedAt != nil || !now.Before(k.ExpiresAt) {
		return exchanged{}, fail.New(fail.TokenRevoked, "this key has ended")
	}
	acc, found, err := s.account(ctx, s.db.Pool, k.AccountID)
	if err != nil {
		return exchanged{}, err
	}
	if !found || acc.State != stateActive {
		return exchanged{}, fail.New(fail.TokenRevoked, "this key has ended")
	}
	x, err := s.keyToken(k, acc, now)
	if err != nil {
		return exchanged{}, err
	}
	if today := now.UTC().Truncate(24 * time.Hour); k.LastUsedDay == nil || k.LastUsedDay.Before(today) {
		err = s.noteKeyUse(ctx, k.ID, today)
	}
	return x, err
}

// keyToken mints it. The token names no role: a key acts by its permissions
// alone. It owes no factor either, it merely has nothing of what needs one.
func (s *Service) keyToken(k apiKey, acc account, now time.Time) (x exchanged, err error) {
	// Not above AccessTTL: a revocation is kept no longer than that.
	x.Expires = earlier(now.Add(min(keyTokenLife, s.c.AccessTTL.Std())), k.ExpiresAt).Truncate(time.Second)
	may := acc.inForce(byKey)
	perms := slices.DeleteFunc(slices.Clone(k.Permissions), func(p string) bool { return !slices.Contains(may, p) })
	x.Access, err = s.keys.sign(token.Claims{
		Issuer: s.c.Issuer, Audience: s.c.Audience, ClientID: apiKeyName(k.ID), Subject: id.Format("usr", acc.ID), SessionID: sessionName(k.ID),
		JTI: s.ids.New().String(), IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: x.Expires.Unix(),
		Roles: []string{}, Permissions: perms, Plan: acc.Plan, Features: acc.Features, EntitledUntil: acc.entitledUntil(), Epoch: acc.Epoch,
		AMR: byKey, AuthTime: k.CreatedAt.Unix(), LegalPending: s.owesLegal(acc), RolesEpoch: acc.RolesEpoch, APICalls: acc.APICalls,
	})
	return x, err
}

func notOurKey() error { return fail.New(fail.InvalidToken, "the key is not valid") }

func (s *Service) apiKeyMAC(key uuid.UUID, secret []byte) []byte {
	return mac(s.secrets.apiKeys, key.String(), string(secret))
}

func apiKeyName(key uuid.UUID) string   { return id.Format("apk", key) }
func apiKeyTarget(key uuid.UUID) target { return target{"api_key", apiKeyName(key)} }
