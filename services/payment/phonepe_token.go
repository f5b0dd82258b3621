package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenSource keeps PhonePe's OAuth token: fetched by one caller at a time,
// renewed at half its life, kept to its end when renewing fails.
type tokenSource struct {
	url    string
	form   string
	client *http.Client
	now    func() time.Time

	turn    chan struct{} // holds one; guards all below, and can be waited for with a context
	token   string
	renewAt time.Time
	expires time.Time
}

// renewPause is how long a failed renewal is not repeated while the old token lives.
const renewPause = 5 * time.Second

func newTokenSource(c PhonePe, client *http.Client, now func() time.Time) *tokenSource {
	endpoint := c.OAuthURL
	if endpoint == "" {
		endpoint = strings.TrimSuffix(c.BaseURL, "/") + "/v1/oauth/token"
	}
	form := url.Values{
		"client_id": {c.ClientID}, "client_version": {c.ClientVersion},
		"client_secret": {c.ClientSecret}, "grant_type": {"client_credentials"},
	}
	return &tokenSource{url: endpoint, form: form.Encode(), client: client, now: now, turn: make(chan struct{}, 1)}
}

// get gives a token that lives, fetching one if it must.
func (s *tokenSource) get(ctx context.Context) (string, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the token: %w", ctx.Err())
	}
	defer func() { <-s.turn }()
	now := s.now()
	if s.token != "" && now.Before(s.renewAt) {
		return s.token, nil
	}
	err := s.fetch(ctx, now)
	if err == nil {
		return s.token, nil
	}
	if s.token != "" && now.Before(s.expires) {
		s.renewAt = now.Add(renewPause)
		return s.token, nil
	}
	return "", err
}

// refuse drops a token the provider did not take; a newer one stays.
func (s *tokenSource) refuse(ctx context.Context, tok string) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return // whoever comes next is refused once more
	}
	defer func() { <-s.turn }()
	if s.token == tok {
		s.token = ""
	}
}

func (s *tokenSource) fetch(ctx context.Context, now time.Time) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(s.form))
	if err != nil {
		return fmt.Errorf("make the token request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	a, err := do(s.client, req)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("token answered %d %s", a.status, errorCode(a.body))
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresAt   int64  `json:"expires_at"` // seconds
	}
	if err := json.Unmarshal(a.body, &t); err != nil {
		return errors.New("the token's answer cannot be read") // its text may hold the token
	}
	expires := time.Unix(t.ExpiresAt, 0)
	if t.AccessToken == "" || !expires.After(now) {
		return errors.New("the token's answer has no token that lives")
	}
	s.token, s.expires = t.AccessToken, expires
	s.renewAt = now.Add(expires.Sub(now) / 2)
	return nil
}
