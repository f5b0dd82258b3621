package stack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// readyLine ends what a daemon tells the one who started it.
const readyLine = "\x00ready"

// Detach starts this program again as a daemon and returns when its stack is ready.
// The daemon tells what it does through a pipe, and writes the same to its log.
func (s *Stack) Detach(ctx context.Context, environ []string) error {
	if err := s.claimDir(); err != nil {
		return err
	}
	log, err := os.OpenFile(s.path("logs", "dev.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = log.Close() }() // the daemon has its own
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	args := []string{"up", "-daemon"}
	if s.NoBuild {
		args = append(args, "-nobuild")
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.Self, args...) //nolint:gosec // this program
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.Root, environ, asSession()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{w}
	err = cmd.Start()
	_ = w.Close() // the daemon holds the other one; its end is the end of the pipe
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == readyLine {
			return cmd.Process.Release()
		}
		s.say("%s", lines.Text())
	}
	_ = cmd.Wait() // it has said why
	return problem("the stack did not start (%s)", filepath.Clean(log.Name()))
}

// Daemon is the other side: Up, telling its starter through file 3 until all is ready.
func (s *Stack) Daemon(ctx context.Context) error {
	starter := os.NewFile(3, "starter")
	if starter == nil {
		return problem("-daemon is for `up -detach` only")
	}
	log := s.Out
	s.Out, s.TTY = io.MultiWriter(log, &deaf{starter}), false
	err := s.Up(ctx, func() {
		_, _ = io.WriteString(starter, readyLine+"\n") // it may have gone
		s.Out = log
		_ = starter.Close()
	})
	if err != nil {
		s.say("%v", err)
	}
	return err
}

// deaf writes to somebody who may have gone: the daemon goes on without him.
type deaf struct{ to io.Writer }

func (d *deaf) Write(p []byte) (int, error) {
	_, _ = d.to.Write(p)
	return len(p), nil
}
