package notary

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Key reads the private key in a file, PRIVATE+KEY+name+…, as note.GenerateKey
// writes it. With mayMake, a file that is missing is made, with a fresh key of
// that name.
func Key(file, name string, mayMake bool, random io.Reader) (skey, vkey string, err error) {
	file = filepath.Clean(file)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && mayMake {
		skey, _, err := note.GenerateKey(random, name)
		if err != nil {
			return "", "", fmt.Errorf("make a key: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", "", fmt.Errorf("make the folder of the key: %w", err)
		}
		if err := Save(file, []byte(skey+"\n")); err != nil {
			return "", "", err
		}
		raw = []byte(skey)
	} else if err != nil {
		return "", "", fmt.Errorf("read the key: %w", err)
	}
	skey = strings.TrimSpace(string(raw))
	vkey, err = publicKey(skey)
	if err != nil {
		return "", "", fmt.Errorf("key in %s: %w", filepath.Base(file), err)
	}
	if got, _, _ := strings.Cut(vkey, "+"); got != name {
		return "", "", fmt.Errorf("key in %s is of %s, not of %s", filepath.Base(file), got, name)
	}
	return skey, vkey, nil
}

// Publish writes a public key, for those who check.
func Publish(file, vkey string) error {
	file = filepath.Clean(file)
	if old, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(old)) == vkey {
		return nil
	}
	if err := Save(file, []byte(vkey+"\n")); err != nil {
		return err
	}
	if err := os.Chmod(file, 0o644); err != nil { //nolint:gosec // it is public
		return fmt.Errorf("publish the key: %w", err)
	}
	return nil
}

// ReadPublic reads a public key that Publish wrote.
func ReadPublic(file string) (string, error) {
	raw, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "", fmt.Errorf("read the public key: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// publicKey derives a verifier key from a private one.
func publicKey(skey string) (string, error) {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return "", err //nolint:wrapcheck // by the caller
	}
	parts := strings.SplitN(skey, "+", 5) // base64 may hold a plus
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize { // NewSigner knows but one algorithm
		return "", errors.New("malformed")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("malformed")
	}
	return note.NewEd25519VerifierKey(signer.Name(), public) //nolint:wrapcheck // by the caller
}

// Save replaces a file whole: after a crash it holds the old bytes or the new,
// and once Save has returned nil it holds the new.
func Save(file string, b []byte) (err error) {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return fmt.Errorf("save %s: %w", filepath.Base(file), err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // it was never the file
			err = fmt.Errorf("save %s: %w", filepath.Base(file), err)
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err //nolint:wrapcheck // above
	}
	d, err := os.Open(dir) //nolint:gosec // the folder of our own file
	if err != nil {
		return err //nolint:wrapcheck // above
	}
	return errors.Join(d.Sync(), d.Close())
}
