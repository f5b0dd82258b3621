// Command bench is `make bench`: see package load.
package main

import (
	"bytes"
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

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once; the kernel ends our children then
	switch {
	case len(os.Args) > 3 && os.Args[1] == "miniredis":
		exit(stack.Miniredis(ctx, os.Args[3]))
	case len(os.Args) > 2 && os.Args[1] == "yardstick":
		exit(load.Serve(ctx, os.Args[2:], os.Stdin, os.Stdout))
	default:
		exit(run(ctx))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	c := load.Config{Now: time.Now, Rand: rand.Reader, Out: os.Stdout, Env: os.Getenv}
	var out string
	flag.BoolVar(&c.Short, "short", false, "less than two minutes once the stack is up")
	flag.StringVar(&out, "out", ".data/bench", "folder of the report and the plot")
	flag.Parse()
	if c.Root, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	if c.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if c.Dir, err = os.MkdirTemp("", "manas-bench-"); err != nil { // short: sockets lie in it
		return fmt.Errorf("make the stack's folder: %w", err)
	}
	rep, err := load.Run(ctx, c)
	if err != nil {
		return fmt.Errorf("%w (logs: %s/logs)", err, c.Dir)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove the stack's folder: %w", err)
	}
	var text bytes.Buffer
	if err := rep.Write(&text); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return fmt.Errorf("make the report's folder: %w", err)
	}
	_, _ = os.Stdout.Write(text.Bytes()) // it is on its way to a file, too
	return errors.Join(
		os.WriteFile(filepath.Join(out, "bench.md"), text.Bytes(), 0o600),
		os.WriteFile(filepath.Join(out, "bench.svg"), rep.Plot(), 0o600),
		rep.Failed(),
	)
}
