package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The kernel counts CPU in hundredths of a second for every program (USER_HZ).
const tick = 10 * time.Millisecond

// usage is what a process and its descendants have used and hold.
type usage struct {
	CPU time.Duration
	RSS int64 // bytes
}

type process struct {
	parent int
	usage
}

// processes reads /proc once. A process that ends meanwhile is left out: what it
// used is in its parent's account.
func processes() (map[int]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]process, len(files))
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Clean(f))
		if err != nil {
			continue
		}
		if p, ok := parseStat(string(raw)); ok {
			all[pid] = p
		}
	}
	return all, nil
}

// parseStat reads proc(5)'s stat; the name in brackets may hold anything.
func parseStat(raw string) (process, bool) {
	_, rest, ok := cutLast(raw, ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return process{}, false
	}
	n := func(i int) int64 { v, _ := strconv.ParseInt(f[i], 10, 64); return v } // the kernel writes numbers
	return process{parent: int(n(1)), usage: usage{
		CPU: time.Duration(n(11)+n(12)+n(13)+n(14)) * tick, // with the children it has buried
		RSS: n(21) * int64(os.Getpagesize()),
	}}, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// usageOf sums each named process with its descendants.
func usageOf(pids map[string]int) (map[string]usage, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	owner := make(map[int]string, len(pids))
	for name, pid := range pids {
		owner[pid] = name
	}
	out := make(map[string]usage, len(pids))
	for pid, p := range all {
		name, known := "", false
		for at := pid; at > 1 && !known; at = all[at].parent {
			name, known = owner[at]
		}
		if known {
			u := out[name]
			out[name] = usage{CPU: u.CPU + p.CPU, RSS: u.RSS + p.RSS}
		}
	}
	return out, nil
}
