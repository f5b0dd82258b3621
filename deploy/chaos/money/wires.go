package money

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// wires are the connections that can be cut.
type wires struct {
	api  *toxiproxy.ApiServer
	all  []*toxiproxy.Proxy
	ends []io.Closer
}

// faults are what a wire can suffer; %d is a number from 0 to 999. A proxy
// without a toxic is cut altogether.
var faults = []string{
	"",
	`{"name":"x","type":"latency","stream":"downstream","attributes":{"latency":%d,"jitter":100}}`,
	`{"name":"x","type":"latency","stream":"upstream","attributes":{"latency":%d,"jitter":100}}`,
	`{"name":"x","type":"reset_peer","stream":"downstream","attributes":{"timeout":%d}}`,
	`{"name":"x","type":"reset_peer","stream":"upstream","attributes":{"timeout":%d}}`,
	`{"name":"x","type":"timeout","stream":"downstream","attributes":{"timeout":%d}}`,
	`{"name":"x","type":"limit_data","stream":"downstream","attributes":{"bytes":%d}}`,
	`{"name":"x","type":"limit_data","stream":"upstream","attributes":{"bytes":%d}}`,
	`{"name":"x","type":"slicer","stream":"downstream","attributes":{"average_size":%d,"size_variation":1,"delay":10}}`,
}

func newWires() *wires {
	return &wires{api: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
}

// put makes a wire to upstream and answers where to dial instead.
func (w *wires) put(name, upstream string) (addr string, err error) {
	p := toxiproxy.NewProxy(w.api, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return "", fmt.Errorf("put a wire to %s: %w", name, err)
	}
	w.all = append(w.all, p)
	return p.Listen, nil
}

// bridge leads from TCP to a socket in the file system, which toxiproxy cannot dial.
func (w *wires) bridge(ctx context.Context, socket string) (addr string, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("bridge to %s: %w", socket, err)
	}
	w.ends = append(w.ends, l)
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // closed
			}
			go carry(ctx, from, socket)
		}
	}()
	return l.Addr().String(), nil
}

func carry(ctx context.Context, from net.Conn, socket string) {
	var d net.Dialer
	to, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		_ = from.Close() // which is what it would see of a dead server
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // whatever ended it, the other way ends too
			_ = errors.Join(from.Close(), to.Close())
		})
	}
	both.Wait()
}

// breakWires hurts one wire after the other.
func (r *run) breakWires(ctx context.Context) {
	chance := r.draws(2)
	for {
		p := r.wires.all[chance.IntN(len(r.wires.all))]
		fault, size := faults[chance.IntN(len(faults))], 1+chance.IntN(999)
		quiet, bad := time.Duration(300+chance.IntN(2500))*time.Millisecond, time.Duration(100+chance.IntN(1200))*time.Millisecond
		if !pause(ctx, quiet) {
			return
		}
		if fault == "" {
			p.Stop()
		} else if _, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(fault, size))); err != nil {
			r.tally.note("toxic refused: " + err.Error())
		}
		r.faults.Add(1)
		pause(ctx, bad)
		mend(context.WithoutCancel(ctx), p)
	}
}

func mend(ctx context.Context, p *toxiproxy.Proxy) {
	p.Toxics.ResetToxics(ctx)
	if err := p.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
		// Its port was taken meanwhile: the run cannot end well, and its end will say so.
		p.Logger.Error().Err(err).Msg("wire not mended")
	}
}

func (w *wires) mend(ctx context.Context) {
	for _, p := range w.all {
		mend(ctx, p)
	}
}

func (w *wires) close() {
	for _, p := range w.all {
		p.Stop()
	}
	for _, e := range w.ends {
		_ = e.Close() // nothing is to be saved
	}
}
