// Command dev runs the whole suite on one machine; `make up`, `down`, `reset` and `test` are its subcommands.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/local"
)

const usage = `dev up [-detach] [-nobuild]   start everything; Ctrl-C stops it
dev down                      stop what up -detach started
dev reset                     stop, and empty the data folder
dev testservers -- command    run a command with a throw-away PostgreSQL and Redis`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends us at once; the kernel ends our children then.
	context.AfterFunc(ctx, stop)
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("name what to do:\n" + usage)
	}
	if args[0] == "miniredis" { // a child of up
		f := flag.NewFlagSet("miniredis", flag.ContinueOnError)
		addr := f.String("addr", "127.0.0.1:6379", "where to listen")
		if err := f.Parse(args[1:]); err != nil {
			return 2, nil //nolint:nilerr // flag has printed it
		}
		return exit(stack.Miniredis(ctx, *addr))
	}
	s, err := newStack()
	if err != nil {
		return 1, err
	}
	switch args[0] {
	case "up":
		return up(ctx, s, args[1:])
	case "down":
		return exit(s.Down(ctx))
	case "reset":
		return exit(s.Reset(ctx))
	case "testservers":
		command := args[1:]
		if len(command) > 0 && command[0] == "--" {
			command = command[1:]
		}
		return s.TestServers(ctx, command, os.Environ())
	default:
		return 2, fmt.Errorf("there is no %q:\n%s", args[0], usage)
	}
}

func exit(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func newStack() (*stack.Stack, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	c, err := stack.Read(os.Getenv, dir)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	st, err := os.Stdout.Stat()
	return &stack.Stack{
		Config: c, Hooks: local.Hooks(),
		Now: time.Now, Rand: rand.Reader, Out: os.Stdout, Self: self, TTY: err == nil && st.Mode()&os.ModeCharDevice != 0,
	}, nil
}

func up(ctx context.Context, s *stack.Stack, args []string) (int, error) {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	detach := f.Bool("detach", false, "return once everything is ready")
	daemon := f.Bool("daemon", false, "be the process that -detach starts")
	f.BoolVar(&s.NoBuild, "nobuild", false, "run the programs of .bin as they are")
	if err := f.Parse(args); err != nil {
		return 2, nil //nolint:nilerr // flag has printed it
	}
	switch {
	case *daemon:
		if s.Daemon(ctx) != nil {
			return 1, nil //nolint:nilerr // it has told its starter
		}
		return 0, nil
	case *detach:
		return exit(s.Detach(ctx, os.Environ()))
	default:
		return exit(s.Up(ctx, func() { go s.Follow(ctx) }))
	}
}
