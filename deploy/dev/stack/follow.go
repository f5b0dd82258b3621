package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Follow prints what the processes say from now on, each line with its name, until ctx ends.
func (s *Stack) Follow(ctx context.Context) {
	var group sync.WaitGroup
	var mu sync.Mutex // one line at a time
	for _, name := range append([]string{"gateway", "sandbox", "witness"}, Services...) {
		group.Go(func() {
			f, err := os.Open(s.kids.logFile(name))
			if err != nil {
				return // nothing to follow
			}
			defer func() { _ = f.Close() }() // read only
			if _, err := f.Seek(0, io.SeekEnd); err != nil {
				return
			}
			tail(ctx, f, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				_, _ = fmt.Fprintf(s.Out, "%-12s | %s", name, line)
			})
		})
	}
	group.Wait()
}

// tail hands over whole lines as they come. The files are the children's own: a slow terminal slows no one.
func tail(ctx context.Context, from io.Reader, line func(string)) {
	r := bufio.NewReader(from)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	part := ""
	for {
		s, err := r.ReadString('\n')
		part += s
		if err == nil {
			line(part)
			part = ""
			continue
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
