package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// sink is the client's end of a stream.
type sink[T any] struct {
	grpc.ServerStream
	ctx  context.Context
	take func(*T) error
}

func (s *sink[T]) Context() context.Context { return s.ctx }
func (s *sink[T]) Send(m *T) error          { return s.take(m) }

func streamOut(ctx context.Context, s *Service, r *auditv1.ExportEventsRequest, to io.Writer) error {
	return (&exportServer{Service: s}).ExportEvents(r, &sink[auditv1.ExportEventsResponse]{ctx: ctx, take: func(m *auditv1.ExportEventsResponse) error {
		_, err := to.Write(m.GetChunk().GetData())
		return err
	}})
}

// hostile is the corpus of cells a spreadsheet would run; audit_admin_ops.md A-20.
var hostile = []string{
	"=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\n=1+1", "＝1+1", "＋1", "－1", "＠SUM(A1)", " =1+1", "\u00a0=1+1", "\u200b=1+1", "\ufeff=1+1",
	"a\r\n=1+1", "a\n=cmd|' /C calc'!A0", "=HYPERLINK(\"http://x\",\"y\")", "=cmd|' /C calc'!A0", "|calc", "%0a=1", "\"=1+1", "'=1+1", "\x0b=1", "\x1f=1", "\u2028=1",
	"−1", "﹦1", "=", "plain", "a=1", "राम", "<script>alert(1)</script>", ",=1", ";=1", "",
}

func TestCellsAreInert(t *testing.T) {
	var out bytes.Buffer
	for _, s := range hostile {
		fmt.Fprintf(&out, "%q → %q\n", s, inert(s))
	}
	golden(t, "cells.golden", out.Bytes())
}

func FuzzInert(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := inert(s)
		if strings.ContainsAny(got, "\t\r\n") {
			t.Errorf("%q: %q holds a control character", s, got)
		}
		if first := strings.TrimLeftFunc(got, dropped); first != "" && strings.ContainsAny(first[:1], "=+-@") {
			t.Errorf("%q: %q is a formula", s, got)
		}
	})
}

// whole is an event that has everything.
func whole(i int, reason string, at time.Time) *eventv1.Event {
	e := event("account.suspended", "usr_a", at, "usr_b", "usr_c")
	m := &auditv1.Event{}
	if err := proto.Unmarshal(e.GetPayload(), m); err != nil {
		panic(err)
	}
	m.Reason, m.IpPrefix, m.Actor.SessionId = reason, "10.0.0.0/24", "ses_"+strconv.Itoa(i)
	m.Changes = []*auditv1.Event_Change{{Path: "state", Before: `"ACTIVE"`, After: `"=SUSPENDED"`}}
	payload, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	e.Payload = payload
	return e
}

// TestStreamedFormats exports hostile text in each format and reads it back;
// audit_admin_ops.md.
func TestStreamedFormats(t *testing.T) {
	s, in := open(t)
	var batch []*eventv1.Event
	at := time.Now().Add(-time.Hour)
	for i, text := range hostile {
		batch = append(batch, whole(i, text, at.Add(time.Duration(i)*time.Second)))
	}
	deliver(t, in, batch...)
	want, err := (&publicServer{Service: s}).ListEvents(auditor(t), &auditv1.ListEventsRequest{PageSize: 100, Order: "asc", Action: "account."})
	if err != nil {
		t.Fatal(err)
	}
	read := func(format string) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := streamOut(auditor(t), s, &auditv1.ExportEventsRequest{Format: format, Action: "account."}, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	lines := bytes.Split(bytes.TrimSuffix(read(""), []byte("\n")), []byte("\n"))
	if len(lines) != len(want.GetEvents()) {
		t.Fatalf("%d lines, want %d", len(lines), len(want.GetEvents()))
	}
	for i, line := range lines {
		got := &auditv1.Event{}
		if err := protojson.Unmarshal(line, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.GetEvents()[i], got, protocmp.Transform()); diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
		api, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(want.GetEvents()[i])
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, api); err != nil || compact.String() != string(line) {
			t.Errorf("line %d is\n%s, the API says\n%s (%v)", i, line, compact.String(), err)
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(read("csv"))).ReadAll()
	if err != nil || len(rows) != 1+len(lines) {
		t.Fatalf("csv: %d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		if row[14] != inert(hostile[i]) || row[0] != strconv.FormatInt(want.GetEvents()[i].GetSeq(), 10) {
			t.Errorf("row %d is %q, want the reason %q", i, row, inert(hostile[i]))
		}
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("a formula: %q", cell)
			}
		}
	}
	for _, line := range bytes.Split(bytes.TrimSuffix(read("ocsf"), []byte("\n")), []byte("\n")) {
		var o ocsfEvent
		if err := json.Unmarshal(line, &o); err != nil || o.ClassID != 3001 || o.ActivityID != 5 || o.TypeID != 300105 || o.User.UID != "usr_b" {
			t.Errorf("ocsf: %s, %v", line, err)
		}
	}
}

