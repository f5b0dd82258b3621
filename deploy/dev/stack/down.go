package stack

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// downLimit leaves the services their own 45 s.
const downLimit = 90 * time.Second

// Down stops the stack of this data folder, wherever it was started.
func (s *Stack) Down(ctx context.Context) error {
	name := s.path("dev.pid")
	p, alive, err := readPID(name)
	if errors.Is(err, fs.ErrNotExist) {
		s.say("nothing runs in %s", s.short(""))
		return nil
	}
	if err != nil {
		return problem("read %s: %v", name, err)
	}
	if !alive {
		s.say("process %d is gone already: it did not stop by itself; cleaned up", p.PID)
		return os.Remove(name)
	}
	began := s.Now()
	if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil {
		return problem("process %d cannot be stopped: %v", p.PID, err)
	}
	err = poll(ctx, downLimit, func(context.Context) error {
		held, err := takeLock(s.path("lock"))
		if err != nil {
			return err
		}
		return held.free()
	})
	if err != nil {
		return problem("process %d has not stopped after %.0f s: see %s, or `kill -9 %d`", p.PID, downLimit.Seconds(), s.path("logs"), p.PID)
	}
	s.say("stopped in %.1f s", s.Now().Sub(began).Seconds())
	return nil
}

// Reset stops the stack and empties its folder.
func (s *Stack) Reset(ctx context.Context) error {
	held, err := os.ReadDir(s.DataDir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(held) == 0 {
		s.say("%s is empty", s.short(""))
		return nil
	}
	if err != nil {
		return problem("MANAS_DATA_DIR: %v", err)
	}
	if _, err := os.Stat(s.path(marker)); err != nil {
		return problem("%s was not made by `make up`: nothing is removed", s.DataDir)
	}
	if err := s.Down(ctx); err != nil {
		return err
	}
	lock, err := takeLock(s.path("lock"))
	if err != nil {
		return s.runsAlready()
	}
	// Read again: Down and the lock have changed it. The lock's own file goes while it is held.
	if held, err = os.ReadDir(s.DataDir); err != nil {
		return errors.Join(problem("MANAS_DATA_DIR: %v", err), lock.free())
	}
	socket, _ := os.ReadFile(s.path("pg.socket")) // it may be outside the folder
	var errs []error
	for _, e := range held {
		if e.Name() != marker { // the last to go: half a reset can be repeated
			errs = append(errs, os.RemoveAll(s.path(e.Name())))
		}
	}
	errs = append(errs, removeSocketDir(string(socket)), lock.free())
	if err := errors.Join(errs...); err != nil {
		return problem("%s cannot be emptied: %v", s.DataDir, err)
	}
	if err := os.Remove(s.path(marker)); err != nil {
		return problem("%s cannot be emptied: %v", s.DataDir, err)
	}
	s.say("emptied %s", s.short(""))
	return nil
}
