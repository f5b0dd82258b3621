package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	tproof "github.com/transparency-dev/formats/proof"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/manas360/platform/pkg/pg"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	"github.com/manas360/platform/services/audit/merkle"
)

// faults reads the whole log again on q.
func faults(tb testing.TB, s *Service, q pg.Querier) (out []string) {
	tb.Helper()
	v := s.verifier(tb.Context())
	v.sum = newRowSum()
	v.q, v.found = q, func(f finding) { out = append(out, f.String()) }
	g, err := v.ground(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if g == nil {
		return out
	}
	size := g.head.Edge.Size()
	for after := int64(0); after < size; after += spanEvents {
		if err := v.span(tb.Context(), g, after, min(size, after+spanEvents)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := subtractTargets(tb.Context(), q, size, v.sum); err != nil {
		tb.Fatal(err)
	}
	if !v.sum.even() {
		out = append(out, "rows in the index of targets")
	}
	return out
}

// tamper is one way to change what is stored; it gives the statement and what
// it changes.
type tamper struct {
	name string
	sql  string // %d is a random number; $seq a random event
}

// flip turns one bit of a bytea.
func flip(table, column, where string) tamper {
	return tamper{table + "." + column, fmt.Sprintf(`UPDATE audit.%[1]s SET %[2]s = set_bit(%[2]s, ($n %% (length(%[2]s) * 8))::int, 1 - get_bit(%[2]s, ($n %% (length(%[2]s) * 8))::int)) WHERE %[3]s`, table, column, where)}
}

// flipText turns one bit of a text that stays one.
func flipText(table, column, where string) tamper {
	bytes := fmt.Sprintf("convert_to(%s, 'UTF8')", column)
	at := fmt.Sprintf("(($n / 7) %% length(%s))::int", bytes)
	return tamper{table + "." + column, fmt.Sprintf(`UPDATE audit.%s SET %s = convert_from(set_byte(%s, %s, get_byte(%s, %s) # (1 << ($n %% 7)::int)), 'UTF8') WHERE %s AND %s <> ''`, table, column, bytes, at, bytes, at, where, column)}
}

func flipInt(table, column, where string) tamper {
	return tamper{table + "." + column, fmt.Sprintf(`UPDATE audit.%s SET %s = %s # (1::bigint << ($n %% 40)::int) WHERE %s`, table, column, column, where)}
}

func shift(table, column string) tamper {
	return tamper{table + "." + column, fmt.Sprintf(`UPDATE audit.%s SET %s = %s + (1::bigint << ($n %% 20)::int) * interval '1 microsecond' WHERE seq = $seq`, table, column, column)}
}

func flipUUID(table, column, where string) tamper {
	bytes := fmt.Sprintf(`uuid_send(%s)`, column)
	return tamper{table + "." + column, fmt.Sprintf(`UPDATE audit.%s SET %s = encode(set_bit(%s, ($n %% 128)::int, 1 - get_bit(%s, ($n %% 128)::int)), 'hex')::uuid WHERE %s`, table, column, bytes, bytes, where)}
}

func tampers() []tamper {
	const one = "seq = $seq"
	all := []tamper{
		flip("event", "canonical", one), flip("event", "canonical", one), flip("event", "canonical", one), flip("event", "leaf_hash", one),
		flipInt("event", "seq", one), flipUUID("event", "event_id", one),
		shift("event", "occurred_at"), shift("event", "recorded_at"), shift("event", "event_ts"),
		{"event.retention_class", `UPDATE audit.event SET retention_class = CASE retention_class WHEN 'ops' THEN 'financial' ELSE 'ops' END WHERE seq = $seq`},
		{"event.outcome", `UPDATE audit.event SET outcome = 'DENIED' WHERE seq = $seq`},
		{"event removed", `DELETE FROM audit.event WHERE seq = $seq`},
		{"event repeated", `INSERT INTO audit.event SELECT retention_class, event_ts, gen_random_uuid(), seq, occurred_at, recorded_at, source, action, actor_type, actor_id, outcome, request_id, leaf_hash, canonical FROM audit.event WHERE seq = $seq`},
		flipText("event_target", "target_id", one), flipText("event_target", "target_type", one), flipInt("event_target", "seq", one),
		shift("event_target", "occurred_at"), shift("event_target", "event_ts"), flipUUID("event_target", "event_id", one),
		flipText("event_target", "retention_class", one),
		{"target removed", `DELETE FROM audit.event_target WHERE seq = $seq`},
		{"target added", `INSERT INTO audit.event_target SELECT 'usr_other', occurred_at, seq, target_type, retention_class, event_ts, event_id FROM audit.event_target WHERE seq = $seq`},
		flip("tile", "data", "idx = $n % 2"), flip("tile", "data", "idx = $n % 2"), flip("tile", "root", "idx = $n % 2"),
		flipInt("tile", "idx", "idx = $n % 2"),
		{"tile.level", `UPDATE audit.tile SET level = level # (1 << ($n % 3)::int)::smallint WHERE idx = $n % 2`},
		flip("log_head", "root", "true"), flip("log_head", "edge", "true"), flipInt("log_head", "size", "true"), flipInt("log_head", "tree_size", "true"),
		flip("checkpoint", "root", "size = $cp"), flipText("checkpoint", "note", "size = $cp"), flipInt("checkpoint", "size", "size = $cp"),
		flipText("cosignature", "lines", "size = $cp"), flipInt("cosignature", "size", "size = $cp"),
	}
	for _, c := range []string{"source", "action", "actor_type", "actor_id", "request_id"} {
		all = append(all, flipText("event", c, one))
	}
	return all
}

// audit_admin_ops.md A-27: one bit is changed in what is stored: bytes,
// columns, index, tiles, head, checkpoints. Every change is found.
func TestEveryChangeIsFound(t *testing.T) {
	s, in := openLog(t)
	witnessed(t, s)
	var sizes []int64
	total := int64(0)
	for _, n := range []int{5, 300, 290} {
		put(t, in, n)
		total += int64(n)
		mustSign(t, s)
		anew(t, s)
		if err := s.cosign(t.Context()); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, total)
	}
	judge(t, s)
	// A bit in a page does not ask the constraints.
	for _, c := range []string{"log_head DROP CONSTRAINT log_head_check", "log_head DROP CONSTRAINT log_head_size_check", "event DROP CONSTRAINT event_outcome_check"} {
		alter(t, s, `ALTER TABLE audit.`+c)
	}
	trials := 1000
	if os.Getenv("MANAS_LONG") == "1" {
		trials = 10_000
	}
	const seed = 20260601
	random := rand.New(rand.NewPCG(seed, 1))
	all := tampers()
	counts := map[string]int{}
	for i := range trials {
		x := all[i%len(all)]
		sql := strings.NewReplacer("$seq", strconv.FormatInt(1+random.Int64N(total), 10), "$cp", strconv.FormatInt(sizes[random.IntN(3)], 10), "$n", strconv.FormatInt(random.Int64N(1<<30), 10)).Replace(x.sql)
		err := tampered(t, s, sql, func(tx pgx.Tx) {
			if len(faults(t, s, tx)) == 0 {
				t.Errorf("trial %d, %s: not found: %s", i, x.name, sql)
			}
		})
		if err == nil {
			counts[x.name]++
		}
	}
	done := 0
	for _, x := range all {
		if counts[x.name] == 0 {
			t.Errorf("%s was never changed", x.name)
		}
	}
	for _, n := range counts {
		done += n
	}
	t.Logf("%d changes of %d kinds, all looked for", done, len(counts))
	if done < trials*9/10 {
		t.Errorf("only %d of %d changes could be made", done, trials)
	}
}

var errUndo = errors.New("undo")

// tampered runs look on the log as sql leaves it, and undoes that. An error is
// a statement that the database refused or that changed nothing.
func tampered(tb testing.TB, s *Service, sql string, look func(tx pgx.Tx)) error {
	tb.Helper()
	err := pgx.BeginFunc(tb.Context(), s.db.Pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(tb.Context(), sql)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errors.New("nothing changed")
		}
		look(tx)
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

// TestRollingVerifierTells changes a log at work and asks the API.
func TestRollingVerifierTells(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 300)
	mustSign(t, s)
	p := &proofServer{Service: s}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		if err := s.keepVerifying(ctx, 100_000, 50*time.Millisecond); err != nil && ctx.Err() == nil {
			t.Errorf("verifier: %v", err)
		}
	})
	state := func(want auditv1.GetVerificationResponse_State) *auditv1.GetVerificationResponse {
		t.Helper()
		for {
			r, err := p.GetVerification(t.Context(), &auditv1.GetVerificationRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if r.GetState() == want {
				return r
			}
			select {
			case <-t.Context().Done():
				t.Fatalf("state %s, want %s", r.GetState(), want)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	if r := state(auditv1.GetVerificationResponse_VERIFIED); r.GetLogSize() != 300 || r.GetCheckpointSize() != 300 {
		t.Errorf("verification %v", r)
	}
	alter(t, s, `UPDATE audit.event SET actor_id = 'usr_else' WHERE seq = 7`)
	began := time.Now()
	r := state(auditv1.GetVerificationResponse_BROKEN)
	t.Logf("found after %s", time.Since(began))
	if got := r.GetFindings(); len(got) != 1 || !strings.Contains(got[0], "event 7") || !strings.Contains(got[0], "actor_id") {
		t.Errorf("findings %q, want one of event 7", got)
	}
}

// TestVerifyFromOutside runs what the command runs, on an address of the
// database, whole and from a place on.
func TestVerifyFromOutside(t *testing.T) {
	s, in := openLog(t)
	put(t, in, 5000)
	mustSign(t, s)
	look := func(since int64) (v Verdict, lines []string, last int64) {
		t.Helper()
		v, err := Verify(t.Context(), Check{
			DatabaseURL: s.db.Pool.Config().ConnString(), Origin: origin, LogKey: s.signer.vkey, Since: since, Workers: 2,
			Progress: func(done, total int64) { last = total - done }, Found: func(l string) { lines = append(lines, l) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return v, lines, last
	}
	if v, lines, last := look(0); v != (Verdict{Size: 5000, Read: 5000}) || len(lines) > 0 || last != 0 {
		t.Errorf("whole: %+v %q, %d left", v, lines, last)
	}
	if v, lines, _ := look(4700); v.Read != 5000-4608 || len(lines) > 0 {
		t.Errorf("since 4700: %+v %q", v, lines)
	}
	alter(t, s, `UPDATE audit.event SET canonical = canonical || '\x00' WHERE seq = 4000`)
	if v, lines, _ := look(0); v.Findings == 0 || !strings.HasPrefix(lines[0], "event 4000: ") {
		t.Errorf("changed at 4000: %+v %q", v, lines)
	}
	if v, _, _ := look(4700); v.Findings != 0 {
		t.Errorf("changed at 4000, since 4700: %+v", v)
	}
}

// TestProofFile checks proofs as a client would have saved them.
func TestProofFile(t *testing.T) {
	s, in := openLog(t)
	witnessed(t, s)
	events := put(t, in, 20)
	mustSign(t, s)
	if err := s.cosign(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &proofServer{Service: s}
	r, err := p.GetInclusionProof(auditor(t), &auditv1.GetInclusionProofRequest{Id: eventID(events[6])})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := (&publicServer{Service: s}).GetEvent(auditor(t), &auditv1.GetEventRequest{Id: eventID(events[6]), View: auditv1.GetEventRequest_RAW})
	if err != nil {
		t.Fatal(err)
	}
	canonical := ev.GetEvent().GetCanonical()
	file, err := protojson.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	key := s.signer.vkey
	_, wkey, err := s.witness.key()
	if err != nil {
		t.Fatal(err)
	}
	want := Proof{LeafIndex: 6, TreeSize: 20, Origin: origin, Event: true, Witnessed: true}
	if got, err := CheckProof(file, canonical, origin, key, wkey); err != nil || got != want {
		t.Errorf("proof: %+v %v, want %+v", got, err, want)
	}
	t6 := tproof.TLogProof{Index: 6, Checkpoint: []byte(r.GetCheckpoint()), ExtraData: canonical}
	for _, h := range r.GetHashes() {
		t6.Hashes = append(t6.Hashes, merkle.Hash(h))
	}
	if got, err := CheckProof(t6.Marshal(), nil, origin, key, wkey); err != nil || got != want {
		t.Errorf(".tlog-proof: %+v %v, want %+v", got, err, want)
	}
	if got, err := CheckProof(file, nil, origin, key, ""); err != nil || got.Event || got.Witnessed {
		t.Errorf("without the event and the witness's key: %+v %v", got, err)
	}
	raw, err := protojson.Marshal(ev.GetEvent())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := EventBytes(raw); err != nil || string(got) != string(canonical) {
		t.Errorf("bytes of the event: %x %v", got, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(file, &fields); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"leafIndex": "7", "treeSize": "21", "leafHash": "AAAA", "hashes": []string{}, "checkpoint": strings.Replace(r.GetCheckpoint(), "\n20\n", "\n21\n", 1),
	} {
		changed := map[string]any{}
		for k, v := range fields {
			changed[k] = v
		}
		changed[name] = value
		b, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CheckProof(b, nil, origin, key, wkey); !errors.Is(err, errProof) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	if _, err := CheckProof(file, append(canonical, 0), origin, key, ""); !errors.Is(err, errProof) {
		t.Errorf("another event's bytes: %v", err)
	}
	if _, err := CheckProof(file, nil, "elsewhere", key, ""); !errors.Is(err, errProof) {
		t.Errorf("another log: %v", err)
	}
}

func FuzzProofFile(f *testing.F) {
	f.Add([]byte(`{"leafIndex":"0","treeSize":"1","leafHash":"AAAA","hashes":[],"checkpoint":"x\n1\nAAAA\n\n— x AAAA\n"}`))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\nx\n1\nAAAA\n\n— x AAAA\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra AA==\nindex 18446744073709551615\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := CheckProof(b, nil, "x", "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "")
		if err == nil {
			t.Errorf("%q proves something", b)
		}
	})
}
