package money_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/manas360/platform/deploy/chaos/money"
	"github.com/manas360/platform/deploy/dev/stack"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "miniredis" { // a child of the stack, on a machine without Redis
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := stack.Miniredis(ctx, os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The programs are built in the workspace, whatever the test was built in.
	for name, value := range map[string]string{"GOWORK": "", "GOFLAGS": "-trimpath -buildvcs=false"} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestMoneySurvives is money.md M3 on a small scale: the real processes, three
// seeds of which two are always the same. CHAOS_SEED adds one's own.
func TestMoneySurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	seeds := []uint64{1, 2, uint64(time.Now().UnixNano())}
	if own := os.Getenv("CHAOS_SEED"); own != "" {
		n, err := strconv.ParseUint(own, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{n}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { survive(t, seed) })
	}
}

func survive(t *testing.T, seed uint64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "manas-chaos-") //nolint:usetesting // short, for sockets lie in it; and kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	at, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	rep, err := money.Run(t.Context(), money.Config{
		Payments: 150, Refunds: 30, Kills: 12, Seed: seed, Limit: 3 * time.Minute, Settle: time.Minute,
		Now: time.Now, Rand: rand.Reader, Out: &told, Self: self, Dir: dir, Root: at, Env: os.Getenv,
	})
	var table strings.Builder
	if e := rep.Write(&table); e != nil {
		t.Fatal(e)
	}
	t.Log("\n" + table.String())
	if err != nil || len(rep.Wrong) > 0 {
		t.Fatalf("CHAOS_SEED=%d finds %d things wrong; the logs are in %s/logs: %v\n%s", seed, len(rep.Wrong), dir, err, told.String())
	}
	if rep.Kills < 12 || rep.Captured < 75 || rep.Refunded < 10 {
		t.Errorf("%d kills and %d captures: too little to mean something", rep.Kills, rep.Captured)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
