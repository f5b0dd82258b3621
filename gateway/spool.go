package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const (
	segmentSize   = 1 << 20  // then a new one begins
	spoolSize     = 64 << 20 // of all segments; see write
	spoolPending  = 4096     // events that wait for the disk
	spoolBatch    = 200      // of one delivery, event.proto's bound
	segmentSuffix = ".spool"
	refusedFile   = "refused.dead"
)

// Spool keeps the edge's audit events on disk until audit has them: the edge has
// no database. Events that are written together share one fsync. What was there
// when the process died is sent by the next one, and what was sent already is a
// duplicate to audit, since an event's id is made before it is written. Safe for
// concurrent use; nothing here waits for the disk but the worker that writes.
type Spool struct {
	dir string
	max int64 // bytes of all segments
	now func() time.Time
	log zerolog.Logger

	lock    *os.File      // held while the spool is open
	written chan struct{} // something may be sent

	mu       sync.Mutex // guards all below; held while a file is read or written, never by a request
	segments []*segment // oldest first
	current  *os.File   // of the last segment; nil: the next write begins one
	bytes    int64
	lost     int64 // events that could not be kept, by the disk or for want of room
}

// segment is one file.
type segment struct {
	n     uint64
	size  int64     // that is on disk and whole
	sent  int64     // that audit has
	since time.Time // of the first write, as far as this process knows
}

// OpenSpool finds what an earlier process left in dir, which is made if need be.
// It fails while another process has it open: one would send and remove what the
// other still writes.
func OpenSpool(dir string, now func() time.Time, log zerolog.Logger) (*Spool, error) {
	s := &Spool{dir: dir, max: spoolSize, now: now, log: log, written: make(chan struct{}, 1)}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the operator names the folder
		return nil, fmt.Errorf("make the spool: %w", err)
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_WRONLY, 0o600); err != nil { //nolint:gosec // the operator's own folder
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("open the spool, which another process has: %w", err), s.lock.Close())
	}
	if err := s.find(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	ring(s.written)
	return s, nil
}

// Close ends the current segment and lets another process have the spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate()
	return s.lock.Close() //nolint:wrapcheck // frees the lock; there is nothing to say about it
}

func (s *Spool) find() error {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	for _, f := range files {
		n, err := strconv.ParseUint(strings.TrimSuffix(f.Name(), segmentSuffix), 16, 64)
		if err != nil || !strings.HasSuffix(f.Name(), segmentSuffix) {
			continue // not ours
		}
		if err := s.adopt(n); err != nil {
			return err
		}
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.n, b.n) })
	return nil
}

// adopt takes over a segment as far as it is whole. Nothing is added to it.
func (s *Spool) adopt(n uint64) error {
	raw, err := os.ReadFile(s.file(n))
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	size, err := wholeRecords(raw)
	if err != nil { // torn: its write never ended, so nobody counts on it
		s.log.Warn().Err(err).Uint64("segment", n).Int64("whole", size).Int("bytes", len(raw)).Msg("spool segment cut short")
	}
	if size <= int64(len(segmentMagic)) {
		return s.remove(n)
	}
	s.segments = append(s.segments, &segment{n: n, size: size, sent: int64(len(segmentMagic)), since: s.now()})
	s.bytes += size
	return nil
}

func (s *Spool) file(n uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", n, segmentSuffix))
}

