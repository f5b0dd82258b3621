// Package token holds who is calling: the caller as it travels between our
// processes, and the access token it comes from at the edge.
package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/id"
	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// MetadataKey is the gRPC metadata that carries a marshalled Caller.
const MetadataKey = "x-manas-caller-bin"

// maxCallerBytes bounds what Unmarshal looks at: a token of 2 KiB, a user agent
// and some lists fit four times over.
const maxCallerBytes = 16 << 10

// Caller is the verified identity behind a request. A request without a token
// has one too, with a zero UserID. It is shared between goroutines: never
// change one taken from a context.
type Caller struct {
	UserID       uuid.UUID
	SessionID    uuid.UUID
	Roles        []string
	Permissions  []string
	Plan         string
	Features     []string
	Epoch        int64     // authorization epoch of the token
	AMR          []string  // authentication methods, RFC 8176
	AuthTime     time.Time // when the person last authenticated
	ClientIP     string
	UserAgent    string
	RequestID    string
	MFAPending   bool   // a role demands a second factor this session does not hold
	Raw          string // the bearer token, only for sensitive RPCs
	Locale       string // en, hi, kn, ta or te
	Device       string // token of a device seen before; auth alone can tell whether it is one
	LegalPending bool   // the current legal documents are not accepted yet

	Impersonator uuid.UUID // the operator who acts for UserID; zero for the person
	RolesEpoch   int64     // role-definition epoch the permissions were computed at

	EntitledUntil time.Time // when plan and features end; zero: never
	APICalls      *int64    // a month's calls with an API key, -1 for no end; nil: the token does not say
}

// EntitlementEnded reports whether plan and features are worth nothing any more,
// whatever the token says.
func (c *Caller) EntitlementEnded(now time.Time) bool {
	return c != nil && !c.EntitledUntil.IsZero() && !now.Before(c.EntitledUntil)
}

// Impersonated reports whether an operator acts in the user's name.
func (c *Caller) Impersonated() bool { return c != nil && c.Impersonator != uuid.Nil }

// ImpersonatorID is the operator's public id for the record, "" for the person.
func (c *Caller) ImpersonatorID() string {
	if !c.Impersonated() {
		return ""
	}
	return id.Format("usr", c.Impersonator)
}

// SignedIn reports whether there is a user behind the request.
func (c *Caller) SignedIn() bool { return c != nil && c.UserID != uuid.Nil }

// Has reports whether the caller holds the dotted permission.
func (c *Caller) Has(permission string) bool {
	return c != nil && permission != "" && slices.Contains(c.Permissions, permission)
}

// HasSecondFactor reports whether the session was opened with one.
func (c *Caller) HasSecondFactor() bool {
	return c != nil && HasSecondFactor(c.AMR)
}

// HasSecondFactor reports whether the authentication methods hold a second
// factor: an explicit "mfa", a hardware-bound key, or a one-time code beside a
// password. A code alone is one factor: it came by mail or SMS.
func HasSecondFactor(amr []string) bool {
	has := func(m string) bool { return slices.Contains(amr, m) }
	return has("mfa") || has("hwk") || has("otp") && has("pwd")
}

// APIKey is the authentication method of a caller who is a program with a key
// of its owner's; not one of RFC 8176.
const APIKey = "api_key"

// ByAPIKey reports whether a program is calling, not a person.
func (c *Caller) ByAPIKey() bool { return c != nil && slices.Contains(c.AMR, APIKey) }

type callerKey struct{}

// NewContext gives ctx the caller.
func NewContext(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// FromContext gives the caller of the request, signed in or not. It is absent
// in workers and in calls one process makes on its own account.
func FromContext(ctx context.Context) (*Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*Caller)
	return c, ok && c != nil
}

// Marshal gives the value of MetadataKey.
func (c *Caller) Marshal() []byte {
	m := &authzv1.Caller{
		Roles:        c.Roles,
		Permissions:  c.Permissions,
		Plan:         c.Plan,
		Features:     c.Features,
		Epoch:        c.Epoch,
		Amr:          c.AMR,
		ClientIp:     c.ClientIP,
		UserAgent:    c.UserAgent,
		RequestId:    c.RequestID,
		MfaPending:   c.MFAPending,
		Bearer:       c.Raw,
		Locale:       c.Locale,
		Device:       c.Device,
		LegalPending: c.LegalPending,
		RolesEpoch:   c.RolesEpoch,
		ApiCalls:     c.APICalls,
	}
	if !c.EntitledUntil.IsZero() {
		m.EntitledUntil = timestamppb.New(c.EntitledUntil)
	}
	if c.Impersonator != uuid.Nil {
		m.Impersonator = c.Impersonator[:]
	}
	if c.UserID != uuid.Nil {
		m.UserId = c.UserID[:]
	}
	if c.SessionID != uuid.Nil {
		m.SessionId = c.SessionID[:]
	}
	if !c.AuthTime.IsZero() {
		m.AuthTime = timestamppb.New(c.AuthTime)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		// Only text that is not UTF-8 does this. An unreadable value makes the
		// peer refuse the call, which is right: half a caller would be worse.
		return []byte{0xff}
	}
	return b
}

// Unmarshal reads what Marshal wrote.
func Unmarshal(b []byte) (*Caller, error) {
	if len(b) > maxCallerBytes {
		return nil, fmt.Errorf("caller of %d bytes", len(b))
	}
	var m authzv1.Caller
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("parse caller: %w", err)
	}
	c := &Caller{
		Roles:        m.GetRoles(),
		Permissions:  m.GetPermissions(),
		Plan:         m.GetPlan(),
		Features:     m.GetFeatures(),
		Epoch:        m.GetEpoch(),
		AMR:          m.GetAmr(),
		ClientIP:     m.GetClientIp(),
		UserAgent:    m.GetUserAgent(),
		RequestID:    m.GetRequestId(),
		MFAPending:   m.GetMfaPending(),
		Raw:          m.GetBearer(),
		Locale:       m.GetLocale(),
		Device:       m.GetDevice(),
		LegalPending: m.GetLegalPending(),
		RolesEpoch:   m.GetRolesEpoch(),
		APICalls:     m.ApiCalls,
	}
	var err error
	if c.UserID, err = optionalID(m.GetUserId()); err != nil {
		return nil, fmt.Errorf("parse caller's user: %w", err)
	}
	if c.SessionID, err = optionalID(m.GetSessionId()); err != nil {
		return nil, fmt.Errorf("parse caller's session: %w", err)
	}
	if c.Impersonator, err = optionalID(m.GetImpersonator()); err != nil {
		return nil, fmt.Errorf("parse caller's impersonator: %w", err)
	}
	if m.GetAuthTime() != nil {
		if err := m.GetAuthTime().CheckValid(); err != nil {
			return nil, fmt.Errorf("parse caller's auth time: %w", err)
		}
		c.AuthTime = m.GetAuthTime().AsTime()
	}
	if m.GetEntitledUntil() != nil {
		if err := m.GetEntitledUntil().CheckValid(); err != nil {
			return nil, fmt.Errorf("parse caller's entitlement: %w", err)
		}
		c.EntitledUntil = m.GetEntitledUntil().AsTime()
	}
	return c, nil
}

func optionalID(b []byte) (uuid.UUID, error) {
	if len(b) == 0 {
		return uuid.Nil, nil
	}
	u, err := uuid.FromBytes(b)
	if err != nil {
		return uuid.Nil, fmt.Errorf("read id: %w", err)
	}
	return u, nil
}
