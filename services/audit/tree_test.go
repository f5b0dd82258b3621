package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
	"github.com/manas360/platform/services/audit/notary"
	"github.com/manas360/platform/services/audit/witness"
)

const origin = "manas360.local/audit"

// logger makes a service that signs, on db.
func logger(tb testing.TB, db *pg.DB, dir, keyFile string) (*Service, *inboxServer) {
	tb.Helper()
	s := New(db, secret, time.Now)
	if err := s.signer.enable(Config{DataDir: dir, LogKeyFile: keyFile, LogOrigin: origin}, true, rand.Reader); err != nil {
		tb.Fatal(err)
	}
	return s, &inboxServer{Service: s, peer: func(context.Context) string { return "auth" }}
}

func openLog(tb testing.TB) (*Service, *inboxServer) {
	tb.Helper()
	return logger(tb, pgtest.New(tb, "audit", migrations.For("audit")), tb.TempDir(), "")
}

func batch(n int) []*eventv1.Event {
	out := make([]*eventv1.Event, n)
	for i := range out {
		out[i] = event("session.opened", fmt.Sprintf("usr_%d", i), time.Now(), fmt.Sprintf("usr_%d", i))
	}
	return out
}

func put(tb testing.TB, in *inboxServer, n int) []*eventv1.Event {
	tb.Helper()
	events := batch(n)
	if _, err := in.Deliver(tb.Context(), &eventv1.DeliverRequest{Events: events}); err != nil {
		tb.Fatalf("deliver: %v", err)
	}
	return events
}

// mustSign signs as soon as the second is over.
func mustSign(tb testing.TB, s *Service) {
	tb.Helper()
	for range 100 {
		wait, err := s.sign(tb.Context())
		if err != nil {
			tb.Fatalf("sign: %v", err)
		}
		if wait == 0 {
			return
		}
		select {
		case <-time.After(wait):
		case <-tb.Context().Done():
		}
	}
	tb.Fatal("never signed")
}

// anew forgets when the newest checkpoint was signed, so that a test need not
// wait out the second.
func anew(tb testing.TB, s *Service) {
	tb.Helper()
	alter(tb, s, `UPDATE audit.checkpoint SET signed_at = signed_at - interval '1 hour'`)
}

func alter(tb testing.TB, s *Service, sql string, args ...any) {
	tb.Helper()
	if _, err := s.db.Pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatal(err)
	}
}

// allLeaves reads the log's leaves in its order.
func allLeaves(tb testing.TB, s *Service) [][]byte {
	tb.Helper()
	rows, err := s.db.Pool.Query(tb.Context(), `SELECT leaf_hash FROM audit.event ORDER BY seq`)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	var out [][]byte
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			tb.Fatal(err)
		}
		out = append(out, b)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}

// judge has transparency-dev's reference tree compute the root.
func judge(tb testing.TB, s *Service) {
	tb.Helper()
	h, err := s.head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	leaves := allLeaves(tb, s)
	ref := testonly.New(rfc6962.DefaultHasher)
	ref.Append(leaves...)
	root := h.tree().Hash
	if h.Size != int64(len(leaves)) || h.Edge.Size() != h.Size || !cmp.Equal(root[:], ref.Hash()) {
		tb.Errorf("head: %d events, tree of %d, root %x; the log has %d, root %x", h.Size, h.Edge.Size(), root, len(leaves), ref.Hash())
	}
	for _, f := range faults(tb, s, s.db.Pool) {
		tb.Errorf("verifier: %s", f)
	}
}

func eventID(e *eventv1.Event) string { return id.Format("evt", uuid.UUID(e.GetId())) }

