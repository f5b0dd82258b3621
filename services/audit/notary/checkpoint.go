// Package notary reads, signs and checks what a log says of itself: C2SP
// tlog-checkpoint notes and the keys that sign them.
package notary

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"

	tdlog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
)

// MaxNote is the longest note that is read.
const MaxNote = 64 << 10

var (
	// ErrMalformed is text that is no checkpoint.
	ErrMalformed = errors.New("not a checkpoint")
	// ErrUnsigned is a checkpoint without a signature of the log's key.
	ErrUnsigned = errors.New("not signed by the log")
)

// Checkpoint is the head of a log: how long it is, and the root of its tree.
type Checkpoint struct {
	Origin string
	merkle.Tree
}

// Body is the text that is signed.
func (c Checkpoint) Body() string {
	return string(tdlog.Checkpoint{Origin: c.Origin, Size: uint64(c.N), Hash: c.Hash[:]}.Marshal()) //nolint:gosec // a size is not negative
}

// Parse reads the body of a checkpoint: three lines and no extension, written
// the one way there is.
func Parse(body string) (Checkpoint, error) {
	var cp tdlog.Checkpoint
	rest, err := cp.Unmarshal([]byte(body))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(rest) > 0 || cp.Size > math.MaxInt64 || len(cp.Hash) != merkle.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: size, root or extension", ErrMalformed)
	}
	c := Checkpoint{Origin: cp.Origin, Tree: merkle.Tree{N: int64(cp.Size), Hash: merkle.Hash(cp.Hash)}}
	if c.Body() != body { // leading zeros, loose base64
		return Checkpoint{}, fmt.Errorf("%w: not as it would be written", ErrMalformed)
	}
	return c, nil
}

// Open checks a signed checkpoint and reads it. The note tells which of the
// others signed too; signatures of unknown keys count for nothing.
func Open(text string, log note.Verifier, others ...note.Verifier) (Checkpoint, *note.Note, error) {
	if len(text) > MaxNote {
		return Checkpoint{}, nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(text))
	}
	n, err := note.Open([]byte(text), note.VerifierList(append([]note.Verifier{log}, others...)...))
	var (
		unverified *note.UnverifiedNoteError
		invalid    *note.InvalidSignatureError
	)
	switch {
	case errors.As(err, &unverified), errors.As(err, &invalid):
		return Checkpoint{}, nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
	case err != nil:
		return Checkpoint{}, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case !SignedBy(n, log):
		return Checkpoint{}, nil, ErrUnsigned
	}
	c, err := Parse(n.Text)
	return c, n, err
}

// SignedBy reports whether a verified note bears a signature of v.
func SignedBy(n *note.Note, v note.Verifier) bool {
	for _, s := range n.Sigs {
		if s.Name == v.Name() && s.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

// Exact reports whether the signatures stand as they were written: a base64
// text may end in bits that say nothing, and one of those may have been turned.
func Exact(n *note.Note) bool {
	for _, s := range append(n.Sigs[:len(n.Sigs):len(n.Sigs)], n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return false
		}
	}
	return true
}

// Sign gives the note of a checkpoint.
func Sign(c Checkpoint, signer note.Signer) (string, error) {
	b, err := note.Sign(&note.Note{Text: c.Body()}, signer)
	if err != nil {
		return "", fmt.Errorf("sign the checkpoint of size %d: %w", c.N, err)
	}
	return string(b), nil
}

// Lines are the signature lines of a note.
func Lines(text string) string {
	_, lines, _ := strings.Cut(text, "\n\n")
	return lines
}
