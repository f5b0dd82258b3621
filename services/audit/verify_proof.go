package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	fnote "github.com/transparency-dev/formats/note"
	tproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

// maxProofFile is far more than a proof of any log and its event need.
const maxProofFile = 1 << 20

var errProof = errors.New("the proof does not hold")

// Proof is what a proof file proves.
type Proof struct {
	LeafIndex, TreeSize int64
	Origin              string
	Event               bool // the event's own bytes were in the file, and are the leaf
	Witnessed           bool
}

// proofFile is the answer of GET /audit/events/{id}/proof, as it came, and
// from ?view=RAW the canonical bytes.
type proofFile struct {
	LeafIndex  string   `json:"leafIndex"`
	TreeSize   string   `json:"treeSize"`
	LeafHash   []byte   `json:"leafHash"`
	Hashes     [][]byte `json:"hashes"`
	Checkpoint string   `json:"checkpoint"`
	Canonical  []byte   `json:"canonical"`

	index, size int64
}

// CheckProof verifies a proof without the log: a proof as the API answers it,
// or a C2SP .tlog-proof whose extra data are the canonical bytes. canonical,
// when given, must be the event's bytes. witnessKey may be empty.
func CheckProof(file, canonical []byte, origin, logKey, witnessKey string) (Proof, error) {
	if len(file) > maxProofFile {
		return Proof{}, fmt.Errorf("%w: %d bytes", errProof, len(file))
	}
	p, err := readProof(file)
	if err != nil {
		return Proof{}, err
	}
	if canonical == nil {
		canonical = p.Canonical
	}
	log, err := note.NewVerifier(logKey)
	if err != nil {
		return Proof{}, fmt.Errorf("log key: %w", err)
	}
	var others []note.Verifier
	if witnessKey != "" {
		w, err := fnote.NewVerifierForCosignatureV1(witnessKey)
		if err != nil {
			return Proof{}, fmt.Errorf("witness key: %w", err)
		}
		others = append(others, w)
	}
	c, n, err := notary.Open(p.Checkpoint, log, others...)
	if err != nil {
		return Proof{}, fmt.Errorf("%w: checkpoint: %w", errProof, err)
	}
	leaf := p.LeafHash
	if canonical != nil {
		h := merkle.LeafHash(canonical)
		if leaf != nil && !bytes.Equal(leaf, h[:]) {
			return Proof{}, fmt.Errorf("%w: the leaf hash is not that of the event's bytes", errProof)
		}
		leaf = h[:]
	}
	switch {
	case c.Origin != origin:
		return Proof{}, fmt.Errorf("%w: the checkpoint is of %s", errProof, c.Origin)
	case p.size >= 0 && p.size != c.N:
		return Proof{}, fmt.Errorf("%w: it is for %d events, the checkpoint for %d", errProof, p.size, c.N)
	case leaf == nil:
		return Proof{}, fmt.Errorf("%w: there is neither a leaf hash nor the event's bytes", errProof)
	case len(leaf) != merkle.HashSize:
		return Proof{}, fmt.Errorf("%w: a leaf hash of %d bytes", errProof, len(leaf))
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.index), uint64(c.N), leaf, p.Hashes, c.Hash[:]); err != nil { //nolint:gosec // not negative
		return Proof{}, fmt.Errorf("%w: %w", errProof, err)
	}
	if canonical != nil {
		if e, err := derive(canonical); err != nil || e.Seq != p.index+1 {
			return Proof{}, fmt.Errorf("%w: the event says it stands at %d, the proof at %d", errProof, e.Seq, p.index+1)
		}
	}
	return Proof{
		LeafIndex: p.index, TreeSize: c.N, Origin: c.Origin, Event: canonical != nil,
		Witnessed: len(others) > 0 && notary.SignedBy(n, others[0]),
	}, nil
}

func readProof(file []byte) (proofFile, error) {
	if bytes.HasPrefix(file, []byte("c2sp.org/tlog-proof@")) {
		var t tproof.TLogProof
		if err := t.Unmarshal(file); err != nil {
			return proofFile{}, fmt.Errorf("%w: malformed .tlog-proof: %w", errProof, err)
		}
		if t.Index > math.MaxInt64 {
			return proofFile{}, fmt.Errorf("%w: index %d", errProof, t.Index)
		}
		p := proofFile{index: int64(t.Index), size: -1, Checkpoint: string(t.Checkpoint), Canonical: t.ExtraData}
		for _, h := range t.Hashes {
			p.Hashes = append(p.Hashes, h[:])
		}
		return p, nil
	}
	var p proofFile
	if err := json.Unmarshal(file, &p); err != nil {
		return proofFile{}, fmt.Errorf("%w: malformed JSON: %w", errProof, err)
	}
	var err error
	if p.index, err = strconv.ParseInt(p.LeafIndex, 10, 64); err != nil || p.index < 0 {
		return proofFile{}, fmt.Errorf("%w: leafIndex %q", errProof, p.LeafIndex)
	}
	if p.size, err = strconv.ParseInt(p.TreeSize, 10, 64); err != nil || p.size < 1 {
		return proofFile{}, fmt.Errorf("%w: treeSize %q", errProof, p.TreeSize)
	}
	return p, nil
}

// EventBytes reads the canonical bytes out of an event as ?view=RAW answers it.
func EventBytes(file []byte) ([]byte, error) {
	var e struct {
		Canonical string `json:"canonical"`
	}
	if err := json.Unmarshal(file, &e); err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(e.Canonical)
	if err != nil || len(b) == 0 {
		return nil, errors.New("read the event: it has no canonical bytes; ask for it with ?view=RAW")
	}
	return b, nil
}