// TestProofs has the proofs of the API checked by others' code, from the text
// that a client would have.
func TestProofs(t *testing.T) {
	s, in := openLog(t)
	p := &proofServer{Service: s}
	var events []*eventv1.Event
	for _, n := range []int{1, 5, 700, 300} {
		events = append(events, put(t, in, n)...)
		anew(t, s)
		mustSign(t, s)
	}
	judge(t, s)
	cp, err := p.GetCheckpoint(t.Context(), &auditv1.GetCheckpointRequest{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(cp.GetPublicKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 255, 256, 700, len(events) - 1} {
		r, err := p.GetInclusionProof(auditor(t), &auditv1.GetInclusionProofRequest{Id: eventID(events[i])})
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := notary.Open(r.GetCheckpoint(), v)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := (&publicServer{Service: s}).GetEvent(auditor(t), &auditv1.GetEventRequest{Id: eventID(events[i]), View: auditv1.GetEventRequest_RAW})
		if err != nil {
			t.Fatal(err)
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(raw.GetEvent().GetCanonical())
		if r.GetLeafIndex() != int64(i) || r.GetTreeSize() != c.N || !cmp.Equal(leaf, r.GetLeafHash()) {
			t.Errorf("event %d: index %d, size %d, leaf %x, want %x", i, r.GetLeafIndex(), r.GetTreeSize(), r.GetLeafHash(), leaf)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), uint64(c.N), leaf, r.GetHashes(), c.Hash[:]); err != nil {
			t.Errorf("event %d: %v", i, err)
		}
	}
	ref := testonly.New(rfc6962.DefaultHasher)
	ref.Append(allLeaves(t, s)...)
	for _, r := range [][2]int64{{1, 1}, {1, 1006}, {6, 706}, {255, 257}, {256, 512}, {1006, 1006}} {
		out, err := p.GetConsistencyProof(t.Context(), &auditv1.GetConsistencyProofRequest{From: r[0], To: r[1]})
		if err != nil {
			t.Fatalf("%v: %v", r, err)
		}
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(r[0]), uint64(r[1]), out.GetHashes(), ref.HashAt(uint64(r[0])), ref.HashAt(uint64(r[1])))
		if err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, r := range [][2]int64{{0, 5}, {-1, 5}, {6, 5}, {1, 1_000_000}, {1 << 62, 1 << 62}} {
		if _, err := p.GetConsistencyProof(t.Context(), &auditv1.GetConsistencyProofRequest{From: r[0], To: r[1]}); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%v: %v, want INVALID_ARGUMENT", r, err)
		}
	}
	for _, bad := range []string{"evt_nonsense", id.Format("evt", uuid.Must(uuid.NewV7()))} {
		if _, err := p.GetInclusionProof(auditor(t), &auditv1.GetInclusionProofRequest{Id: bad}); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s: %v, want NOT_FOUND", bad, err)
		}
	}
}

// TestProofWaits asks for the proof of an event before it is signed.
func TestProofWaits(t *testing.T) {
	s, in := openLog(t)
	p := &proofServer{Service: s}
	e := put(t, in, 1)[0]
	_, err := p.GetInclusionProof(auditor(t), &auditv1.GetInclusionProofRequest{Id: eventID(e)})
	if f, ok := fail.As(err); !ok || !fail.Is(err, fail.Unavailable) || f.Retry == 0 {
		t.Errorf("nothing signs: %v, want UNAVAILABLE with a time to come again", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		if err := s.keepSigning(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("signer: %v", err)
		}
	})
	for range 3 {
		e := put(t, in, 1)[0]
		began := time.Now()
		if _, err := p.GetInclusionProof(auditor(t), &auditv1.GetInclusionProofRequest{Id: eventID(e)}); err != nil {
			t.Errorf("proof of what was recorded just now: %v", err)
		}
		if took := time.Since(began); took > coverLimit {
			t.Errorf("the proof took %s", took)
		}
	}
}

// TestOldLogGetsItsTree starts on rows that a service without a tree wrote, and
// lets such a service write beside it.
func TestOldLogGetsItsTree(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 600)
	alter(t, s, `DELETE FROM audit.tile`)
	alter(t, s, `UPDATE audit.log_head SET tree_size = 0, root = sha256(''), edge = ''`)
	put(t, in, 10)
	judge(t, s)
	// As an older replica would during a rolling upgrade: rows and size, no tree.
	h, err := s.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, in, 300)
	root := h.tree().Hash
	alter(t, s, `DELETE FROM audit.tile WHERE idx >= $1`, h.Edge.Size()/256)
	alter(t, s, `UPDATE audit.log_head SET tree_size = $1, root = $2, edge = $3`, h.Edge.Size(), root[:], h.Edge.Marshal())
	if err := s.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	judge(t, s)
	if err := s.catchUp(t.Context()); err != nil {
		t.Errorf("nothing to take in: %v", err)
	}
}

// audit_admin_ops.md A-5: events, tiles and head are one transaction. Each
// statement fails once; the log stays whole and goes on.
func TestFailureBetweenSteps(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 250)
	alter(t, s, `CREATE FUNCTION audit.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$`)
	for _, table := range []string{"event", "event_target", "tile", "log_head"} {
		t.Run(table, func(t *testing.T) {
			when := "INSERT"
			if table == "log_head" {
				when = "UPDATE"
			}
			alter(t, s, `CREATE TRIGGER fail BEFORE `+when+` ON audit.`+table+` FOR EACH ROW EXECUTE FUNCTION audit.fail()`)
			events := batch(260) // more than a tile
			if _, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: events}); err == nil {
				t.Fatal("delivered, want an error")
			}
			judge(t, s)
			alter(t, s, `DROP TRIGGER fail ON audit.`+table)
			if got := deliver2(t, in, events); got != 260 {
				t.Errorf("%d events applied after it, want 260", got)
			}
			judge(t, s)
		})
	}
}

