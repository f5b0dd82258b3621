package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nursery starts children that die with this process, and tells when one of them dies before.
type nursery struct {
	logs string      // folder of their output
	jobs chan func() // run on the one thread whose death the kernel watches
	died chan *child

	mu    sync.Mutex // guards all below
	kids  map[string]*child
	birth map[string]birth
}

// birth is how a child was last started, so that it can be started again.
type birth struct {
	attr    syscall.SysProcAttr
	env     []string
	program string
	args    []string
}

type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and err is set
	err  error

	mu       sync.Mutex // guards stopping
	stopping bool       // its end is expected
}

func newNursery(logs string) *nursery {
	n := &nursery{logs: logs, jobs: make(chan func()), died: make(chan *child, 32), kids: map[string]*child{}, birth: map[string]birth{}}
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child ends, so that thread must
		// live as long as this process; this goroutine never returns and never leaves it.
		runtime.LockOSThread()
		for job := range n.jobs {
			job()
		}
	}()
	return n
}

func (n *nursery) self() int { return os.Getpid() }

func (n *nursery) pid(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.kids[name]; c != nil {
		return c.cmd.Process.Pid
	}
	return 0
}

// logFile is where a child writes; the file of the run before is kept beside it.
func (n *nursery) logFile(name string) string { return filepath.Join(n.logs, name+".log") }

// start runs a program in its own process group with its output in its log.
func (n *nursery) start(ctx context.Context, name string, attr syscall.SysProcAttr, env []string, program string, args ...string) (*child, error) {
	c := &child{name: name, log: n.logFile(name), done: make(chan struct{})}
	was := birth{attr: attr, env: env, program: program, args: args}
	if err := os.Rename(c.log, c.log+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keep the old log: %w", err)
	}
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	// It ends in its turn, after those that need it; a cancelled context must not kill it first.
	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, args...) //nolint:gosec // our own programs
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Env, c.cmd.SysProcAttr = out, out, env, &attr
	c.cmd.Dir = "/" // a child of another user may not read ours
	dieWithParent(c.cmd.SysProcAttr)
	started := make(chan error, 1)
	n.jobs <- func() { started <- c.cmd.Start() }
	if err := errors.Join(<-started, out.Close()); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	n.mu.Lock()
	n.kids[name], n.birth[name] = c, was
	n.mu.Unlock()
	go func() {
		c.err = c.cmd.Wait()
		n.mu.Lock()
		if n.kids[name] == c {
			delete(n.kids, name)
		}
		n.mu.Unlock()
		close(c.done)
		if !c.expected() {
			select {
			case n.died <- c:
			default: // one death is enough to end the stack
			}
		}
	}()
	return c, nil
}

// again starts a child that has ended, as it was started before.
func (n *nursery) again(ctx context.Context, name string) (*child, error) {
	n.mu.Lock()
	b, known := n.birth[name]
	lives := n.kids[name] != nil
	n.mu.Unlock()
	if !known || lives {
		return nil, fmt.Errorf("start %s again: known %t, runs %t", name, known, lives)
	}
	return n.start(ctx, name, b.attr, b.env, b.program, b.args...)
}

func (n *nursery) child(name string) *child {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kids[name]
}

// run starts a program that ends by itself, such as initdb, and waits for it.
func (n *nursery) run(ctx context.Context, name string, attr syscall.SysProcAttr, env []string, program string, args ...string) error {
	c, err := n.start(ctx, name, attr, env, program, args...)
	if err != nil {
		return err
	}
	c.expect()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.kill()
		<-c.done
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
	if c.err != nil {
		return fmt.Errorf("%s: %w: %s", name, c.err, lastLine(c.log))
	}
	return nil
}

// watch makes the end of a child a death again, also when it came a moment ago.
func (n *nursery) watch(c *child) {
	c.mu.Lock()
	c.stopping = false
	c.mu.Unlock()
	select {
	case <-c.done:
		select {
		case n.died <- c:
		default: // told already
		}
	default:
	}
}

func (c *child) expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
}

func (c *child) expected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

func (c *child) kill() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) } // already gone is as good

// stop asks the named children together, and insists after the limit.
func (n *nursery) stop(sig syscall.Signal, limit time.Duration, names ...string) {
	n.mu.Lock()
	var all []*child
	for _, name := range names {
		if c := n.kids[name]; c != nil {
			all = append(all, c)
		}
	}
	n.mu.Unlock()
	for _, c := range all {
		c.expect()
		_ = c.cmd.Process.Signal(sig) // already gone is as good
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, c := range all {
		select {
		case <-c.done:
		case <-timer.C:
			timer.Reset(0) // the others have had their time too
			c.kill()
			<-c.done
		}
	}
}

// readTail is the end of what a process said.
func readTail(name string) string {
	const tail = 8 << 10
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // read only
	if st, err := f.Stat(); err == nil && st.Size() > tail {
		_, _ = f.Seek(-tail, io.SeekEnd) // from the start is as good
	}
	raw := make([]byte, tail)
	k, _ := f.Read(raw) // an empty log reads as nothing
	return strings.TrimRight(string(raw[:k]), "\n \t")
}

// lastLine is the last thing a process said.
func lastLine(name string) string {
	said := readTail(name)
	if said == "" {
		return "it said nothing"
	}
	return said[strings.LastIndexByte(said, '\n')+1:]
}
