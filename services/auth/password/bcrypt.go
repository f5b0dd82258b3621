package password

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	maxBcryptCost  = 15 // 2 s on a slow machine; each step more doubles it
	maxBcryptBytes = 72 // bcrypt reads no more, and the old system let it
)

func isBcrypt(phc string) bool {
	return strings.HasPrefix(phc, "$2a$") || strings.HasPrefix(phc, "$2b$") || strings.HasPrefix(phc, "$2y$")
}

func checkBcrypt(phc string) error {
	const length = 60
	if len(phc) != length {
		return ErrMalformed
	}
	cost, err := bcrypt.Cost([]byte(phc))
	if err != nil || cost > maxBcryptCost {
		return ErrMalformed
	}
	return nil
}

func verifyBcrypt(password, phc string) (bool, error) {
	if err := checkBcrypt(phc); err != nil {
		return false, err
	}
	b := []byte(password)
	err := bcrypt.CompareHashAndPassword([]byte(phc), b[:min(len(b), maxBcryptBytes)])
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return false, nil
	default:
		return false, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
}
