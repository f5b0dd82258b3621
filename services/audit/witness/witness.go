// Package witness is an independent witness of logs, by C2SP tlog-witness: it
// signs a log's checkpoint if that follows from the last one it signed, and
// never two that do not agree. It knows nothing of what the log holds.
package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

const (
	maxBody   = notary.MaxNote
	maxHashes = 63 // C2SP tlog-witness
)

// Witness signs checkpoints of the logs it knows. Safe for concurrent use.
type Witness struct {
	signer note.Signer
	dir    string
	log    func(origin string) (note.Verifier, error) // nil for a log that is not known

	mu sync.Mutex // one checkpoint at a time: what was signed last must not move under a check
}

// New makes a witness that keeps what it signed last in dir. log gives the key
// of a log by its origin, nil if the witness does not know it.
func New(signer note.Signer, dir string, log func(origin string) (note.Verifier, error)) *Witness {
	return &Witness{signer: signer, dir: dir, log: log}
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	size   int64 // told with 409
	why    string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.why) }

// ServeHTTP answers POST /add-checkpoint and GET /livez.
func (w *Witness) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	switch {
	case req.URL.Path == "/livez" && req.Method == http.MethodGet:
		res.WriteHeader(http.StatusOK)
		return
	case req.URL.Path != "/add-checkpoint":
		http.NotFound(res, req)
		return
	case req.Method != http.MethodPost:
		res.Header().Set("Allow", http.MethodPost)
		http.Error(res, "POST only", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(res, req.Body, maxBody))
	if err != nil {
		http.Error(res, "the body is too long or broke off", http.StatusBadRequest)
		return
	}
	lines, err := w.Add(body)
	var no *refusal
	switch {
	case errors.As(err, &no):
		zerolog.Ctx(req.Context()).Warn().Err(err).Msg("checkpoint refused")
		if no.status == http.StatusConflict {
			res.Header().Set("Content-Type", "text/x.tlog.size")
			res.WriteHeader(no.status)
			_, _ = fmt.Fprintf(res, "%d\n", no.size) // the caller may have gone
			return
		}
		http.Error(res, no.why, no.status)
	case err != nil:
		zerolog.Ctx(req.Context()).Error().Err(err).Msg("checkpoint not signed")
		http.Error(res, "the witness cannot sign now", http.StatusInternalServerError)
	default:
		res.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(res, lines) // as above
	}
}

// request is what a log asks.
type request struct {
	old    int64
	proof  [][]byte
	note   string
	origin string
}

var errRequest = errors.New("malformed request")

// parse reads the body of add-checkpoint.
func parse(body []byte) (request, error) {
	top, text, ok := strings.Cut(string(body), "\n\n")
	if !ok {
		return request{}, fmt.Errorf("%w: no empty line", errRequest)
	}
	lines := strings.Split(top, "\n")
	size, ok := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || old < 0 || strconv.FormatInt(old, 10) != size {
		return request{}, fmt.Errorf("%w: the old size", errRequest)
	}
	r := request{old: old, note: text}
	if len(lines)-1 > maxHashes {
		return request{}, fmt.Errorf("%w: %d hashes", errRequest, len(lines)-1)
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != merkle.HashSize {
			return request{}, fmt.Errorf("%w: a hash", errRequest)
		}
		r.proof = append(r.proof, h)
	}
	if r.origin, _, ok = strings.Cut(text, "\n"); !ok || r.origin == "" {
		return request{}, fmt.Errorf("%w: no checkpoint", errRequest)
	}
	return r, nil
}

// Add checks a request of add-checkpoint and gives the signature lines. What
// is signed is on disk before.
func (w *Witness) Add(body []byte) (string, error) {
	r, err := parse(body)
	if err != nil {
		return "", &refusal{status: http.StatusBadRequest, why: err.Error()}
	}
	verifier, err := w.log(r.origin)
	if err != nil {
		return "", err
	}
	if verifier == nil {
		return "", &refusal{status: http.StatusNotFound, why: "unknown log"}
	}
	c, n, err := notary.Open(r.note, verifier)
	switch {
	case errors.Is(err, notary.ErrUnsigned):
		return "", &refusal{status: http.StatusForbidden, why: "not signed by the log"}
	case err != nil || c.Origin != r.origin:
		return "", &refusal{status: http.StatusBadRequest, why: "malformed checkpoint"}
	case r.old > c.N:
		return "", &refusal{status: http.StatusBadRequest, why: "the old size is beyond the checkpoint"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, err := w.last(verifier, r.origin)
	if err != nil {
		return "", err
	}
	if err := agrees(last, c, r); err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs}, w.signer)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if err := notary.Save(w.file(r.origin), signed); err != nil {
		return "", err //nolint:wrapcheck // says what
	}
	return own(string(signed), w.signer.Name(), n), nil
}

// agrees says why c does not follow from what was signed last.
func agrees(last, c notary.Checkpoint, r request) error {
	switch {
	case r.old != last.N:
		return &refusal{status: http.StatusConflict, size: last.N, why: fmt.Sprintf("old size %d, signed last %d", r.old, last.N)}
	case c.N == last.N && c.N > 0 && c.Hash != last.Hash:
		return &refusal{status: http.StatusConflict, size: last.N, why: fmt.Sprintf("another root at size %d", c.N)}
	case c.N == 0 && c.Hash != merkle.Root(nil), r.old == 0 && len(r.proof) > 0:
		return &refusal{status: http.StatusUnprocessableEntity, why: "the proof is not empty"}
	case r.old == 0:
		return nil
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(r.old), uint64(c.N), r.proof, last.Hash[:], c.Hash[:]) //nolint:gosec // sizes are not negative
	if err != nil {
		return &refusal{status: http.StatusUnprocessableEntity, why: fmt.Sprintf("from %d to %d: %v", r.old, c.N, err)}
	}
	return nil
}

// own cuts the witness's line out of the signed note.
func own(signed, name string, before *note.Note) string {
	var out strings.Builder
	known := map[string]bool{}
	for _, s := range before.Sigs {
		known[s.Base64] = true
	}
	for line := range strings.Lines(notary.Lines(signed)) {
		rest, ok := strings.CutPrefix(line, "— "+name+" ")
		if ok && !known[strings.TrimSuffix(rest, "\n")] {
			out.WriteString(line)
		}
	}
	return out.String()
}

// last is what was signed last of a log, empty if nothing was. A file that
// cannot be read is an error: starting over would let a log fork.
func (w *Witness) last(verifier note.Verifier, origin string) (notary.Checkpoint, error) {
	raw, err := os.ReadFile(w.file(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return notary.Checkpoint{Origin: origin}, nil
	}
	if err != nil {
		return notary.Checkpoint{}, fmt.Errorf("read what was signed last: %w", err)
	}
	c, _, err := notary.Open(string(bytes.TrimLeft(raw, "\n")), verifier)
	if err != nil {
		return notary.Checkpoint{}, fmt.Errorf("what was signed last of %s: %w", origin, err)
	}
	return c, nil
}

func (w *Witness) file(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(w.dir, hex.EncodeToString(sum[:8])+".note")
}
