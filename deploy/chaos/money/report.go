package money

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Report is what a run found. An empty Wrong is what everybody hopes for.
type Report struct {
	Seed      uint64
	Payments  int
	Kills     int
	Faults    int
	Deaths    map[string]int           // by part
	Back      map[string]time.Duration // the longest that a part needed to answer again
	Chaos     time.Duration            // how long it lasted
	Settled   time.Duration            // from its end until all was terminal
	Stopped   time.Duration            // how long the stack took to end
	Left      leftovers
	Captured  int // movements in the bank's statement
	Refunded  int
	AtBank    int64 // captured less given back
	InLedger  int64
	States    map[string]int // of payments
	Customers map[string]int // what they met
	Wrong     []string
	Timeline  *timeline
}

func (rep *Report) fill(r *run, chaos time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep.Chaos, rep.Kills, rep.Faults, rep.Deaths = chaos, int(r.killed.Load()), int(r.faults.Load()), maps.Clone(r.deaths)
	rep.Back = maps.Clone(r.back)
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	rep.Customers = maps.Clone(r.tally.notes)
	rep.Timeline = &r.line
}

// Write prints the report as a table.
func (rep Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(t, name+"\t"+format+"\n", args...) // Flush tells
	}
	row("seed", "%d", rep.Seed)
	perMinute := int64(0)
	if rep.Chaos > 0 {
		perMinute = int64(rep.Payments) * int64(time.Minute) / int64(rep.Chaos)
	}
	row("payments", "%d in %v, %d.%d a second", rep.Payments, rep.Chaos.Round(100*time.Millisecond), perMinute/60, perMinute%60/6)
	row("kills", "%d: %s", rep.Kills, list(rep.Deaths))
	row("back within", "%s", list(rounded(rep.Back)))
	row("broken wires", "%d", rep.Faults)
	row("terminal after", "%v", rep.Settled.Round(10*time.Millisecond))
	row("stopped in", "%v", rep.Stopped.Round(10*time.Millisecond))
	row("states", "%s", list(rep.States))
	row("customers", "%s", list(rep.Customers))
	row("statement", "%d captures, %d refunds, %s", rep.Captured, rep.Refunded, rupees(rep.AtBank))
	row("ledger", "%s", rupees(rep.InLedger))
	for _, s := range rep.Wrong {
		row("WRONG", "%s", s)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

func rupees(minor int64) string { return fmt.Sprintf("₹%d.%02d", minor/100, max(minor, -minor)%100) }

func rounded(m map[string]time.Duration) map[string]time.Duration {
	all := make(map[string]time.Duration, len(m))
	for name, d := range m {
		all[name] = d.Round(10 * time.Millisecond)
	}
	return all
}

func list[V any](m map[string]V) string {
	all := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %v", name, m[name]))
	}
	return strings.Join(all, ", ")
}

// said keeps what the stack tells. It may be written and read at the same time.
type said struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

// Write keeps p.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
