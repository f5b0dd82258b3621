package admin

import "errors"

// Validate refuses to start without the two names that keep other people's
// tokens out.
func (c *Config) Validate() error {
	if c.TokenIssuer == "" || c.TokenAudience == "" {
		return errors.New("TOKEN_ISSUER, TOKEN_AUDIENCE: must not be empty")
	}
	return nil
}
