package audit

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const treeBatch = 1000

// BenchmarkAppend delivers batches as an outbox does, and in the same run
// copies the same rows into a table without index or tree: the ratio says what
// the log costs, whatever the machine.
func BenchmarkAppend(b *testing.B) {
	s, in := openLog(b)
	alter(b, s, `CREATE TABLE audit.bare (LIKE audit.event)`)
	var appended, copied time.Duration
	for b.Loop() {
		b.StopTimer()
		events := batch(treeBatch)
		b.StartTimer()
		began := time.Now()
		if _, err := in.Deliver(b.Context(), &eventv1.DeliverRequest{Events: events}); err != nil {
			b.Fatal(err)
		}
		appended += time.Since(began)
		b.StopTimer()
		h, err := s.head(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		rows, err := block(b.Context(), s.db.Pool, h.Size-treeBatch, h.Size)
		if err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		bare(b, s, rows)
		copied += time.Since(began)
		b.StartTimer()
	}
	n := float64(b.N * treeBatch)
	b.ReportMetric(n/appended.Seconds(), "events/s")
	b.ReportMetric(n/copied.Seconds(), "bare-events/s")
	b.ReportMetric(appended.Seconds()/copied.Seconds(), "x-bare-copy")
}

func bare(b *testing.B, s *Service, rows []entry) {
	b.Helper()
	_, err := s.db.Pool.CopyFrom(b.Context(), pgx.Identifier{"audit", "bare"},
		[]string{
			"retention_class", "event_ts", "event_id", "seq", "occurred_at", "recorded_at", "source", "action",
			"actor_type", "actor_id", "outcome", "request_id", "leaf_hash", "canonical",
		},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			e := &rows[i]
			return []any{
				e.Class, e.TS, e.ID, e.Seq, e.OccurredAt, e.RecordedAt, e.Source, e.Action,
				e.ActorType, e.ActorID, e.Outcome, e.RequestID, e.LeafHash, e.Canonical,
			}, nil
		}))
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkVerify reads a log again: from Postgres with everything, and what
// of it is hashing and deriving alone.
func BenchmarkVerify(b *testing.B) {
	s, in := openLog(b)
	const size = 4 * spanEvents
	for range size / 1024 {
		put(b, in, 1024)
	}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			if f := faults(b, s, s.db.Pool); len(f) > 0 {
				b.Fatal(f)
			}
		}
		b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
	})
	events, err := block(b.Context(), s.db.Pool, 0, size)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := block(b.Context(), s.db.Pool, 0, size); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("targets", func(b *testing.B) {
		v := s.verifier(b.Context())
		v.events(events[:spanEvents])
		for b.Loop() {
			if _, err := targetsOf(b.Context(), s.db.Pool, events[:spanEvents]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*spanEvents/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("derive", func(b *testing.B) {
		v := s.verifier(b.Context())
		for b.Loop() {
			v.events(events)
		}
		b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkProof answers an inclusion proof, tiles read from Postgres and
// checked against the root.
func BenchmarkProof(b *testing.B) {
	s, in := openLog(b)
	var events []*eventv1.Event
	for range 20 {
		events = append(events, put(b, in, 1000)...)
	}
	mustSign(b, s)
	p := &proofServer{Service: s}
	i := 0
	for b.Loop() {
		if _, err := p.GetInclusionProof(auditor(b), proofOf(events[i%len(events)])); err != nil {
			b.Fatal(err)
		}
		i += 7919
	}
}
