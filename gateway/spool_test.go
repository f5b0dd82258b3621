package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

func openSpool(tb testing.TB, dir string) *Spool {
	tb.Helper()
	s, err := OpenSpool(dir, time.Now, zerolog.Nop())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	return s
}

func spooled(n int) []*eventv1.Event {
	var out []*eventv1.Event
	for i := range n {
		u := uuid.Must(uuid.NewV7())
		out = append(out, &eventv1.Event{Id: u[:], Type: "manas.audit.v1.Event", Key: strconv.Itoa(i), Payload: bytes.Repeat([]byte{byte(i)}, i%50)})
	}
	return out
}

// drain reads all that waits, in order, as the sender does.
func drain(s *Spool) []string {
	var keys []string
	for {
		events, at, end := s.waiting(7)
		if at == nil {
			return keys
		}
		for _, ev := range events {
			keys = append(keys, ev.GetKey())
		}
		s.done(at, end)
	}
}

func numbers(n int) string {
	var out []string
	for i := range n {
		out = append(out, strconv.Itoa(i))
	}
	return strings.Join(out, " ")
}

// TestSpoolCutAnywhere plays the kill at each byte of the last write: what was
// committed before is whole, nothing is invented, and new events come after.
func TestSpoolCutAnywhere(t *testing.T) {
	src := t.TempDir()
	s := openSpool(t, src)
	s.write(spooled(3))
	committed := s.segments[0].size
	s.write(spooled(5)[3:])
	raw, err := os.ReadFile(s.file(1))
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(0); cut <= int64(len(raw)); cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000000000001.spool"), raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := openSpool(t, dir)
		again.write(spooled(1))
		got := drain(again)
		if got[len(got)-1] != "0" {
			t.Fatalf("cut at %d: the new event is missing: %v", cut, got)
		}
		got = got[:len(got)-1]
		if cut >= committed && len(got) < 3 || !strings.HasPrefix(numbers(5), strings.Join(got, " ")) {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*.spool"))
		if err != nil || len(left) != 0 {
			t.Fatalf("cut at %d: %v stays, %v", cut, left, err)
		}
	}
}

