package witness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/services/audit/notary"
)

// Config is the witness's environment.
type Config struct {
	boot.Base

	Addr       string `desc:"host:port of POST /add-checkpoint" env:"WITNESS_ADDR" envDefault:"127.0.0.1:5098"`
	Name       string `desc:"name in the witness's key" env:"WITNESS_NAME" envDefault:"manas360.local/witness"`
	DataDir    string `desc:"folder of what was signed last; the witness's own" env:"WITNESS_DATA_DIR" envDefault:".data/witness"`
	KeyFile    string `desc:"signing key; witness.key in the data folder when empty, made at the first start outside of production" env:"WITNESS_KEY_FILE"`
	LogOrigin  string `desc:"origin of the log it knows" env:"AUDIT_LOG_ORIGIN" envDefault:"manas360.local/audit"`
	LogKeyFile string `desc:"public key of that log; read once it is there" env:"AUDIT_PUBLIC_KEY_FILE" envDefault:".data/audit/log.key.pub"`
	PublicFile string `desc:"where the witness's public key is written outside of production; beside the key when empty" env:"WITNESS_PUBLIC_KEY_FILE"`
}

// Run serves until ctx ends.
func Run(ctx context.Context, p *boot.Process, c Config) error {
	if c.KeyFile == "" {
		c.KeyFile = filepath.Join(c.DataDir, "witness.key")
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	skey, vkey, err := notary.Key(c.KeyFile, c.Name, !p.Base.Production(), p.Rand)
	if err != nil {
		return err //nolint:wrapcheck // says which key
	}
	public, err := fnote.VKeyToCosignatureV1(vkey)
	if err != nil {
		return fmt.Errorf("witness key: %w", err)
	}
	if !p.Base.Production() {
		if err := notary.Publish(cmp.Or(c.PublicFile, c.KeyFile+".pub"), public); err != nil {
			return err //nolint:wrapcheck // says what
		}
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		return fmt.Errorf("witness key: %w", err)
	}
	k := &logKey{origin: c.LogOrigin, file: c.LogKeyFile}
	return p.ServeHTTP(ctx, c.Addr, New(signer, c.DataDir, k.find)) //nolint:wrapcheck // says what
}

// logKey is the key of the one log that is known. It is pinned when it is
// first read: a key that changes later needs a person and a restart.
type logKey struct {
	origin, file string

	mu       sync.Mutex // guards verifier
	verifier note.Verifier
}

func (k *logKey) find(origin string) (note.Verifier, error) {
	if origin != k.origin {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.verifier != nil {
		return k.verifier, nil
	}
	vkey, err := notary.ReadPublic(k.file)
	if errors.Is(err, fs.ErrNotExist) { // the log has not started yet
		return nil, nil
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	k.verifier = v
	return v, nil
}