func deliver2(tb testing.TB, in *inboxServer, events []*eventv1.Event) (applied int) {
	tb.Helper()
	r, err := in.Deliver(tb.Context(), &eventv1.DeliverRequest{Events: events})
	if err != nil {
		tb.Fatalf("deliver: %v", err)
	}
	for _, x := range r.GetResults() {
		if x.GetOutcome() == eventv1.DeliverResponse_Result_APPLIED {
			applied++
		}
	}
	return applied
}

// A head that does not hold together takes nothing more: the fault would be
// sealed in.
func TestDamagedHeadTakesNothing(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 300)
	alter(t, s, `UPDATE audit.log_head SET edge = set_byte(edge, 40, get_byte(edge, 40) # 1)`)
	if _, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: batch(1)}); err == nil {
		t.Error("delivered, want an error")
	}
}

// audit_admin_ops.md A-6: two replicas write and sign at once; there is one
// root for every size they ever published, and each follows from the one before.
func TestTwoReplicasDoNotFork(t *testing.T) {
	db := pgtest.New(t, "audit", migrations.For("audit"))
	dir := t.TempDir()
	key := filepath.Join(dir, "log.key")
	const rounds = 12
	var wg sync.WaitGroup
	for i := range 2 {
		s, in := logger(t, db, filepath.Join(dir, strconv.Itoa(i)), key)
		wg.Go(func() {
			for range rounds {
				if _, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: batch(37)}); err != nil {
					t.Errorf("deliver: %v", err)
				}
				if _, err := db.Pool.Exec(t.Context(), `UPDATE audit.checkpoint SET signed_at = signed_at - interval '1 hour'`); err != nil {
					t.Errorf("forget the time: %v", err)
				}
				if _, err := s.sign(t.Context()); err != nil {
					t.Errorf("replica %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	s, _ := logger(t, db, filepath.Join(dir, "0"), key)
	judge(t, s)
	ref := testonly.New(rfc6962.DefaultHasher)
	ref.Append(allLeaves(t, s)...)
	rows, err := db.Pool.Query(t.Context(), `SELECT size, root FROM audit.checkpoint`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var (
			size int64
			root []byte
		)
		if err := rows.Scan(&size, &root); err != nil {
			t.Fatal(err)
		}
		n++
		if want := ref.HashAt(uint64(size)); !cmp.Equal(root, want) {
			t.Errorf("checkpoint of %d: root %x, want %x", size, root, want)
		}
	}
	if err := rows.Err(); err != nil || n < 2 {
		t.Errorf("%d checkpoints, %v", n, err)
	}
}

// audit_admin_ops.md A-28: after an older backup was restored the signer
// signs nothing: not while the log is shorter, nor once it has grown past what
// was signed.
func TestRestoredDatabaseIsNotSigned(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 100)
	backup := dump(t, s)
	put(t, in, 50)
	mustSign(t, s)
	restore(t, s, backup)
	for _, more := range []int{0, 10, 100} {
		if more > 0 {
			put(t, in, more)
		}
		if _, err := s.sign(t.Context()); err == nil {
			t.Errorf("%d events after the restore: signed", more)
		}
	}
	again := New(s.db, secret, time.Now)
	if err := again.signer.enable(Config{DataDir: filepath.Dir(s.signer.file), LogOrigin: origin}, true, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := again.sign(t.Context()); err == nil {
		t.Error("after a restart: signed")
	}
}

var logTables = []string{"log_head", "event", "event_target", "tile", "checkpoint", "cosignature"}

// dump keeps the log's tables aside.
func dump(tb testing.TB, s *Service) string {
	tb.Helper()
	alter(tb, s, `CREATE SCHEMA backup`)
	for _, table := range logTables {
		alter(tb, s, `CREATE TABLE backup.`+table+` AS SELECT * FROM audit.`+table)
	}
	return "backup"
}

func restore(tb testing.TB, s *Service, from string) {
	tb.Helper()
	for _, table := range logTables {
		alter(tb, s, `DELETE FROM audit.`+table)
		alter(tb, s, `INSERT INTO audit.`+table+` SELECT * FROM `+from+`.`+table)
	}
}

// witnessed gives s a witness of its own, over HTTP.
func witnessed(tb testing.TB, s *Service) (url string) {
	tb.Helper()
	dir := tb.TempDir()
	skey, vkey, err := notary.Key(filepath.Join(dir, "witness.key"), "manas360.local/witness", true, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	public, err := fnote.VKeyToCosignatureV1(vkey)
	if err != nil {
		tb.Fatal(err)
	}
	if err := notary.Publish(filepath.Join(dir, "witness.key.pub"), public); err != nil {
		tb.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		tb.Fatal(err)
	}
	w := witness.New(signer, dir, func(o string) (note.Verifier, error) {
		if o != origin {
			return nil, nil
		}
		return s.signer.verifier, nil
	})
	server := httptest.NewServer(w)
	tb.Cleanup(server.Close)
	s.witness = newWitness(Config{WitnessURL: server.URL, WitnessKeyFile: filepath.Join(dir, "witness.key.pub")})
	return server.URL
}

// TestWitnessSigns publishes both signatures; a witness that was away catches up.
func TestWitnessSigns(t *testing.T) {
	s, in := openLog(t)
	url := witnessed(t, s)
	put(t, in, 10)
	mustSign(t, s)
	if err := s.cosign(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.witness.url = "http://127.0.0.1:1"
	for range 3 {
		put(t, in, 300)
		anew(t, s)
		mustSign(t, s)
		if err := s.cosign(t.Context()); err == nil {
			t.Error("the witness is away: want an error")
		}
	}
	s.witness.url = url
	anew(t, s)
	cp, err := (&proofServer{Service: s}).GetCheckpoint(t.Context(), &auditv1.GetCheckpointRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if c, n := both(t, cp); c.N != 910 || len(n.Sigs) != 1 {
		t.Errorf("without the witness: size %d, %d signatures", c.N, len(n.Sigs))
	}
	s.witness.size = 0 // as after a restart: the witness tells where it stands
	if err := s.cosign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if cp, err = (&proofServer{Service: s}).GetCheckpoint(t.Context(), &auditv1.GetCheckpointRequest{}); err != nil {
		t.Fatal(err)
	}
	if c, n := both(t, cp); c.N != 910 || len(n.Sigs) != 2 {
		t.Errorf("with the witness: size %d, %d signatures in\n%s", c.N, len(n.Sigs), cp.GetNote())
	}
}

func both(tb testing.TB, cp *auditv1.GetCheckpointResponse) (notary.Checkpoint, *note.Note) {
	tb.Helper()
	log, err := note.NewVerifier(cp.GetPublicKey())
	if err != nil {
		tb.Fatal(err)
	}
	w, err := fnote.NewVerifierForCosignatureV1(cp.GetWitnessKey())
	if err != nil {
		tb.Fatal(err)
	}
	c, n, err := notary.Open(cp.GetNote(), log, w)
	if err != nil {
		tb.Fatal(err)
	}
	return c, n
}

// audit_admin_ops.md A-25: somebody rewrites an event with its tiles and head,
// removes the signer's memory and signs again with the stolen key: the witness
// does not sign that.
func TestRewrittenLogIsRefusedByTheWitness(t *testing.T) {
	s, in := openLog(t)
	witnessed(t, s)
	put(t, in, 300)
	mustSign(t, s)
	if err := s.cosign(t.Context()); err != nil {
		t.Fatal(err)
	}
	alter(t, s, `UPDATE audit.event SET actor_id = 'usr_99', canonical = decode(replace(encode(canonical, 'hex'), encode('usr_41', 'hex'), encode('usr_99', 'hex')), 'hex') WHERE seq = 42`)
	alter(t, s, `UPDATE audit.event SET leaf_hash = sha256('\x00'::bytea || canonical) WHERE seq = 42`)
	alter(t, s, `UPDATE audit.event_target SET target_id = 'usr_99' WHERE seq = 42`)
	alter(t, s, `DELETE FROM audit.tile`)
	alter(t, s, `UPDATE audit.log_head SET tree_size = 0, root = sha256(''), edge = ''`)
	alter(t, s, `DELETE FROM audit.checkpoint`)
	alter(t, s, `DELETE FROM audit.cosignature`)
	if err := os.Remove(s.signer.file); err != nil {
		t.Fatal(err)
	}
	thief, inThief := logger(t, s.db, filepath.Dir(s.signer.file), "")
	thief.witness = s.witness
	put(t, inThief, 5)
	judge(t, thief)
	mustSign(t, thief)
	if err := thief.cosign(t.Context()); err == nil {
		t.Error("the witness signed the rewritten log")
	}
	thief.witness.size = 0
	if err := thief.cosign(t.Context()); err == nil {
		t.Error("the witness signed the rewritten log after a restart of the log")
	}
}

func proofOf(e *eventv1.Event) *auditv1.GetInclusionProofRequest {
	return &auditv1.GetInclusionProofRequest{Id: eventID(e)}
}
