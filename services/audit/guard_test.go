package audit

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/boot"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

// TestGuard starts what the process starts, and asks for proofs of events just
// recorded: each is under a checkpoint that log and witness signed, within two
// seconds.
func TestGuard(t *testing.T) {
	helper, _ := openLog(t)
	url := witnessed(t, helper) // knows helper's key, which s shares
	dir := t.TempDir()
	p := boot.NewProcess(t.Context(), "audit", boot.Base{NodeEnv: "test"}, zerolog.Nop(), time.Now, rand.Reader)
	s := New(helper.db, secret, time.Now)
	in := &inboxServer{Service: s, peer: func(context.Context) string { return "auth" }}
	c := Config{
		DataDir: dir, LogKeyFile: filepath.Join(filepath.Dir(helper.signer.file), "log.key"), LogOrigin: origin,
		WitnessURL: url, WitnessKeyFile: helper.witness.keyFile, VerifyRate: 5000,
	}
	if err := s.guard(p, c); err != nil {
		t.Fatal(err)
	}
	api := &proofServer{Service: s}
	var took []time.Duration
	for range 5 {
		e := put(t, in, 3)[0]
		began := time.Now()
		r, err := api.GetInclusionProof(auditor(t), proofOf(e))
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		cp, err := api.GetCheckpoint(t.Context(), &auditv1.GetCheckpointRequest{})
		if err != nil {
			t.Fatal(err)
		}
		cp.Note = r.GetCheckpoint()
		if _, n := both(t, cp); len(n.Sigs) != 2 {
			t.Errorf("%d signatures, want the log's and the witness's", len(n.Sigs))
		}
	}
	t.Logf("proof after %s", took)
	if worst := slices.Max(took); worst > coverLimit {
		t.Errorf("a proof took %s", worst)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