// TestSpoolOverManySegments sends in order what three lives of the process wrote.
func TestSpoolOverManySegments(t *testing.T) {
	dir := t.TempDir()
	const n = 3000
	all := spooled(n)
	for i := range 3 {
		s := openSpool(t, dir)
		for at := i * n / 3; at < (i+1)*n/3; at += 100 {
			part := all[at : at+100]
			for _, ev := range part {
				ev.Payload = make([]byte, 1200)
			}
			s.write(part)
		}
		if _, err := OpenSpool(dir, time.Now, zerolog.Nop()); err == nil {
			t.Fatal("two have one spool")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, dir)
	if len(s.segments) < 4 {
		t.Fatalf("%d segments, want several", len(s.segments))
	}
	if got := strings.Join(drain(s), " "); got != numbers(n) {
		t.Errorf("out of order or not all: %.100s…", got)
	}
	if bytes, lost, _ := s.standing(); bytes != 0 || lost != 0 {
		t.Errorf("%d bytes left, %d lost", bytes, lost)
	}
}

// TestSpoolFull keeps the oldest and counts the rest.
func TestSpoolFull(t *testing.T) {
	s := openSpool(t, t.TempDir())
	s.max = 10_000
	for _, ev := range spooled(1000) {
		s.write([]*eventv1.Event{ev})
	}
	size, lost, _ := s.standing()
	got := drain(s)
	if size > s.max || int(lost)+len(got) != 1000 || lost == 0 || strings.Join(got[:10], " ") != numbers(10) {
		t.Errorf("%d bytes of %d, %d lost, kept %.60s…", size, s.max, lost, strings.Join(got, " "))
	}
	s.write(spooled(1)) // there is room again
	if got := drain(s); len(got) != 1 {
		t.Errorf("after it: %v", got)
	}
}

// TestSpoolRots flips each bit of a segment: a record is either as it was written
// or not there, and its loss is counted.
func TestSpoolRots(t *testing.T) {
	for bit := range 8 * 400 {
		s := openSpool(t, t.TempDir())
		s.write(spooled(4))
		raw, err := os.ReadFile(s.file(1))
		if err != nil {
			t.Fatal(err)
		}
		if bit/8 >= len(raw) {
			return
		}
		raw[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(s.file(1), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		got := drain(s)
		_, lost, _ := s.standing()
		if !strings.HasPrefix(numbers(4), strings.Join(got, " ")) || bit/8 >= len(segmentMagic) && lost == 0 {
			t.Fatalf("bit %d: %v, %d lost", bit, got, lost)
		}
	}
}

func FuzzSegment(f *testing.F) {
	b := []byte(segmentMagic)
	for _, p := range []string{"one", "two", strings.Repeat("x", 300)} {
		b = appendRecord(b, []byte(p))
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte(segmentMagic))
	f.Add(append([]byte(segmentMagic), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, segment []byte) {
		size, err := wholeRecords(segment)
		if size < 0 || size > int64(len(segment)) || err == nil && size != int64(len(segment)) {
			t.Fatalf("%d whole bytes of %d, %v", size, len(segment), err)
		}
		if size == 0 {
			return
		}
		again := []byte(segmentMagic)
		for rest := segment[len(segmentMagic):size]; len(rest) > 0; {
			payload, next, err := nextRecord(rest)
			if err != nil {
				t.Fatalf("a record of the whole part: %v", err)
			}
			again, rest = appendRecord(again, payload), next
		}
		if !bytes.Equal(again, segment[:size]) {
			t.Fatal("written again, the records are others")
		}
	})
}

// log plays audit: it takes an event once.
type auditLog struct {
	mu     sync.Mutex
	fail   error
	events map[string]*auditv1.Event
	sent   int
}

func (l *auditLog) deliver(_ context.Context, req proto.Message) (proto.Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, _ := req.(*eventv1.DeliverRequest)
	out := &eventv1.DeliverResponse{}
	for _, ev := range r.GetEvents() {
		l.sent++
		m := &auditv1.Event{}
		if err := proto.Unmarshal(ev.GetPayload(), m); err != nil {
			return nil, err
		}
		l.events[string(ev.GetId())] = m
		out.Results = append(out.Results, &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_APPLIED})
	}
	if l.fail != nil {
		return nil, l.fail // taken, and the answer is lost
	}
	return out, nil
}

// counts sums the denials by reason, and gives the number of events.
func (l *auditLog) counts(t *testing.T) (byReason map[string]int64, events int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	byReason = map[string]int64{}
	for _, ev := range l.events {
		keys := map[string]string{}
		for _, c := range ev.GetChanges() {
			keys[c.GetPath()] = c.GetAfter()
		}
		n, err := strconv.ParseInt(keys["count"], 10, 64)
		if err != nil || ev.GetAction() != "edge.denied" || ev.GetOutcome() != auditv1.Event_DENIED || keys["route"] == "" || len(keys) != 3 {
			t.Fatalf("an event is %v", ev)
		}
		byReason[strings.Trim(keys["reason"], `"`)] += n
	}
	return byReason, len(l.events)
}

func spoolHarness(t *testing.T) (*harness, *auditLog) {
	t.Helper()
	h := newHarness(t, func(h *harness) { h.spool = openSpool(t, filepath.Join(t.TempDir(), "spool")) })
	l := &auditLog{events: map[string]*auditv1.Event{}}
	h.b.when(eventv1.EventInboxService_Deliver_FullMethodName, l.deliver)
	return h, l
}

// TestDenialsAreRecorded sends what the edge refuses, and what it must not record.
func TestDenialsAreRecorded(t *testing.T) {
	h, l := spoolHarness(t)
	l.mu.Lock()
	l.fail = fail.New(fail.Unavailable, "audit is away")
	l.mu.Unlock()
	want(t, h.do("GET", "/api/v1/users/me", "", bearer("forged.token.here")), 401, "INVALID_TOKEN")
	want(t, h.do("GET", "/api/v1/users/me", ""), 401, "UNAUTHENTICATED")
	want(t, h.do("GET", "/api/v1/audit/events", "", bearer(h.token())), 403, "PERMISSION_DENIED")
	want(t, h.do("POST", "/api/v1/auth/logout", "", "Cookie: access_token="+h.token()), 403, "CSRF_FAILED")
	expired := func(c *token.Claims) { c.Expires = time.Now().Add(-time.Hour).Unix() }
	want(t, h.do("GET", "/api/v1/users/me", "", bearer(h.token(expired))), 401, "TOKEN_EXPIRED")
	eventually(t, "three events delivered twice, the answers lost", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.events) == 3 && l.sent > 6
	})
	l.mu.Lock()
	l.fail = nil
	l.mu.Unlock()
	eventually(t, "the spool is empty", func() bool { n, _, _ := h.spool.standing(); return n == 0 })
	got, events := l.counts(t)
	if events != 3 || got["INVALID_TOKEN"] != 1 || got["PERMISSION_DENIED"] != 1 || got["CSRF_FAILED"] != 1 {
		t.Errorf("%d events: %v", events, got)
	}
	for _, ev := range l.events {
		signed := ev.GetActor().GetType() == "user"
		if ev.GetIpPrefix() != "127.0.0.0/24" || ev.GetRequestId() == "" || signed != (ev.GetChanges()[1].GetAfter() != `"INVALID_TOKEN"`) {
			t.Errorf("event %v", ev)
		}
		if signed && ev.GetActor().GetId() != id.Format("usr", h.user) {
			t.Errorf("actor %v", ev.GetActor())
		}
	}
}

