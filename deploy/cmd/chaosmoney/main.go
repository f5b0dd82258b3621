// Command chaosmoney is `make chaos-money`: see package money.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/manas360/platform/deploy/chaos/money"
	"github.com/manas360/platform/deploy/dev/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once; the kernel ends our children then
	if len(os.Args) > 3 && os.Args[1] == "miniredis" {
		exit(stack.Miniredis(ctx, os.Args[3]))
		return
	}
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaosmoney:", err)
		os.Exit(1)
	}
}

var errWrong = errors.New("the books are wrong")

func run(ctx context.Context) (err error) {
	c := money.Config{Settle: time.Minute, Now: time.Now, Rand: rand.Reader, Out: os.Stdout, Env: os.Getenv}
	var out string
	flag.IntVar(&c.Payments, "payments", 10_000, "how many customers pay")
	flag.IntVar(&c.Refunds, "refunds", 2_000, "how many refunds are asked for")
	flag.IntVar(&c.Kills, "kills", 300, "how often a process is killed, at least")
	flag.Uint64Var(&c.Seed, "seed", 0, "of all that is drawn; 0 takes the clock")
	flag.DurationVar(&c.Limit, "limit", time.Hour, "for the chaos")
	flag.StringVar(&out, "out", ".data/chaos-money.svg", "where the plot goes")
	flag.Parse()
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	if c.Payments < 1 || c.Payments > 100_000 || c.Refunds < 0 || c.Refunds > c.Payments || c.Kills < 0 || c.Kills > 10_000 {
		return errors.New("payments are 1 to 100000, refunds no more than payments, kills up to 10000")
	}
	if c.Root, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	if c.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if st, err := os.Stdout.Stat(); err == nil {
		c.TTY = st.Mode()&os.ModeCharDevice != 0
	}
	if c.Dir, err = os.MkdirTemp("", "manas-chaos-"); err != nil { // short: sockets lie in it
		return fmt.Errorf("make the stack's folder: %w", err)
	}
	rep, err := money.Run(ctx, c)
	if rep.Timeline != nil {
		err = errors.Join(err, rep.Write(os.Stdout), plot(out, rep))
	}
	if len(rep.Wrong) > 0 {
		err = errors.Join(errWrong, err)
	}
	if err != nil {
		return fmt.Errorf("SEED=%d: %w (logs: %s/logs)", c.Seed, err, c.Dir)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove the stack's folder: %w", err)
	}
	return nil
}

func plot(name string, rep money.Report) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return fmt.Errorf("make the plot's folder: %w", err)
	}
	if err := os.WriteFile(name, rep.Plot(), 0o600); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	fmt.Println("plot:", name)
	return nil
}
