package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/argon2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/rpc"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// Yardsticks are processes of their own, as what is measured is: this program
// again, told what to be. Each prints its address and ends with its standard
// input.
const (
	stickHello = "hello"   // net/http and nothing else
	stickPgx   = "pgx"     // net/http and one read by primary key in one process
	stickArgon = "argon2"  // raw argon2id in a handler
	stickEcho  = "echo"    // a gRPC service that answers what it holds
	stickGate  = "gateway" // grpc-gateway before it
	stickUser  = "user"    // echo as the user service, over mTLS
)

// Serve is a yardstick: kind, then what it needs. It returns when in ends.
func Serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) < 1 {
		return errors.New("name the yardstick")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	serve, err := yardstick(ctx, args)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return fmt.Errorf("say the address: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // until whoever started us is gone
		_ = l.Close()
	}()
	if err := serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "closed") {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func yardstick(ctx context.Context, args []string) (func(net.Listener) error, error) {
	arg := ""
	if len(args) > 1 {
		arg = args[1]
	}
	switch args[0] {
	case stickHello:
		return web(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"hello":"world"}`)) }), nil
	case stickArgon:
		return web(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"hash":"%x"}`, argon2.IDKey([]byte("correct horse battery"), make([]byte, 16), 2, 19<<10, 1, 32))
		}), nil
	case stickPgx:
		return reader(ctx, arg)
	case stickEcho:
		return echo().Serve, nil
	case stickUser:
		id, err := rpc.LoadTLS(boot.Base{TLSCertFile: arg + "/user.pem", TLSKeyFile: arg + "/user-key.pem", TLSCAFile: arg + "/ca.pem"})
		if err != nil {
			return nil, fmt.Errorf("be user: %w", err)
		}
		return echo(grpc.Creds(credentials.NewTLS(id.Server()))).Serve, nil
	case stickGate:
		conn, err := grpc.NewClient(arg, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", arg, err)
		}
		mux := runtime.NewServeMux()
		if err := userv1.RegisterUserServiceHandlerClient(ctx, mux, userv1.NewUserServiceClient(conn)); err != nil {
			return nil, fmt.Errorf("make the gateway: %w", err)
		}
		return web(mux.ServeHTTP), nil
	default:
		return nil, fmt.Errorf("no yardstick %q", args[0])
	}
}

func web(h http.HandlerFunc) func(net.Listener) error {
	return (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}).Serve
}

type echoServer struct {
	userv1.UnimplementedUserServiceServer

	answer *userv1.GetMeResponse
}

// GetMe answers a profile of ordinary size.
func (e *echoServer) GetMe(context.Context, *userv1.GetMeRequest) (*userv1.GetMeResponse, error) {
	return e.answer, nil
}

// GetUser is what a bare grpc-gateway makes of /users/me: "me" fits {id}, and the
// route that was registered last wins.
func (e *echoServer) GetUser(context.Context, *userv1.GetUserRequest) (*userv1.GetUserResponse, error) {
	return &userv1.GetUserResponse{User: e.answer.GetUser()}, nil
}

func echo(o ...grpc.ServerOption) *grpc.Server {
	u := &userv1.User{
		Id: uuid.NewString(), Email: new("bench@example.com"), FirstName: "Asha", LastName: "Rao", DisplayName: "Asha", Bio: "x", Timezone: "Asia/Kolkata", Locale: "en",
		Roles: []string{"user"}, CreatedAt: timestamppb.New(time.Unix(1_700_000_000, 0)), UpdatedAt: timestamppb.New(time.Unix(1_700_000_000, 0)),
	}
	s := grpc.NewServer(o...)
	userv1.RegisterUserServiceServer(s, &echoServer{answer: &userv1.GetMeResponse{User: u}})
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

const (
	selectIDs     = `SELECT user_id FROM users.profile ORDER BY user_id LIMIT 1000`
	selectProfile = `
SELECT user_id::text, coalesce(email, '') AS email, coalesce(phone, '') AS phone, state, roles, account_version, first_name, last_name, display_name,
       bio, timezone, locale, avatar_url, version, created_at, updated_at
  FROM users.profile
 WHERE user_id = $1`
)

type row struct {
	UserID, Email, Phone, State                                        string
	Roles                                                              []string
	AccountVersion                                                     int64
	FirstName, LastName, DisplayName, Bio, Timezone, Locale, AvatarURL string
	Version                                                            int64
	CreatedAt, UpdatedAt                                               time.Time
}

// reader answers a profile by primary key, as plainly as Go can.
func reader(ctx context.Context, dsn string) (func(net.Listener) error, error) {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	found, err := pool.Query(ctx, selectIDs)
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	ids, err := pgx.CollectRows(found, pgx.RowTo[uuid.UUID])
	if err != nil || len(ids) == 0 {
		return nil, fmt.Errorf("list profiles (%d): %w", len(ids), err)
	}
	next := make(chan uuid.UUID, len(ids))
	for _, id := range ids {
		next <- id
	}
	return web(func(w http.ResponseWriter, r *http.Request) {
		id := <-next
		next <- id
		rows, err := pool.Query(r.Context(), selectProfile, id)
		if err == nil {
			var p row
			if p, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row]); err == nil {
				w.Header().Set("Content-Type", "application/json")
				err = json.NewEncoder(w).Encode(p)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}), nil
}

// stick is a yardstick that runs.
type stick struct {
	addr string
	pid  int
	stop func()
}

// start runs a yardstick as a child that ends with us.
func start(ctx context.Context, self, procs string, args ...string) (stick, error) {
	cmd := exec.CommandContext(ctx, self, append([]string{"yardstick"}, args...)...) //nolint:gosec // ourselves
	cmd.Env = []string{"GOMAXPROCS=" + procs, "GOGC=200"}
	in, err := cmd.StdinPipe()
	if err != nil {
		return stick{}, fmt.Errorf("start %s: %w", args[0], err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return stick{}, fmt.Errorf("start %s: %w", args[0], err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return stick{}, fmt.Errorf("start %s: %w", args[0], err)
	}
	stop := func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return stick{}, fmt.Errorf("%s did not start: %w: %s", args[0], err, said.String())
	}
	return stick{addr: strings.TrimSpace(addr), pid: cmd.Process.Pid, stop: stop}, nil
}