// TestFloodIsALine: thousands of refusals are a handful of events that count them
// all.
func TestFloodIsALine(t *testing.T) {
	s := openSpool(t, t.TempDir())
	d := newDenials(s, id.NewMaker(time.Now, rand.Reader), time.Now, zerolog.Nop())
	const n, kinds = 100_000, 3 * maxDenials
	for i := range n {
		d.count(denial{route: "GET /x", reason: "INVALID_TOKEN", prefix: fmt.Sprintf("10.%d.%d.0/24", i%kinds>>8, i%kinds&0xff)}, "req")
	}
	d.flush()
	d.turnOver()
	d.flush()
	l := &auditLog{events: map[string]*auditv1.Event{}}
	for {
		events, at, end := s.waiting(spoolBatch)
		if at == nil {
			break
		}
		if _, err := l.deliver(t.Context(), &eventv1.DeliverRequest{Events: events}); err != nil {
			t.Fatal(err)
		}
		s.done(at, end)
	}
	got, events := l.counts(t)
	if got["INVALID_TOKEN"] != n || events > 2*maxDenials+2 || d.lost != 0 {
		t.Errorf("%d refusals in %d events, %d lost; want all %d in at most %d", got["INVALID_TOKEN"], events, d.lost, n, 2*maxDenials+2)
	}
}

// TestSpoolPoison: what audit cannot bear goes aside after some tries; the rest
// arrives.
func TestSpoolPoison(t *testing.T) {
	s := openSpool(t, t.TempDir())
	d := newDenials(s, id.NewMaker(time.Now, rand.Reader), time.Now, zerolog.Nop())
	s.write(spooled(50))
	to := &sender{denials: d, size: spoolBatch, audit: deliverFunc(func(r *eventv1.DeliverRequest) (*eventv1.DeliverResponse, error) {
		out := &eventv1.DeliverResponse{}
		for _, ev := range r.GetEvents() {
			if ev.GetKey() == "31" {
				return nil, fail.New(fail.Internal, "cannot be stored")
			}
			out.Results = append(out.Results, &eventv1.DeliverResponse_Result{Outcome: eventv1.DeliverResponse_Result_APPLIED})
		}
		return out, nil
	})}
	for range 200 {
		if _, err := to.once(t.Context()); err != nil && !fail.Is(err, fail.Internal) {
			t.Fatal(err)
		}
	}
	aside, err := os.ReadFile(filepath.Join(s.dir, refusedFile))
	if n, _, _ := s.standing(); n != 0 || d.refused != 1 || err != nil {
		t.Fatalf("%d bytes left, %d refused, %v", n, d.refused, err)
	}
	if size, err := wholeRecords(aside); err != nil || size != int64(len(aside)) {
		t.Errorf("what was set aside is no segment: %v", err)
	}
}

type deliverFunc func(*eventv1.DeliverRequest) (*eventv1.DeliverResponse, error)

func (f deliverFunc) Deliver(_ context.Context, r *eventv1.DeliverRequest, _ ...grpc.CallOption) (*eventv1.DeliverResponse, error) {
	return f(r)
}

// TestSpoolDiskGone: a disk that is away fails no request and is counted.
func TestSpoolDiskGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	h := newHarness(t, func(h *harness) { h.spool = openSpool(t, dir) })
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	want(t, h.do("GET", "/api/v1/users/me", "", bearer("forged.token.here")), 401, "INVALID_TOKEN")
	eventually(t, "the loss is counted", func() bool { _, lost, _ := h.spool.standing(); return lost == 1 })
}