// TestExportIsRecordedFirst lets no byte out before the log says who takes it;
// audit_admin_ops.md A-31.
func TestExportIsRecordedFirst(t *testing.T) {
	s, in := open(t)
	deliver(t, in, event("profile.updated", "usr_a", time.Now()))
	seen := false
	err := (&exportServer{Service: s}).ExportEvents(&auditv1.ExportEventsRequest{Format: "csv", ActorId: "usr_a"}, &sink[auditv1.ExportEventsResponse]{
		ctx: auditor(t), take: func(*auditv1.ExportEventsResponse) error {
			got, _ := list(t, s, &auditv1.ListEventsRequest{Action: trail.AuditExport.String()})
			seen = len(got) == 1
			return nil
		},
	})
	if err != nil || !seen {
		t.Errorf("%v; recorded before the first byte: %v", err, seen)
	}
	if _, err := s.db.Pool.Exec(t.Context(), `ALTER TABLE audit.event ADD CONSTRAINT closed CHECK (source <> 'audit') NOT VALID`); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := streamOut(auditor(t), s, &auditv1.ExportEventsRequest{}, &b); err == nil || b.Len() > 0 {
		t.Errorf("without a record: %v and %d bytes", err, b.Len())
	}
	if err := streamOut(t.Context(), s, &auditv1.ExportEventsRequest{}, &b); !fail.Is(err, fail.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
	if err := streamOut(auditor(t), s, &auditv1.ExportEventsRequest{ActorId: "\x00"}, &b); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("a NUL: %v", err)
	}
}

// TestExportEndsAtItsHead takes in nothing that came while it ran, and all that
// was there; audit_admin_ops.md A-21.
func TestExportEndsAtItsHead(t *testing.T) {
	s, in := open(t)
	at := time.Now().Add(-time.Hour)
	fill(t, in, 3*exportRows+7, at, time.Millisecond)
	n := 0
	err := s.each(t.Context(), filter{}, 3*exportRows+7, func(list []found) error {
		if n == 0 {
			fill(t, in, 10, at.Add(time.Minute), time.Millisecond)
		}
		n += len(list)
		return nil
	})
	if err != nil || n != 3*exportRows+7 {
		t.Errorf("%d rows, %v; want %d", n, err, 3*exportRows+7)
	}
}

// TestClientLeaves ends the reading with the client.
func TestClientLeaves(t *testing.T) {
	s, in := open(t)
	fill(t, in, 2*exportRows, time.Now().Add(-time.Hour), time.Millisecond)
	ctx, leave := context.WithCancel(auditor(t))
	sent := 0
	err := (&exportServer{Service: s}).ExportEvents(&auditv1.ExportEventsRequest{}, &sink[auditv1.ExportEventsResponse]{
		ctx: ctx, take: func(*auditv1.ExportEventsResponse) error { sent++; leave(); return ctx.Err() },
	})
	if !errors.Is(err, context.Canceled) || sent != 1 {
		t.Errorf("%v after %d parts, want the end after 1", err, sent)
	}
}

