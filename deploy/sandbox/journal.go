package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// entry is one change: what belongs together is one line, so that a crash keeps both or neither.
type entry struct {
	Order  *order  `json:"order,omitempty"`  // one each, in journals of before the other dialects
	Refund *refund `json:"refund,omitempty"` //
	Row    *Row    `json:"row,omitempty"`    //

	Orders   []order       `json:"orders,omitempty"`
	Refunds  []refund      `json:"refunds,omitempty"`
	Rows     []Row         `json:"rows,omitempty"`
	Mandates []mandate     `json:"mandates,omitempty"`
	Disputes []dispute     `json:"disputes,omitempty"`
	Events   []stripeEvent `json:"events,omitempty"`
	Answers  []answer      `json:"answers,omitempty"`
}

func (e entry) empty() bool {
	return len(e.Orders)+len(e.Refunds)+len(e.Rows)+len(e.Mandates)+len(e.Disputes)+len(e.Events)+len(e.Answers) == 0
}

func (e entry) orders() []order {
	if e.Order == nil {
		return e.Orders
	}
	return []order{*e.Order}
}

func (e entry) refunds() []refund {
	if e.Refund == nil {
		return e.Refunds
	}
	r := *e.Refund
	r.Provider = phonepe2
	return []refund{r}
}

// journal is an append-only file of entries.
type journal struct{ file *os.File }

func openJournal(dir string, apply func(entry)) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir, err)
	}
	name := filepath.Join(dir, "journal.ndjson")
	raw, err := os.ReadFile(filepath.Clean(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	whole, err := replay(raw, apply)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := os.OpenFile(filepath.Clean(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	// What follows the last whole line was being written when the process died; the caller never heard of it.
	if err := f.Truncate(int64(whole)); err != nil {
		return nil, errors.Join(fmt.Errorf("cut the torn line: %w", err), f.Close())
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("seek the journal's end: %w", err), f.Close())
	}
	return &journal{file: f}, nil
}

// replay applies every whole line and returns how many bytes they take.
func replay(raw []byte, apply func(entry)) (int, error) {
	done := 0
	for line := 1; ; line++ {
		end := bytes.IndexByte(raw[done:], '\n')
		if end < 0 {
			return done, nil
		}
		var e entry
		if err := json.Unmarshal(raw[done:done+end], &e); err != nil {
			return done, fmt.Errorf("line %d is not an entry: %w", line, err)
		}
		apply(e)
		done += end + 1
	}
}

// append writes one line with one write: it survives the death of the process, which is what a sandbox promises.
func (j *journal) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an entry: %w", err)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
