package gateway

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const spoolDirVar = "MANAS_TEST_SPOOL" // of a child that writes until it is killed

// TestSpoolWriter is that child: it says the number of an event once it is on disk.
func TestSpoolWriter(t *testing.T) {
	dir := os.Getenv(spoolDirVar)
	if dir == "" {
		return // not a child
	}
	s := openSpool(t, dir)
	from, err := strconv.Atoi(os.Getenv(spoolDirVar + "_FROM"))
	if err != nil {
		t.Fatal(err)
	}
	for n := from; n < from+100_000; n++ {
		ev := spooled(1)[0]
		ev.Key, ev.Payload = strconv.Itoa(n), make([]byte, n%3000)
		s.write([]*eventv1.Event{ev})
		_, _ = fmt.Fprintf(os.Stdout, "n=%d\n", n) // the parent may have gone
	}
}

// audit_admin_ops.md section 5: a process is killed while it writes, again and
// again; the next one sends all that was on disk, once and in order.
func TestSpoolSurvivesSIGKILL(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const kills = 15
	committed := map[int]bool{}
	next := 0
	for round := range kills {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSpoolWriter$")
		cmd.Env = append(os.Environ(), spoolDirVar+"="+dir, spoolDirVar+"_FROM="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var killer *time.Timer
		for seen := 0; lines.Scan(); {
			n := 0
			if _, err := fmt.Sscanf(lines.Text(), "n=%d", &n); err != nil {
				continue
			}
			committed[n], next = true, n+1000
			if seen++; seen == 1 {
				killer = time.AfterFunc(time.Duration(7*round)*time.Millisecond, func() { _ = cmd.Process.Kill() }) // Wait tells
			}
		}
		if killer != nil {
			killer.Stop()
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
	}
	s := openSpool(t, dir)
	var got []int
	for _, key := range drain(s) {
		n, err := strconv.Atoi(key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
		delete(committed, n)
	}
	if len(committed) > 0 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%d of %d events lost, sorted %t", len(committed), len(got), slices.IsSorted(got))
	}
	if _, lost, _ := s.standing(); lost != 0 || len(got) < kills {
		t.Errorf("%d events, %d counted as lost", len(got), lost)
	}
	t.Logf("%d events over %d kills", len(got), kills)
}