// work runs the exports' jobs until the test ends.
func work(t *testing.T, s *Service, enc func(string, io.Writer) encoder) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.runJobs(ctx, enc) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("jobs: %v", err)
		}
	})
}

func create(t *testing.T, s *Service, format auditv1.Export_Format, f *auditv1.EventFilter) *auditv1.Export {
	t.Helper()
	r, err := (&exportServer{Service: s}).CreateExport(auditor(t), &auditv1.CreateExportRequest{Format: format, Filters: f})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetExport()
}

func get(t *testing.T, s *Service, name string) *auditv1.Export {
	t.Helper()
	r, err := (&exportServer{Service: s}).GetExport(auditor(t), &auditv1.GetExportRequest{Id: name})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetExport()
}

// until waits for a state, at most a minute.
func until(t *testing.T, s *Service, name string, want auditv1.Export_State) *auditv1.Export {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		x := get(t, s, name)
		if x.GetState() == want {
			return x
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v, want %v", name, x, want)
		}
	}
}

func download(t *testing.T, s *Service, name string) ([]byte, error) {
	t.Helper()
	var b bytes.Buffer
	err := (&exportServer{Service: s}).GetExportFile(&auditv1.GetExportFileRequest{Id: name}, &sink[auditv1.GetExportFileResponse]{
		ctx: auditor(t), take: func(m *auditv1.GetExportFileResponse) error {
			if len(m.GetChunk().GetData()) > sendBytes {
				t.Errorf("a part of %d bytes", len(m.GetChunk().GetData()))
			}
			b.Write(m.GetChunk().GetData())
			return nil
		},
	})
	return b.Bytes(), err
}

