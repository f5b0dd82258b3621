package money

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/manas360/platform/deploy/dev/stack"
	"github.com/manas360/platform/deploy/internal/local"
	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/rpc"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
)

const (
	startLimit = 10 * time.Minute // the first build compiles the world
	stopLimit  = 2 * time.Minute
)

// stand starts a private stack with breakable wires between its parts.
func (r *run) stand(ctx context.Context) (stop func() error, err error) {
	ports, err := stack.FreePorts(ctx, 2)
	if err != nil {
		return nil, fmt.Errorf("find ports: %w", err)
	}
	set := map[string]string{
		"PORT": strconv.Itoa(ports[0]), "SANDBOX_PORT": strconv.Itoa(ports[1]), "MANAS_DATA_DIR": r.Dir, "LOG_LEVEL": "warn",
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MANAS_POSTGRES", "MANAS_REDIS"} {
		set[name] = r.Env(name)
	}
	c, err := stack.Read(func(name string) string { return set[name] }, r.Root)
	if err != nil {
		return nil, fmt.Errorf("read the stack's settings: %w", err)
	}
	life, end := context.WithCancel(ctx)
	r.wires = newWires()
	out := &said{}
	r.stack = &stack.Stack{
		Config: c, Hooks: local.Hooks(), Now: r.Now, Rand: r.Rand, Out: out, Self: r.Self, Tolerant: true,
		Alter: func(name string, env map[string]string) error { return r.alter(life, name, env) },
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.stack.Up(life, func() { close(ready) }) }()
	_, _ = fmt.Fprintf(r.Out, "seed %d: starting a private stack\n", r.Seed)
	stop = func() error {
		end()
		defer func() { // after the stack: its processes drain over the wires
			r.wires.close()
			if r.inbox != nil {
				r.inbox.server.Stop()
			}
		}()
		select {
		case err := <-ended:
			return err
		case <-time.After(stopLimit):
			return fmt.Errorf("the stack did not stop within %v", stopLimit)
		}
	}
	select {
	case <-ready:
	case err := <-ended:
		end()
		return nil, fmt.Errorf("the stack did not start: %w\n%s", err, out)
	case <-time.After(startLimit):
		return nil, errors.Join(fmt.Errorf("the stack did not start within %v\n%s", startLimit, out), stop())
	}
	r.bank = newBank(ports[1])
	return stop, nil
}

// alter puts the wires into the settings of those that dial.
func (r *run) alter(ctx context.Context, name string, env map[string]string) (err error) {
	switch name {
	case "gateway":
		env["PAYMENT_ADDR"], err = r.wires.put("gateway-payment", env["PAYMENT_ADDR"])
		return err
	case "payment":
	default:
		return nil
	}
	if r.inbox, err = serveInbox(ctx, r.Dir); err != nil {
		return err
	}
	env["SUBSCRIPTION_ADDR"] = r.inbox.addr
	base, err := url.Parse(env["PHONEPE_BASE_URL"])
	if err != nil {
		return fmt.Errorf("read the bank's address: %w", err)
	}
	if base.Host, err = r.wires.put("payment-bank", base.Host); err != nil {
		return err
	}
	env["PHONEPE_BASE_URL"], env["PHONEPE_OAUTH_URL"] = base.String(), base.String()+"/v1/oauth/token"
	db, err := url.Parse(env["DATABASE_URL"])
	if err != nil {
		return errors.New("read the database's address")
	}
	q := db.Query()
	tcp, err := r.wires.bridge(ctx, q.Get("host")+"/.s.PGSQL.5432")
	if err != nil {
		return err
	}
	if db.Host, err = r.wires.put("payment-postgres", tcp); err != nil {
		return err
	}
	q.Del("host")
	q.Set("sslmode", "disable")
	db.RawQuery = q.Encode()
	env["DATABASE_URL"] = db.String()
	return nil
}

// identity is a process of the stack, as its certificate says.
func identity(dir, name string) (*rpc.TLS, error) {
	at := dir + "/tls/"
	id, err := rpc.LoadTLS(boot.Base{TLSCertFile: at + name + ".pem", TLSKeyFile: at + name + "-key.pem", TLSCAFile: at + "ca.pem"})
	if err != nil {
		return nil, fmt.Errorf("be %s: %w", name, err)
	}
	return id, nil
}

// dial reaches payment as a peer of it does.
func (r *run) dial(as string) (*grpc.ClientConn, error) {
	id, err := identity(r.Dir, as)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(r.stack.Endpoint("payment").GRPC),
		grpc.WithTransportCredentials(credentials.NewTLS(id.Client("payment"))), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("dial payment: %w", err)
	}
	return conn, nil
}

func (r *run) payments(as string) (paymentv1.PaymentInternalServiceClient, error) {
	conn, err := r.dial(as)
	if err != nil {
		return nil, err
	}
	r.wires.ends = append(r.wires.ends, conn)
	return paymentv1.NewPaymentInternalServiceClient(conn), nil
}
