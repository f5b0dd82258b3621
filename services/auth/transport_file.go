package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
)

// files writes letters into a folder instead of sending them: development only.
type files struct {
	dir string
	now func() time.Time

	mu   sync.Mutex // guards last, and keeps files coming in order
	last time.Time
}

// prepare makes the directory; start-up fails when mail cannot go out.
func (f *files) prepare() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of messages: %w", err)
	}
	return nil
}

// send writes one file, whole or not at all; names sort in the order of sending.
func (f *files) send(_ context.Context, id uuid.UUID, l letter) error {
	text, err := json.Marshal(l)
	if err != nil {
		return &undelivered{Why: "the message is not a letter", Final: true}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now().UTC()
	if !at.After(f.last) {
		at = f.last.Add(1)
	}
	f.last = at
	// Two processes may write here: the id keeps their files apart.
	name := at.Format("20060102T150405.000000000Z") + "-" + id.String()[24:] + ".json"
	temp := filepath.Join(f.dir, "."+name+".tmp")
	err = os.WriteFile(temp, text, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // emptied under us
		if err = f.prepare(); err == nil {
			err = os.WriteFile(temp, text, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(f.dir, name))
	}
	if err != nil {
		return &undelivered{Why: "write a file: " + err.Error()}
	}
	return nil
}
