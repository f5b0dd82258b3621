package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

const (
	witnessTimeout  = 5 * time.Second
	witnessPatience = 700 * time.Millisecond // a checkpoint is published without the witness after this
	witnessEvery    = 5 * time.Second        // a witness that was away is asked again
	witnessAnswer   = 16 << 10
)

var (
	// errWitnessRefuses is a witness that saw another log than ours, or does not
	// know our key. A person must look.
	errWitnessRefuses = errors.New("the witness refuses")
	errStaleSize      = errors.New("the witness has another size")
)

// cosigner asks an independent witness to sign our checkpoints too, by C2SP
// tlog-witness.
type cosigner struct {
	url     string
	keyFile string // public key of the witness; it may be written after our start
	client  *http.Client

	mu       sync.Mutex // guards what follows
	verifier note.Verifier
	vkey     string
	size     int64 // what it signed last, as far as we know
}

func newWitness(c Config) *cosigner {
	if c.WitnessURL == "" {
		return nil
	}
	return &cosigner{url: strings.TrimSuffix(c.WitnessURL, "/"), keyFile: c.WitnessKeyFile, client: &http.Client{Timeout: witnessTimeout}}
}

// key is the witness's public key, nil until there is one.
func (w *cosigner) key() (note.Verifier, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.verifier != nil {
		return w.verifier, w.vkey, nil
	}
	vkey, err := notary.ReadPublic(w.keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err //nolint:wrapcheck // says what
	}
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return nil, "", fmt.Errorf("witness key: %w", err)
	}
	w.verifier, w.vkey = v, vkey
	return v, vkey, nil
}

// keepWitnessed has the newest checkpoint cosigned. Those that were published
// while the witness was away are covered by the next one it signs.
func (s *Service) keepWitnessed(ctx context.Context) error {
	said := ""
	for {
		next := s.signer.next()
		err := s.cosign(ctx)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if said != text {
			switch {
			case errors.Is(err, errWitnessRefuses):
				s.health.witnessRefuses(text)
				zerolog.Ctx(ctx).Error().Err(err).Msg("audit checkpoint refused by the witness")
			case err != nil && ctx.Err() == nil:
				zerolog.Ctx(ctx).Warn().Err(err).Msg("audit witness does not sign")
			case err == nil:
				zerolog.Ctx(ctx).Info().Msg("audit witness signs again")
			}
			said = text
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		case <-time.After(witnessEvery):
		}
	}
}

// cosign asks for the newest checkpoint, twice when the witness knows another
// size than we thought.
func (s *Service) cosign(ctx context.Context) error {
	verifier, _, err := s.witness.key()
	if err != nil {
		return err
	}
	if verifier == nil {
		return errors.New("the witness has no key yet")
	}
	c, err := newestCheckpoint(ctx, s.db.Pool, newestOfAll)
	if err != nil || c == nil || c.Lines != "" {
		return err
	}
	lines, err := s.submit(ctx, c, verifier)
	if errors.Is(err, errStaleSize) {
		lines, err = s.submit(ctx, c, verifier)
	}
	if err != nil {
		return err
	}
	if err := s.keepCosignature(ctx, c.Size, verifier.Name(), lines); err != nil {
		return err
	}
	s.signer.announce()
	return nil
}

func (s *Service) submit(ctx context.Context, c *storedCheckpoint, verifier note.Verifier) (string, error) {
	s.witness.mu.Lock()
	old := s.witness.size
	s.witness.mu.Unlock()
	if old > c.Size {
		return "", fmt.Errorf("%w: it has signed %d events, the log has signed %d", errWitnessRefuses, old, c.Size)
	}
	h, err := s.head(ctx)
	if err != nil {
		return "", err
	}
	var p []merkle.Hash
	if old > 0 {
		if p, err = merkle.Consistency(h.tree(), old, c.Size, tiles(ctx, s.db.Pool, h)); err != nil {
			return "", err //nolint:wrapcheck // says what
		}
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, hash := range p {
		body.WriteString(base64.StdEncoding.EncodeToString(hash[:]) + "\n")
	}
	body.WriteString("\n" + c.Note)
	status, answer, err := s.witness.post(ctx, body.Bytes())
	if err != nil {
		return "", err
	}
	return s.heard(c, verifier, old, status, answer)
}

func (w *cosigner) post(ctx context.Context, body []byte) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return 0, "", fmt.Errorf("ask the witness: %w", err)
	}
	res, err := w.client.Do(r)
	if err != nil {
		return 0, "", fmt.Errorf("ask the witness: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, witnessAnswer))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return 0, "", fmt.Errorf("read the witness's answer: %w", err)
	}
	return res.StatusCode, string(answer), nil
}

// heard judges the answer: the witness's own lines, and only if they verify.
func (s *Service) heard(c *storedCheckpoint, verifier note.Verifier, old int64, status int, answer string) (string, error) {
	switch status {
	case http.StatusOK:
	case http.StatusConflict:
		size, err := strconv.ParseInt(strings.TrimSuffix(answer, "\n"), 10, 64)
		if err != nil || size < 0 || size == old {
			return "", fmt.Errorf("%w: it has signed another root at %d events", errWitnessRefuses, old)
		}
		s.witness.mu.Lock()
		s.witness.size = size
		s.witness.mu.Unlock()
		return "", fmt.Errorf("%w: %d", errStaleSize, size)
	case http.StatusNotFound:
		return "", errors.New("the witness does not know this log yet")
	case http.StatusForbidden, http.StatusUnprocessableEntity:
		return "", fmt.Errorf("%w: status %d for %d events after %d", errWitnessRefuses, status, c.Size, old)
	default:
		return "", fmt.Errorf("the witness answers %d", status)
	}
	_, n, err := notary.Open(c.Note+answer, s.signer.verifier, verifier)
	if err != nil || !notary.SignedBy(n, verifier) {
		return "", fmt.Errorf("%w: its signature is wrong", errWitnessRefuses)
	}
	var lines strings.Builder
	for _, sig := range n.Sigs {
		if sig.Name == verifier.Name() && sig.Hash == verifier.KeyHash() {
			fmt.Fprintf(&lines, "— %s %s\n", sig.Name, sig.Base64)
		}
	}
	s.witness.mu.Lock()
	s.witness.size = c.Size
	s.witness.mu.Unlock()
	return lines.String(), nil
}
