package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
)

const tokenType = "at+jwt" // RFC 9068

// Claims is the payload of an access token, contract section 2. Sub is
// id.Format("usr", …), Sid id.Format("ses", …); times are Unix seconds. Nothing
// that names a person stands in it.
type Claims struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	ClientID     string   `json:"client_id,omitempty"` // RFC 9068 demands one; absent from tokens of older processes
	Subject      string   `json:"sub"`
	SessionID    string   `json:"sid"`
	JTI          string   `json:"jti"`
	IssuedAt     int64    `json:"iat"`
	NotBefore    int64    `json:"nbf"`
	Expires      int64    `json:"exp"`
	Roles        []string `json:"roles"`
	Permissions  []string `json:"perms"`
	Plan         string   `json:"plan"`
	Features     []string `json:"feats"`
	Epoch        int64    `json:"ep"`
	AMR          []string `json:"amr"`
	AuthTime     int64    `json:"auth_time"`
	MFAPending   bool     `json:"mfa_pending,omitempty"`   // a role demands a factor the session lacks
	LegalPending bool     `json:"legal_pending,omitempty"` // the current legal documents are not accepted yet
	RolesEpoch   int64    `json:"re,omitempty"`            // role-definition epoch at mint
	Actor        *Actor   `json:"act,omitempty"`           // only under impersonation

	// Absent from tokens of older processes, which say less and stay good.
	EntitledUntil int64  `json:"eexp,omitempty"`  // when plan and features end; 0: never
	APICalls      *int64 `json:"calls,omitempty"` // a month's calls with an API key, -1 for no end; only in their tokens
}

// Actor is who acts in the subject's name, RFC 8693 section 4.1.
type Actor struct {
	Subject string `json:"sub"`
}

// Caller turns verified claims into a caller. Address, user agent, request id
// and locale are the edge's to add. It shares the claims' slices.
func (c *Claims) Caller() (*Caller, error) {
	user, err := id.Parse("usr", c.Subject)
	if err != nil {
		return nil, fail.New(fail.InvalidToken, "invalid token").Wrap(fmt.Errorf("parse sub: %w", err))
	}
	session, err := id.Parse("ses", c.SessionID)
	if err != nil {
		return nil, fail.New(fail.InvalidToken, "invalid token").Wrap(fmt.Errorf("parse sid: %w", err))
	}
	var impersonator uuid.UUID
	if c.Actor != nil {
		if impersonator, err = id.Parse("usr", c.Actor.Subject); err != nil {
			return nil, fail.New(fail.InvalidToken, "invalid token").Wrap(fmt.Errorf("parse act: %w", err))
		}
	}
	var until time.Time
	if c.EntitledUntil != 0 {
		until = time.Unix(c.EntitledUntil, 0).UTC()
	}
	return &Caller{
		UserID:       user,
		Impersonator: impersonator,
		RolesEpoch:   c.RolesEpoch,
		SessionID:    session,
		Roles:        c.Roles,
		Permissions:  c.Permissions,
		Plan:         c.Plan,
		Features:     c.Features,
		Epoch:        c.Epoch,
		AMR:          c.AMR,
		AuthTime:     time.Unix(c.AuthTime, 0).UTC(),
		MFAPending:   c.MFAPending,
		LegalPending: c.LegalPending,

		EntitledUntil: until,
		APICalls:      c.APICalls,
	}, nil
}

// Sign makes an access token of the claims. The key must be private, hold a kid
// of [A-Za-z0-9._-]{1,64} and be Ed25519 (EdDSA) or P-256 (ES256).
func Sign(c Claims, key jwk.Key) (string, error) {
	alg, ok := algorithm(key)
	if !ok || !validKid(key.KeyID()) {
		return "", fmt.Errorf("sign token: unfit key %q", key.KeyID())
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	h := jws.NewHeaders()
	if err := h.Set(jws.TypeKey, tokenType); err != nil {
		return "", fmt.Errorf("set token type: %w", err)
	}
	raw, err := jws.Sign(payload, jws.WithKey(alg, key, jws.WithProtectedHeaders(h)))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return string(raw), nil
}

// algorithm is decided by the kind of key, never by what a token says.
func algorithm(key jwk.Key) (jwa.SignatureAlgorithm, bool) {
	k, ok := key.(interface {
		Crv() jwa.EllipticCurveAlgorithm
	})
	switch {
	case ok && key.KeyType() == jwa.OKP && k.Crv() == jwa.Ed25519:
		return jwa.EdDSA, true
	case ok && key.KeyType() == jwa.EC && k.Crv() == jwa.P256:
		return jwa.ES256, true
	default:
		return "", false
	}
}

// validKid keeps key ids to what JSON never escapes.
func validKid(kid string) bool {
	for _, r := range kid {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return false
		}
	}
	return kid != "" && len(kid) <= 64
}
