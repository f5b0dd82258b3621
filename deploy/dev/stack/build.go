package stack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// progress shows that something long goes on: one line that rewrites itself, or a new one now and then.
type progress struct {
	s     *Stack
	title string
	began time.Time
	end   chan struct{}
	gone  sync.WaitGroup

	mu   sync.Mutex // guards note
	note string
}

func (s *Stack) progress(title string) *progress {
	p := &progress{s: s, title: title, began: s.Now(), end: make(chan struct{})}
	every := 10 * time.Second
	if s.TTY {
		every = 200 * time.Millisecond
	}
	p.gone.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.end:
				return
			case <-tick.C:
				p.show()
			}
		}
	})
	return p
}

func (p *progress) show() {
	p.mu.Lock()
	line := fmt.Sprintf("%s  %.0f s  %s", p.title, p.s.Now().Sub(p.began).Seconds(), p.note)
	p.mu.Unlock()
	if p.s.TTY {
		_, _ = fmt.Fprintf(p.s.Out, "\r\033[K%.100s", line)
		return
	}
	p.s.say("%s", line)
}

func (p *progress) tell(note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note = note
}

func (p *progress) stop() {
	close(p.end)
	p.gone.Wait()
	if p.s.TTY {
		_, _ = io.WriteString(p.s.Out, "\r\033[K")
	}
}

// programs are what the stack runs, by the name of the binary, and manasctl.
func (s *Stack) programs() []string {
	all := []string{"./gateway/cmd/gatewayd", "./deploy/cmd/sandbox", "./services/admin/cmd/manasctl", "./services/audit/cmd/auditwitness", "./services/audit/cmd/auditverify"}
	for _, svc := range Services {
		all = append(all, "./services/"+svc+"/cmd/"+svc+"d")
	}
	return all
}

func (s *Stack) binary(name string) string { return filepath.Join(s.Root, ".bin", name) }

var busyFile = regexp.MustCompile(`(\S+): text file busy`)

// build makes all programs with one call, so that common packages are compiled once.
func (s *Stack) build(ctx context.Context) error {
	if s.NoBuild {
		return nil
	}
	bin := filepath.Join(s.Root, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // programs are for everybody
		return fmt.Errorf("make .bin: %w", err)
	}
	held, err := s.buildLock(ctx, filepath.Join(bin, ".lock"))
	if err != nil {
		return err
	}
	p := s.progress("building")
	errs, err := s.goBuild(ctx, p)
	if m := busyFile.FindAllStringSubmatch(errs, -1); err != nil && m != nil {
		// A program that runs, in another stack, cannot be overwritten; it can lose its name.
		for _, f := range m {
			_ = os.Remove(filepath.Join(bin, filepath.Base(f[1]))) // the second try tells
		}
		errs, err = s.goBuild(ctx, p)
	}
	p.stop()
	if err := errors.Join(err, held.free()); err != nil {
		return problem("the build failed:\n%s", strings.TrimSpace(errs))
	}
	return nil
}

// buildLock lets two stacks of one checkout build one after the other.
func (s *Stack) buildLock(ctx context.Context, name string) (*lock, error) {
	var held *lock
	err := poll(ctx, 10*time.Minute, func(context.Context) (err error) {
		held, err = takeLock(name)
		return err
	})
	return held, err
}

// goBuild returns what the compiler complained about.
func (s *Stack) goBuild(ctx context.Context, p *progress) (string, error) {
	program, err := exec.LookPath("go")
	if err != nil {
		return "no `go` on PATH: install Go 1.26 from https://go.dev/dl", err
	}
	args := append([]string{"build", "-v", "-o", ".bin" + string(filepath.Separator)}, s.programs()...)
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // go, from PATH
	cmd.Dir = s.Root
	cmd.Env = append([]string{"GOFLAGS=-trimpath -buildvcs=false"}, os.Environ()...) // the Makefile's own flags; what is set wins
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	var errs bytes.Buffer
	downloaded, compiled := 0, 0
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			downloaded++
			p.tell(fmt.Sprintf("%d modules downloaded: %s", downloaded, strings.TrimPrefix(line, "go: downloading ")))
		case !strings.ContainsAny(line, " :\t"): // -v names each package that it compiles
			compiled++
			p.tell(fmt.Sprintf("%d packages compiled: %s", compiled, line))
		default:
			_, _ = fmt.Fprintln(&errs, line)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		return errs.String(), fmt.Errorf("build: %w", err)
	}
	return "", nil
}
