package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/trail"
)

const (
	exportRows  = 2000             // read at a time: a megabyte or two
	exportTime  = 30 * time.Second // for one such part
	exportLive  = 3                // of one person's at a time
	exportLife  = 24 * time.Hour   // of a file
	exportTries = 5
	exportBytes = 4 << 30     // of a file: chunks lie in the database beside the log
	partBytes   = 512 << 10   // of a file, in one row
	beatEvery   = time.Second // what a running export says of itself
	deadAfter   = time.Minute // without a word, its process has died
	sweepEvery  = 20 * time.Second
	sendBytes   = 64 << 10 // of a file, in one message
)

// States of an export.
const (
	exportQueued    = "QUEUED"
	exportRunning   = "RUNNING"
	exportDone      = "DONE"
	exportFailed    = "FAILED"
	exportCancelled = "CANCELLED"
	exportExpired   = "EXPIRED"
)

// errEnded says that an export is no longer this run's: it was cancelled, or
// another run has taken it over.
var errEnded = errors.New("the export has ended")

// export is a job and the manifest of what it wrote.
type export struct {
	ID         uuid.UUID
	OwnerID    uuid.UUID
	Format     string
	Filters    filter
	State      string
	Attempt    int32
	LogSize    int64
	Rows       int64
	Bytes      int64
	Parts      int32
	Progress   int32
	FirstSeq   int64
	LastSeq    int64
	Sum        []byte
	Checkpoint string
	Failure    string
	CreatedAt  time.Time
	FinishedAt *time.Time
	ExpiresAt  *time.Time
}

// details name what an export holds, for the log.
func (x export) details() []detail {
	return append(x.Filters.details(), detail{"format", x.Format})
}

// manifest names what an export has written, for the log.
func (x export) manifest() []detail {
	return append(x.details(), detail{"rows", x.Rows}, detail{"bytes", x.Bytes}, detail{"logSize", x.LogSize},
		detail{"firstSeq", x.FirstSeq}, detail{"lastSeq", x.LastSeq}, detail{"sha256", hex.EncodeToString(x.Sum)})
}

// about is an export as a target.
func (x export) about() target { return target{Type: "export", ID: exportName(x.ID)} }

// noted counts a row that has been written.
func (x *export) noted(row found) {
	x.Rows++
	if x.FirstSeq == 0 || row.Seq < x.FirstSeq {
		x.FirstSeq = row.Seq
	}
	x.LastSeq = max(x.LastSeq, row.Seq)
}

// parts cuts what is written into pieces of size, each handed to put, and sums
// it up. put must not keep the piece.
type parts struct {
	put  func(piece []byte) error
	size int
	buf  []byte
	sum  hash.Hash
	n    int64
}

func newParts(size int, put func([]byte) error) *parts {
	return &parts{put: put, size: size, buf: make([]byte, 0, size), sum: sha256.New()}
}

// Write implements io.Writer.
func (p *parts) Write(b []byte) (int, error) {
	written := len(b)
	for len(b) > 0 {
		n := min(len(b), p.size-len(p.buf))
		p.buf = append(p.buf, b[:n]...)
		b = b[n:]
		if len(p.buf) == p.size {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (p *parts) flush() error {
	p.n += int64(len(p.buf))
	p.sum.Write(p.buf)
	err := p.put(p.buf)
	p.buf = p.buf[:0]
	return err
}

// end hands over the rest, if there is any.
func (p *parts) end() error {
	if len(p.buf) == 0 {
		return nil
	}
	return p.flush()
}

// encoder writes rows of the log in a format.
type encoder interface {
	encode(row found) error
	end() error // of the file
}

// each reads what f finds up to head, oldest first, and gives it to do in
// parts. Between them nothing is held: neither a connection nor a transaction.
func (s *Service) each(ctx context.Context, f filter, head int64, do func(list []found) error) error {
	f.Ascending = true
	p := span{Head: head, Limit: exportRows, Patience: exportTime}
	for {
		list, err := s.search(ctx, f, p)
		if err != nil {
			return err
		}
		if err := do(list); err != nil {
			return err
		}
		if len(list) < p.Limit {
			return nil
		}
		last := list[len(list)-1]
		p.After = &cursor{OccurredAt: last.OccurredAt, Seq: last.Seq}
	}
}

// runExport writes one export's file. It ends with errEnded when it is no
// longer this run's, and then leaves nothing behind.
func (s *Service) runExport(ctx context.Context, id uuid.UUID, newEncoder func(format string, w io.Writer) encoder) error {
	x, ok, err := s.claimExport(ctx, id)
	if err != nil || !ok {
		return err
	}
	out := newParts(partBytes, func(piece []byte) error {
		x.Bytes += int64(len(piece))
		if x.Bytes > exportBytes {
			return fail.New(fail.InvalidArgument, "the file would be larger than 4 GiB: ask for a shorter time")
		}
		x.Parts++
		return s.savePart(ctx, x, piece)
	})
	enc := newEncoder(x.Format, out)
	var (
		began time.Time // the first event's time: how far it is from there to the last is how much is done
		beat  = s.now()
		until = x.CreatedAt
	)
	if end := x.Filters.End; !end.IsZero() && end.Before(until) {
		until = end
	}
	err = s.each(ctx, x.Filters, x.LogSize, func(list []found) error {
		for _, row := range list {
			if err := enc.encode(row); err != nil {
				return err
			}
			x.noted(row)
		}
		if len(list) == 0 {
			return nil
		}
		if began.IsZero() {
			began = list[0].OccurredAt
		}
		x.Progress = progress(began, list[len(list)-1].OccurredAt, until)
		if now := s.now(); now.Sub(beat) >= beatEvery {
			beat = now
			return s.beatExport(ctx, x)
		}
		return nil
	})
	if err == nil {
		err = enc.end()
	}
	if err == nil {
		err = out.end()
	}
	if err != nil {
		return err
	}
	x.Sum, x.Progress = out.sum.Sum(nil), 100
	// Before the file can be had: what is not in the log did not happen.
	if err := s.recordOwn(ctx, trail.AuditExportWritten, true, x.about(), x.manifest()...); err != nil {
		return err
	}
	return s.finishExport(ctx, x)
}

// progress is how much of the time from began to until lies behind at.
func progress(began, at, until time.Time) int32 {
	whole := until.Sub(began)
	if whole <= 0 {
		return 0
	}
	return int32(min(max(at.Sub(began)*100/whole, 0), 99))
}

// giveUp ends an export that cannot be written.
func (s *Service) giveUp(ctx context.Context, id uuid.UUID, why string) error {
	x, ok, err := s.failExport(ctx, id, why)
	if err != nil || !ok {
		return err
	}
	return s.recordOwn(ctx, trail.AuditExportFailed, false, x.about(), append(x.details(), detail{"failure", why})...)
}

// keepExports looks after what nobody else does, until ctx ends: files past
// their time, and exports whose process has died.
func (s *Service) keepExports(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.sweepExports(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
