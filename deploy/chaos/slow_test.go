package chaos_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/pgtest"
)

const (
	slowActs  = 400             // measured in each phase
	slowBy    = 5 * time.Second // that audit's answer takes
	atMost    = 4               // times the p99 beside a healthy audit: other things run here too
	tolerance = 20 * time.Millisecond
)

// lag delays what comes back over a connection while it is on.
type lag struct {
	net.Conn

	by func() time.Duration
}

func (l lag) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	<-time.After(l.by())
	return n, err
}

// audit_admin_ops.md: beside an audit service that is stopped dead, and one
// that takes 5 s to answer, business transactions take as long as ever; what they
// record waits in the outbox, and all of it arrives afterwards.
func TestSlowAuditSlowsNobody(t *testing.T) {
	runtime.LockOSThread()
	url := pgtest.URL(t, "trail", migrateTrail)
	db, err := pg.Open(t.Context(), pg.Config{URL: url, Max: 8}) // a service's pool
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := stack.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	p := &troupe{t: t, self: self, dir: t.TempDir(), cmds: map[string]*exec.Cmd{}, env: append(os.Environ(), databaseVar+"="+url, addressVar+"="+addr)}
	p.start("audit")
	t.Cleanup(func() { p.kill("audit") })

	var (
		mu   sync.Mutex
		slow time.Duration
	)
	set := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); slow = d }
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			return lag{Conn: c, by: func() time.Duration { mu.Lock(); defer mu.Unlock(); return slow }}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	o := outbox.New("producer", id.NewMaker(time.Now, source{}), time.Now)
	ctx, stop := context.WithCancel(t.Context())
	relay := make(chan error, 1)
	go func() { relay <- o.Relay(db, "audit", outbox.Client(conn), zerolog.New(io.Discard))(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-relay; err != nil {
			t.Errorf("relay: %v", err)
		}
		_ = conn.Close()
	})

	healthy := p99(t, db, o)
	if err := p.cmds["audit"].Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before := waiting(t, db)
	stopped := p99(t, db, o)
	if grown := waiting(t, db) - before; grown < slowActs/2 {
		t.Errorf("the outbox grew by %d, want about %d", grown, slowActs)
	}
	if err := p.cmds["audit"].Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	set(slowBy)
	slowed := p99(t, db, o)
	set(0)
	t.Logf("p99 of a business transaction: %v beside a healthy audit, %v beside a stopped one, %v beside one that takes %v", healthy, stopped, slowed, slowBy)
	for what, got := range map[string]time.Duration{"stopped": stopped, "slow": slowed} {
		if got > atMost*healthy+tolerance {
			t.Errorf("beside a %s audit: p99 %v, beside a healthy one %v", what, got, healthy)
		}
	}
	settle(t, db)
	verifyTrail(t, db, 3*slowActs)
}

// p99 runs business transactions, each with its audit event.
func p99(t *testing.T, db *pg.DB, o *outbox.Outbox) time.Duration {
	t.Helper()
	took := make([]time.Duration, 0, slowActs)
	for range slowActs {
		began := time.Now()
		if err := db.InTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error { return payment(ctx, tx, o) }); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		o.Wake()
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func waiting(t *testing.T, db *pg.DB) (n int) {
	t.Helper()
	if err := db.Pool.QueryRow(t.Context(), `SELECT count(*) FROM producer.outbox`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
