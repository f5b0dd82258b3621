package outbox_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// TestBetweenProcesses has the relay and the consumer meet as processes of the
// suite do: mTLS, the method's rule, its bounds. A batch holds more than the old
// call's 200 events.
func TestBetweenProcesses(t *testing.T) {
	db, o := open(t)
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{db: db, refuse: func(*eventv1.Event) error { return nil }}
	outbox.Register(g, w)
	conn := rpctest.Dial(t, "payment", "audit", rpctest.Serve(t, g))
	const n, keys = 2500, 10
	backlog(t, db, o, n, keys)
	relays(t, db, o, outbox.Client(conn), 2)
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	for k := range keys {
		if got := values(t, db, strconv.Itoa(k)); !slices.Equal(got, ascending(n/keys)) {
			t.Errorf("key %d: %d values, out of order or not all", k, len(got))
		}
	}
	if w.largest <= 200 {
		t.Errorf("the largest batch held %d events, want more than 200", w.largest)
	}
}