func (s *Spool) remove(n uint64) error {
	if err := os.Remove(s.file(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a segment: %w", err)
	}
	return nil
}

// write puts events on disk with one fsync. When the spool is full it keeps what
// it has, the oldest, since that tells how a thing began; what cannot be kept is
// counted and given up.
func (s *Spool) write(events []*eventv1.Event) {
	if len(events) == 0 {
		return
	}
	var b []byte
	kept := int64(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range events {
		payload, err := proto.Marshal(ev)
		if err != nil || len(payload) > maxRecordSize || s.bytes+int64(len(b)+len(payload))+recordHeader > s.max {
			s.lost++
			continue
		}
		b = appendRecord(b, payload)
		kept++
	}
	if len(b) == 0 {
		return
	}
	if err := s.commit(b); err != nil {
		s.lost += kept
		s.log.Error().Err(err).Int64("events", kept).Msg("audit events not spooled")
		s.rotate() // whatever half of it is there is behind the last whole record
		return
	}
	ring(s.written)
}

func (s *Spool) commit(b []byte) error {
	if s.current == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if _, err := s.current.Write(b); err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	if err := s.current.Sync(); err != nil {
		return fmt.Errorf("sync a segment: %w", err)
	}
	seg := s.segments[len(s.segments)-1]
	seg.size += int64(len(b))
	s.bytes += int64(len(b))
	if seg.size >= segmentSize {
		s.rotate()
	}
	return nil
}

// begin makes a segment, whose name is as durable as its content.
func (s *Spool) begin() error {
	n := uint64(1)
	if len(s.segments) > 0 {
		n = s.segments[len(s.segments)-1].n + 1
	}
	f, err := os.OpenFile(s.file(n), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("begin a segment: %w", err)
	}
	if _, err := f.WriteString(segmentMagic); err != nil {
		return errors.Join(fmt.Errorf("begin a segment: %w", err), f.Close())
	}
	if err := syncDir(s.dir); err != nil {
		return errors.Join(fmt.Errorf("begin a segment: %w", err), f.Close())
	}
	head := int64(len(segmentMagic))
	s.segments = append(s.segments, &segment{n: n, size: head, sent: head, since: s.now()})
	s.bytes += head
	s.current = f
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // our own folder
	if err != nil {
		return err //nolint:wrapcheck // begin says what for
	}
	return errors.Join(d.Sync(), d.Close())
}

// rotate ends the current segment.
func (s *Spool) rotate() {
	if s.current == nil {
		return
	}
	if err := s.current.Close(); err != nil {
		s.log.Warn().Err(err).Msg("spool segment not closed")
	}
	s.current = nil
}

// waiting reads the oldest events that audit does not have, at most n, and where
// they end.
func (s *Spool) waiting(n int) (events []*eventv1.Event, at *segment, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.purge() // of what has proved unreadable
	for _, seg := range s.segments {
		if seg.sent >= seg.size {
			continue
		}
		raw, err := s.read(seg)
		if err != nil {
			s.log.Error().Err(err).Uint64("segment", seg.n).Msg("spool segment not readable")
			s.lost++ // at least one
			seg.sent = seg.size
			continue
		}
		end = seg.sent
		for rest := raw; len(events) < n; {
			payload, next, err := nextRecord(rest)
			if err != nil {
				s.log.Error().Err(err).Uint64("segment", seg.n).Int64("at", end).Msg("spool segment has rotted")
				s.lost++
				seg.size = end // the rest of it cannot be found
				break
			}
			if payload == nil {
				break
			}
			end += int64(len(rest) - len(next))
			rest = next
			ev := &eventv1.Event{}
			if err := proto.Unmarshal(payload, ev); err != nil {
				s.lost++ // whole, and yet no event: of another release
				continue
			}
			events = append(events, ev)
		}
		if end > seg.sent {
			return events, seg, end
		}
	}
	return nil, nil, 0
}

func (s *Spool) read(seg *segment) ([]byte, error) {
	f, err := os.Open(s.file(seg.n))
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller logs it with the segment
	}
	raw := make([]byte, seg.size-seg.sent)
	_, err = f.ReadAt(raw, seg.sent)
	return raw, errors.Join(err, f.Close())
}

// done notes that audit has a segment up to end. One it has whole goes.
func (s *Spool) done(at *segment, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at.sent = max(at.sent, end)
	s.purge()
}

// purge removes segments with nothing left to send. Called under mu.
func (s *Spool) purge() {
	if len(s.segments) == 0 {
		return
	}
	s.bytes = 0
	last := s.segments[len(s.segments)-1]
	s.segments = slices.DeleteFunc(s.segments, func(seg *segment) bool {
		if seg.sent < seg.size {
			s.bytes += seg.size
			return false
		}
		if seg == last {
			s.rotate()
		}
		if err := s.remove(seg.n); err != nil { // it is sent again after the next start, as duplicates
			s.log.Warn().Err(err).Msg("spool segment stays")
		}
		return true
	})
}

// setAside keeps an event that audit will not have, for a person: the file has
// the form of a segment.
func (s *Spool) setAside(ev *eventv1.Event) error {
	payload, err := proto.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, refusedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the refused events: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open the refused events: %w", err), f.Close())
	}
	var b []byte
	switch {
	case st.Size() == 0:
		b = []byte(segmentMagic)
	case st.Size() > segmentSize:
		return errors.Join(errors.New("the file of refused events is full"), f.Close())
	}
	_, err = f.Write(appendRecord(b, payload))
	return errors.Join(err, f.Sync(), f.Close())
}

// standing is what an operator watches.
func (s *Spool) standing() (bytes, lost int64, oldest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) > 0 {
		oldest = s.now().Sub(s.segments[0].since)
	}
	return s.bytes, s.lost, oldest
}