func left(t *testing.T, s *Service) (n int) {
	t.Helper()
	if err := s.db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM audit.export_part`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestExportJobs writes a file in each format, holds its manifest against the
// bytes, and reads them back; audit_admin_ops.md A-21.
func TestExportJobs(t *testing.T) {
	s, in := open(t)
	const n = 2*exportRows + 3
	fill(t, in, n, time.Now().Add(-time.Hour), time.Millisecond)
	work(t, s, newEncoder)
	for _, format := range []auditv1.Export_Format{auditv1.Export_NDJSON, auditv1.Export_CSV, auditv1.Export_PARQUET} {
		x := until(t, s, create(t, s, format, &auditv1.EventFilter{RequestId: "req-1"}).GetId(), auditv1.Export_DONE)
		file, err := download(t, s, x.GetId())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(file)
		if x.GetSha256() != hex.EncodeToString(sum[:]) || x.GetSizeBytes() != int64(len(file)) || x.GetRowCount() != n ||
			x.GetFirstSeq() != 1 || x.GetLastSeq() != n || x.GetProgressPercent() != 100 || x.GetLogSize() < n || x.GetFilters().GetRequestId() != "req-1" {
			t.Errorf("%s: manifest %v for %d bytes with sum %x", format, x, len(file), sum)
		}
		switch format {
		case auditv1.Export_NDJSON:
			if got := bytes.Count(file, []byte("\n")); got != n {
				t.Errorf("%d lines, want %d", got, n)
			}
		case auditv1.Export_PARQUET:
			readParquet(t, s, file, n)
		default:
		}
	}
	got, _ := list(t, s, &auditv1.ListEventsRequest{Action: "audit.", Order: "asc"})
	one := []string{trail.AuditExportCreated.String(), trail.AuditExportWritten.String(), trail.AuditExportDownloaded.String()}
	if diff := cmp.Diff(append(append(append([]string{}, one...), one...), one...), got); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

// readParquet reads the file by its own schema and compares it with the log.
func readParquet(t *testing.T, s *Service, file []byte, n int) {
	t.Helper()
	if dir := os.Getenv("MANAS_KEEP"); dir != "" {
		if err := os.WriteFile(dir+"/export.parquet", file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil || f.NumRows() != int64(n) {
		t.Fatalf("parquet: %v", err)
	}
	rows, err := parquet.Read[parquetRow](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	err = s.each(t.Context(), filter{RequestID: "req-1"}, int64(n), func(list []found) error {
		for _, want := range list {
			got := rows[i]
			ev, err := unpackStored(want.Canonical)
			if err != nil {
				return err
			}
			if !bytes.Equal(got.Canonical, want.Canonical) || got.Seq != want.Seq || got.ID != ev.GetId() || !got.OccurredAt.Equal(want.OccurredAt) ||
				len(got.Targets) != 2 || got.Targets[1].ID != ev.GetTargets()[1].GetId() || got.ActorID != ev.GetActor().GetId() {
				return fmt.Errorf("row %d is %+v, want %v", i, got, ev)
			}
			i++
		}
		return nil
	})
	if err != nil || i != len(rows) {
		t.Errorf("%d of %d rows: %v", i, len(rows), err)
	}
}

// slow lets a test into the middle of an export.
type slow struct {
	encoder
	at   func()
	n    int
	when int
}

func (e *slow) encode(row found) error {
	if e.n++; e.n == e.when {
		e.at()
	}
	return e.encoder.encode(row)
}

// TestCancelled ends an export in the middle, before it and after it: nothing of
// its file stays; audit_admin_ops.md A-21.
func TestCancelled(t *testing.T) {
	s, in := open(t)
	fill(t, in, 2*exportRows, time.Now().Add(-time.Hour), time.Millisecond)
	exports := &exportServer{Service: s}
	drop := func(name string) {
		if _, err := exports.CancelExport(auditor(t), &auditv1.CancelExportRequest{Id: name}); err != nil {
			t.Error(err)
		}
	}
	var name string
	work(t, s, func(format string, w io.Writer) encoder {
		return &slow{encoder: newEncoder(format, w), when: 2*exportRows - 1, at: func() {
			if left(t, s) == 0 {
				t.Error("nothing was written before it was cancelled")
			}
			drop(name)
			drop(name) // again: nothing
		}}
	})
	name = exportName(s.queueFor(t, export{Format: "NDJSON"}))
	until(t, s, name, auditv1.Export_CANCELLED)
	again := create(t, s, auditv1.Export_CSV, &auditv1.EventFilter{ActorId: "usr_1"})
	done := until(t, s, again.GetId(), auditv1.Export_DONE) // the worker went on
	if left(t, s) == 0 {
		t.Error("no file")
	}
	drop(done.GetId())
	if _, err := download(t, s, done.GetId()); !fail.Is(err, fail.NotFound) || left(t, s) != 0 {
		t.Errorf("%v and %d parts after the cancellation, want NOT_FOUND and none", err, left(t, s))
	}
}

// queueFor adds an export of the auditor's without the API.
func (s *Service) queueFor(t *testing.T, x export) uuid.UUID {
	t.Helper()
	x.ID, x.OwnerID, x.CreatedAt = s.ids.New(), auditorID, time.Now()
	if err := s.queueExport(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	return x.ID
}

type broken struct{}

func (broken) encode(found) error { return fail.New(fail.InvalidArgument, "too large") }
func (broken) end() error         { return nil }

// TestFailed lets an export fail for good: it says so and leaves nothing;
// audit_admin_ops.md A-21.
func TestFailed(t *testing.T) {
	s, in := open(t)
	fill(t, in, 10, time.Now().Add(-time.Hour), time.Millisecond)
	work(t, s, func(string, io.Writer) encoder { return broken{} })
	x := until(t, s, create(t, s, auditv1.Export_NDJSON, nil).GetId(), auditv1.Export_FAILED)
	if x.GetFailure() == "" || x.GetSha256() != "" || left(t, s) != 0 {
		t.Errorf("failed as %v with %d parts", x, left(t, s))
	}
	if _, err := download(t, s, x.GetId()); !fail.Is(err, fail.NotFound) {
		t.Errorf("its file: %v, want NOT_FOUND", err)
	}
}

// TestTwoRuns has a second run take an export over from one that hangs: the
// first adds nothing more; audit_admin_ops.md A-21.
func TestTwoRuns(t *testing.T) {
	s, in := open(t)
	fill(t, in, 2*exportRows, time.Now().Add(-time.Hour), time.Millisecond)
	id := s.queueFor(t, export{Format: "NDJSON"})
	var inner error
	err := s.runExport(t.Context(), id, func(format string, w io.Writer) encoder {
		return &slow{encoder: newEncoder(format, w), when: exportRows, at: func() { inner = s.runExport(t.Context(), id, newEncoder) }}
	})
	if inner != nil || !errors.Is(err, errEnded) {
		t.Errorf("the second run: %v; the first: %v, want it ended", inner, err)
	}
	file, err := download(t, s, exportName(id))
	sum := sha256.Sum256(file)
	if err != nil || hex.EncodeToString(sum[:]) != get(t, s, exportName(id)).GetSha256() || bytes.Count(file, []byte("\n")) != 2*exportRows {
		t.Errorf("the file has %d bytes, %v", len(file), err)
	}
}

// TestSweep removes files after a day and revives what died.
func TestSweep(t *testing.T) {
	s, in := open(t)
	fill(t, in, 10, time.Now().Add(-time.Hour), time.Millisecond)
	id := s.queueFor(t, export{Format: "CSV"})
	if err := s.runExport(t.Context(), id, newEncoder); err != nil {
		t.Fatal(err)
	}
	dead := s.queueFor(t, export{Format: "CSV"})
	if _, _, err := s.claimExport(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Now().Add(exportLife + time.Second) }
	if err := s.sweepExports(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := get(t, s, exportName(id)); x.GetState() != auditv1.Export_EXPIRED || left(t, s) != 0 || x.GetSha256() == "" {
		t.Errorf("after a day: %v and %d parts", x, left(t, s))
	}
	if x := get(t, s, exportName(dead)); x.GetState() != auditv1.Export_QUEUED {
		t.Errorf("the dead one is %v, want it queued", x.GetState())
	}
	for range exportTries {
		if _, _, err := s.claimExport(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
	}
	s.now = func() time.Time { return time.Now().Add(2 * exportLife) }
	if err := s.sweepExports(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := get(t, s, exportName(dead)); x.GetState() != auditv1.Export_FAILED {
		t.Errorf("after too many runs: %v, want FAILED", x.GetState())
	}
}

// TestExportsAreOnesOwn hides them from others, and bounds how many there are.
func TestExportsAreOnesOwn(t *testing.T) {
	s, _ := open(t)
	exports := &exportServer{Service: s}
	x := create(t, s, auditv1.Export_CSV, nil)
	other := as(t, uuid.Must(uuid.NewV7()))
	if _, err := exports.GetExport(other, &auditv1.GetExportRequest{Id: x.GetId()}); !fail.Is(err, fail.NotFound) {
		t.Errorf("another's: %v", err)
	}
	if _, err := exports.CancelExport(other, &auditv1.CancelExportRequest{Id: x.GetId()}); !fail.Is(err, fail.NotFound) {
		t.Errorf("another cancels: %v", err)
	}
	if _, err := download(t, s, x.GetId()); !fail.Is(err, fail.Conflict) {
		t.Errorf("its file so far: %v, want CONFLICT", err)
	}
	for range exportLive - 1 {
		create(t, s, auditv1.Export_CSV, nil)
	}
	if _, err := exports.CreateExport(auditor(t), &auditv1.CreateExportRequest{Format: auditv1.Export_CSV}); !fail.Is(err, fail.Conflict) {
		t.Errorf("one too many: %v, want CONFLICT", err)
	}
	var seen []string
	for token := ""; ; {
		r, err := exports.ListExports(auditor(t), &auditv1.ListExportsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.GetExports() {
			seen = append(seen, x.GetId())
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
		if _, err := exports.ListExports(other, &auditv1.ListExportsRequest{PageToken: token}); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("another's token: %v", err)
		}
	}
	if len(seen) != exportLive || seen[len(seen)-1] != x.GetId() {
		t.Errorf("listed %v", seen)
	}
	for _, r := range []*auditv1.CreateExportRequest{
		{},
		{Format: 99},
		{Format: auditv1.Export_CSV, Filters: &auditv1.EventFilter{ActorId: "\x00"}},
		{Format: auditv1.Export_CSV, Filters: &auditv1.EventFilter{StartTime: timestamppb.Now(), EndTime: timestamppb.New(time.Unix(0, 0))}},
	} {
		if _, err := exports.CreateExport(auditor(t), r); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%v: %v, want INVALID_ARGUMENT", r, err)
		}
	}
}

// TestExportStaysSmall streams a log that is far larger than what it may hold
// in memory; audit_admin_ops.md 5: at most 64 MiB.
func TestExportStaysSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	s, in := open(t)
	const n = 100_000 // some 60 MB as NDJSON
	fill(t, in, n, time.Now().Add(-time.Hour), time.Millisecond)
	for _, format := range []string{"ndjson", "csv", "PARQUET"} {
		before, most := resident(t), int64(0)
		var bytesOut int64
		began := time.Now()
		take := func(piece []byte) error {
			bytesOut += int64(len(piece))
			most = max(most, resident(t))
			return nil
		}
		w := newParts(sendBytes, take)
		enc := newEncoder(strings.ToUpper(format), w)
		err := s.each(t.Context(), filter{}, n, func(list []found) error {
			for _, row := range list {
				if err := enc.encode(row); err != nil {
					return err
				}
			}
			return nil
		})
		if err = errors.Join(err, enc.end(), w.end()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, %d rows/s, resident +%d MiB", format, bytesOut, int(n/time.Since(began).Seconds()), (most-before)>>20)
		if most-before > 64<<20 {
			t.Errorf("%s: resident memory grew by %d MiB", format, (most-before)>>20)
		}
	}
}

func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestLinesAreTheAPIs holds the encoder written by hand against protojson, for
// events of any content.
func TestLinesAreTheAPIs(t *testing.T) {
	if !plainShape {
		t.Fatalf("the event has other fields: teach apiLine %s", fields((&auditv1.Event{}).ProtoReflect().Descriptor()))
	}
	word := rapid.OneOf(rapid.String(), rapid.SampledFrom(hostile), rapid.StringMatching(`[\x00-\x7f]{0,8}`))
	at := rapid.Custom(func(t *rapid.T) *timestamppb.Timestamp {
		return &timestamppb.Timestamp{Seconds: rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), Nanos: rapid.SampledFrom([]int32{0, 1, 999, 1000, 1_000_000, 120_000_000, 999_999_999}).Draw(t, "n")}
	})
	rapid.Check(t, func(t *rapid.T) {
		ev := &auditv1.Event{
			Id: word.Draw(t, "id"), Seq: rapid.Int64().Draw(t, "seq"), Action: word.Draw(t, "action"), RequestId: word.Draw(t, "request"), Reason: word.Draw(t, "reason"),
			Source: word.Draw(t, "source"), IpPrefix: word.Draw(t, "ip"), Outcome: auditv1.Event_Outcome(rapid.Int32Range(0, 4).Draw(t, "outcome")),
		}
		if rapid.Bool().Draw(t, "timed") {
			ev.OccurredAt, ev.RecordedAt = at.Draw(t, "occurred"), at.Draw(t, "recorded")
		}
		if rapid.Bool().Draw(t, "acted") {
			ev.Actor = &auditv1.Event_Actor{Type: word.Draw(t, "type"), Id: word.Draw(t, "actor"), SessionId: word.Draw(t, "session"), ImpersonatorId: word.Draw(t, "impersonator")}
		}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			ev.Targets = append(ev.Targets, &auditv1.Event_Target{Type: word.Draw(t, "t"), Id: word.Draw(t, "i")})
			ev.Changes = append(ev.Changes, &auditv1.Event_Change{Path: word.Draw(t, "p"), Before: word.Draw(t, "b"), After: word.Draw(t, "a")})
		}
		got, err := apiLine(nil, ev)
		if err != nil {
			t.Fatal(err)
		}
		want, err := slowLine(nil, ev)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
