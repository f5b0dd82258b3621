package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

const (
	signEvery  = time.Second     // at most one checkpoint
	lookEvery  = time.Second     // for what another replica appended
	coverLimit = 2 * time.Second // a request waits for a checkpoint
)

// errRefused is a head that is not signed: it does not follow from what was
// signed before. A person must look (deploy/runbook/audit-log.md).
var errRefused = errors.New("refused to sign")

// signer signs the head of the log. It trusts its own file more than the
// database: a database can be restored or rewritten, and a head that does not
// follow from the last one it signed is never signed.
type signer struct {
	origin   string
	key      note.Signer // nil: this process does not sign
	verifier note.Verifier
	vkey     string
	file     string // the last note it signed

	grown chan struct{}

	mu        sync.Mutex // guards what follows
	last      *notary.Checkpoint
	published chan struct{} // closed at the next checkpoint
}

func newSigner() *signer {
	return &signer{grown: make(chan struct{}, 1), published: make(chan struct{})}
}

// wake tells that the log may have grown.
func (g *signer) wake() {
	select {
	case g.grown <- struct{}{}:
	default: // it knows
	}
}

// next is closed when a checkpoint has been published.
func (g *signer) next() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.published
}

func (g *signer) announce() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.published)
	g.published = make(chan struct{})
}

// enable gives the signer its key and reads what it signed last.
func (g *signer) enable(c Config, mayMake bool, random interface{ Read([]byte) (int, error) }) error {
	keyFile := c.keyFile()
	skey, vkey, err := notary.Key(keyFile, c.LogOrigin, mayMake, random)
	if err != nil {
		return err //nolint:wrapcheck // says which key
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if mayMake {
		if err := notary.Publish(c.publicKeyFile(), vkey); err != nil {
			return err //nolint:wrapcheck // says what
		}
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("log key: %w", err)
	}
	key, err := note.NewSigner(skey)
	if err != nil {
		return fmt.Errorf("log key: %w", err)
	}
	g.file = filepath.Join(c.DataDir, "signed.note")
	raw, err := os.ReadFile(g.file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the first start: the newest checkpoint of the database stands in
	case err != nil:
		return fmt.Errorf("read the last signed note: %w", err)
	default:
		last, _, err := notary.Open(string(raw), verifier)
		if err != nil {
			return fmt.Errorf("the last signed note is not ours: %w", err)
		}
		g.last = &last
	}
	g.origin, g.verifier, g.vkey, g.key = c.LogOrigin, verifier, vkey, key
	return nil
}

// keepSigning signs the head whenever the log has grown, once a second at most.
func (s *Service) keepSigning(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	for {
		wait, err := s.sign(ctx)
		switch {
		case errors.Is(err, errRefused):
			s.health.refuse(err.Error())
			if said != err.Error() {
				zerolog.Ctx(ctx).Error().Err(err).Msg("audit checkpoint refused")
			}
			said = err.Error()
		case err != nil:
			return err
		}
		if wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.signer.grown:
		case <-tick.C:
		}
	}
}

// follows checks that the log whose head is h begins with what from says.
func follows(from notary.Checkpoint, h head, r merkle.Tiles, what string) error {
	tree := h.tree()
	if tree.N < from.N {
		return fmt.Errorf("%w: the log has %d events, %s %d", errRefused, tree.N, what, from.N)
	}
	p, err := merkle.Consistency(tree, from.N, tree.N, r)
	if err != nil {
		return fmt.Errorf("%w: no proof that the log follows from %s: %w", errRefused, what, err)
	}
	err = proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from.N), uint64(tree.N), raw(p), from.Hash[:], tree.Hash[:]) //nolint:gosec // sizes are not negative
	if err != nil {
		return fmt.Errorf("%w: at %d events the log is not %s: %w", errRefused, from.N, what, err)
	}
	return nil
}

func raw(hashes []merkle.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// endorse decides whether the head may be signed, and signs it. stored is the
// newest checkpoint of the database, nil if there is none. The note is on disk
// before anybody can see it. An empty note says that there is nothing to sign.
func (g *signer) endorse(h head, stored *storedCheckpoint, r merkle.Tiles) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if stored != nil {
		// Whoever signed it: that is the verifier's to judge.
		if err := follows(notary.Checkpoint{Tree: stored.tree()}, h, r, "the newest checkpoint"); err != nil {
			return "", err
		}
	}
	if g.last != nil {
		if err := follows(*g.last, h, r, "what was signed last"); err != nil {
			return "", err
		}
	}
	tree := h.tree()
	if tree.N == 0 || stored != nil && stored.Size == tree.N {
		return "", nil
	}
	c := notary.Checkpoint{Origin: g.origin, Tree: tree}
	text, err := notary.Sign(c, g.key)
	if err != nil {
		return "", err //nolint:wrapcheck // says what
	}
	if err := notary.Save(g.file, []byte(text)); err != nil {
		return "", err //nolint:wrapcheck // says what
	}
	g.last = &c
	return text, nil
}

// storedCheckpoint is a row of the checkpoints, with what the witness said.
type storedCheckpoint struct {
	Size     int64
	Root     []byte
	Note     string
	SignedAt time.Time
	Lines    string // of the witness; empty before it answered
}

func (c storedCheckpoint) tree() merkle.Tree {
	t := merkle.Tree{N: c.Size}
	copy(t.Hash[:], c.Root)
	return t
}

// text is the whole note: the log's signature, then the witness's.
func (c storedCheckpoint) text() string { return c.Note + c.Lines }

// lockKey names the one lease on signing: replicas sign in turn.
var lockKey = int64(leaseOf("manas audit checkpoint"))

func leaseOf(name string) uint64 {
	h := sha256.Sum256([]byte(name))
	var n uint64
	for _, b := range h[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}
