package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lock is held for as long as a stack runs; the kernel drops it however the process ends.
type lock struct{ file *os.File }

var errLocked = errors.New("another process holds the lock")

func takeLock(name string) (*lock, error) {
	f, err := os.OpenFile(filepath.Clean(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errLocked, f.Close())
	}
	return &lock{f}, nil
}

func (l *lock) free() error { return l.file.Close() }

// pidFile names the supervisor. The start time tells it from a later process with the same number.
type pidFile struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
	Port    int    `json:"port"`
}

func writePID(name string, port int) error {
	p := pidFile{PID: os.Getpid(), Port: port}
	p.Started = startOf(p.PID)
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the pid: %w", err)
	}
	return writeFile(name, append(raw, '\n'))
}

// readPID returns the supervisor's pid, and whether that very process still lives.
func readPID(name string) (p pidFile, alive bool, err error) {
	raw, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		return p, false, err
	}
	if broken := json.Unmarshal(raw, &p) != nil || p.PID < 2; broken {
		return pidFile{}, false, nil // as good as stale
	}
	now := startOf(p.PID)
	return p, now != "" && now == p.Started, nil
}

// startOf tells when a process began, in whatever unit the system has; empty when there is none.
func startOf(pid int) string {
	if raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		// The command's name is in brackets and may hold anything; the fields after it are fixed.
		_, rest, ok := strings.Cut(string(raw[max(0, strings.LastIndexByte(string(raw), ')')):]), ")")
		if f := strings.Fields(rest); ok && len(f) > 19 && f[0] != "Z" {
			return f[19]
		}
		return ""
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return ""
	}
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx,gosec // ps returns at once, and a number is all it gets
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
