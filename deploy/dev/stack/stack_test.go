package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "go.work"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func environ(kv ...string) func(string) string {
	m := map[string]string{}
	for _, one := range kv {
		name, value, _ := strings.Cut(one, "=")
		m[name] = value
	}
	return func(name string) string { return m[name] }
}

func TestRead(t *testing.T) {
	root := repository(t)
	c, err := Read(environ("PORT=6001", "PATH=/bin", "JWT_EXPIRY=5m", "SECRET_OF_MINE=x"), root)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Root: root, DataDir: filepath.Join(root, ".data"), Port: 6001, SandboxPort: 5099, Passed: map[string]string{"JWT_EXPIRY": "5m"}, Base: []string{"PATH=/bin"}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	for _, tt := range []struct{ name, env, want string }{
		{"not a number", "PORT=x", "PORT=x"},
		{"too high", "SANDBOX_PORT=70000", "SANDBOX_PORT=70000"},
		{"the same", "PORT=5099", "both 5099"},
		{"not an address", "DATABASE_URL=localhost", "DATABASE_URL"},
		{"production", "NODE_ENV=production", "NODE_ENV=production"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(environ(tt.env), root); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read with %s = %v, want %q in it", tt.env, err, tt.want)
			}
		})
	}
	if _, err := Read(environ(), "/"); err == nil {
		t.Error("a folder outside the repository was taken")
	}
}

func TestClaimDirRefusesOthersFiles(t *testing.T) {
	c := Config{DataDir: t.TempDir()}
	if err := os.WriteFile(c.path("thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.claimDir(); err == nil {
		t.Error("a folder with somebody's files was claimed")
	}
	s := &Stack{Config: c, Out: &bytes.Buffer{}, Now: time.Now}
	if err := s.Reset(t.Context()); err == nil {
		t.Error("a folder with somebody's files was emptied")
	}
	if err := os.Remove(c.path("thesis.txt")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.claimDir(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(c.DataDir); err != nil || len(left) != 0 {
		t.Errorf("reset left %v, %v", left, err)
	}
}

func TestPortInUseNamesTheVariable(t *testing.T) {
	for _, host := range []string{"127.0.0.1", ""} {
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		err = checkPort(t.Context(), "SANDBOX_PORT", n)
		if err == nil || !strings.Contains(err.Error(), "SANDBOX_PORT") || !strings.Contains(err.Error(), port) || strings.Contains(err.Error(), "\n") {
			t.Errorf("checkPort with %s taken = %v", l.Addr(), err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := checkPort(t.Context(), "PORT", n); err != nil {
			t.Errorf("checkPort of a free port = %v", err)
		}
	}
	got, err := FreePorts(t.Context(), 13)
	seen := map[int]bool{}
	for _, p := range got {
		seen[p] = true
	}
	if err != nil || len(seen) != 13 {
		t.Errorf("FreePorts(13) = %v, %v", got, err)
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, err := takeLock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(name); err == nil {
		t.Error("the lock was taken twice")
	}
	if err := first.free(); err != nil {
		t.Fatal(err)
	}
	second, err := takeLock(name)
	if err != nil {
		t.Fatalf("a freed lock: %v", err)
	}
	if err := second.free(); err != nil {
		t.Fatal(err)
	}
}

func TestStalePIDIsNotKilled(t *testing.T) {
	s := &Stack{Config: Config{DataDir: t.TempDir(), Root: "/r"}, Out: &bytes.Buffer{}, Now: time.Now}
	out := &bytes.Buffer{}
	s.Out = out
	name := s.path("dev.pid")
	if err := writePID(name, 5001); err != nil {
		t.Fatal(err)
	}
	if p, alive, err := readPID(name); err != nil || !alive || p.PID != os.Getpid() || p.Port != 5001 {
		t.Errorf("own pid file = %+v, %t, %v", p, alive, err)
	}
	// The number is ours, the process is another: killing it would end this test.
	if err := os.WriteFile(name, []byte(`{"pid":`+strconv.Itoa(os.Getpid())+`,"started":"1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Down(t.Context()); err != nil || !strings.Contains(out.String(), "gone already") {
		t.Errorf("Down = %v, %q", err, out)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the stale pid file is still there")
	}
	if err := s.Down(t.Context()); err != nil || !strings.Contains(out.String(), "nothing runs") {
		t.Errorf("second Down = %v, %q", err, out)
	}
}

func TestSecretsAreDrawnOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := loadSecrets(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadSecrets(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("secrets changed (-first +second):\n%s", diff)
	}
	if other, err := loadSecrets(t.TempDir(), rand.Reader); err != nil || other.Superadmin.Password == first.Superadmin.Password || other.JWTSecret == first.JWTSecret {
		t.Errorf("another stack has the same secrets, %v", err)
	}
	if st, err := os.Stat(filepath.Join(dir, "secrets.json")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("secrets.json: %v, %v", st.Mode(), err)
	}
	if len(first.JWTSecret) < 32 || len(first.JWTRefreshSecret) < 32 || first.JWTSecret == first.JWTRefreshSecret {
		t.Error("the token secrets are short or equal")
	}
	if w := first.Webhooks.PhonePe; !regexp.MustCompile(`^[A-Za-z0-9_]{5,20}$`).MatchString(w.Username) || !regexp.MustCompile(`^[A-Za-z0-9]{8,20}$`).MatchString(w.Password) {
		t.Errorf("PhonePe takes no such user: %+v", w)
	}
	if !regexp.MustCompile(`[0-9]`).MatchString(first.Webhooks.PhonePe.Password) {
		t.Error("PhonePe wants a digit")
	}
}

func TestCredentialsFile(t *testing.T) {
	dir := t.TempDir()
	s, err := loadSecrets(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writeCredentials(dir, 5099); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	keys := map[string][]string{}
	for name, part := range got {
		for _, k := range []string{"email", "password", "totpSecret", "url", "webhookSecrets"} {
			if part[k] != nil && part[k] != "" {
				keys[name] = append(keys[name], k)
			}
		}
	}
	want := map[string][]string{
		"superadmin": {"email", "password", "totpSecret"}, "admin": {"email", "password", "totpSecret"}, "user": {"email", "password"}, "sandbox": {"url", "webhookSecrets"},
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
	hooks, ok := got["sandbox"]["webhookSecrets"].(map[string]any)
	if !ok || len(hooks) != 5 {
		t.Fatalf("webhookSecrets = %v", got["sandbox"]["webhookSecrets"])
	}
	for _, k := range []string{"phonepe", "phonepe-v1", "razorpay", "stripe", "sandbox"} {
		if hooks[k] == nil {
			t.Errorf("no secret of %s", k)
		}
	}
	if key, err := base32.StdEncoding.DecodeString(s.Superadmin.TOTPSecret); err != nil || len(key) != totpBytes {
		t.Errorf("totpSecret %q: %v", s.Superadmin.TOTPSecret, err)
	}
}

func TestRoleURL(t *testing.T) {
	for _, tt := range []struct{ name, admin, host, db string }{
		{"socket", socketURL("/x/.data/run", "manas360"), "/x/.data/run", "manas360"},
		{"network", "postgres://root:p%40ss@db.example:6432/suite?sslmode=disable", "db.example", "suite"},
		{"user in the query", "postgres:///suite?host=/s&user=root&password=x", "/s", "suite"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dsn, err := roleURL(tt.admin, "auth", "p/w?")
			if err != nil {
				t.Fatal(err)
			}
			c, err := pgx.ParseConfig(dsn)
			if err != nil {
				t.Fatalf("%s: %v", dsn, err)
			}
			if c.User != "manas_auth" || c.Password != "p/w?" || c.Host != tt.host || c.Database != tt.db {
				t.Errorf("%s = %s at %s/%s", dsn, c.User, c.Host, c.Database)
			}
		})
	}
}

func TestStacksOfOneClusterAgreeOnRoles(t *testing.T) {
	one, err := Secrets{Stack: "a"}.sharedPasswords("postgres://root:x@h/one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := Secrets{Stack: "b"}.sharedPasswords("postgres://root:x@h/two?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one.RolePassword, two.RolePassword); diff != "" || len(one.RolePassword) != len(Services) {
		t.Errorf("two databases of one cluster differ:\n%s", diff)
	}
}

func TestCertificates(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	names := []string{"gateway", "auth"}
	read := func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "auth.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	write := func(at time.Time) {
		t.Helper()
		if err := writeCertificates(dir, at, rand.Reader, names); err != nil {
			t.Fatal(err)
		}
	}
	write(now)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "auth.pem"), filepath.Join(dir, "auth-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range []string{"auth", "localhost", "127.0.0.1"} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("as %s: %v", name, err)
			}
		}
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://manas360/auth" {
		t.Errorf("identity = %v", leaf.URIs)
	}
	first := read()
	write(now.Add(leafLife - renewAt - time.Hour))
	if read() != first {
		t.Error("renewed with more than seven days left")
	}
	write(now.Add(leafLife - renewAt + time.Hour))
	if read() == first {
		t.Error("not renewed with less than seven days left")
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	second := read()
	write(now)
	if read() == second {
		t.Error("a new authority left an old certificate in place")
	}
}

func TestEachProcessGetsOnlyItsOwn(t *testing.T) {
	s := &Stack{Config: Config{DataDir: "/d", Port: 1, SandboxPort: 2, Passed: map[string]string{"LOG_LEVEL": "debug"}}}
	s.sec = (&drawer{from: rand.Reader}).secrets()
	p := &plan{at: map[string]Endpoint{}, pg: &postgres{adminURL: socketURL("/d/run", "x")}, redis: &redis{host: "127.0.0.1", port: 3, ours: true}}
	for _, tt := range []struct{ secret, owner string }{
		{s.sec.JWTSecret, "auth"},
		{s.sec.PhonePeSecret, "payment sandbox"},
		{s.sec.Webhooks.PhonePeV1.SaltKey, "payment sandbox"},
		{s.sec.Keys.RazorpaySecret, "payment sandbox"},
		{s.sec.Keys.StripeAPIKey, "payment sandbox"},
		{s.sec.RolePassword["user"], "user"},
		{s.sec.PageToken["audit"], "audit"},
	} {
		for _, name := range append([]string{"gateway", "sandbox", "witness"}, Services...) {
			env, err := s.environment(name, p)
			if err != nil {
				t.Fatal(err)
			}
			has := strings.Contains(strings.Join(env, "\n"), tt.secret)
			if want := strings.Contains(tt.owner, name); has != want {
				t.Errorf("%s knows a secret of %s: %t, want %t", name, tt.owner, has, want)
			}
		}
	}
}

func TestAlterChangesOneProcess(t *testing.T) {
	s := &Stack{Config: Config{DataDir: "/d", Port: 1, SandboxPort: 2}, Alter: func(name string, env map[string]string) error {
		if name == "payment" {
			env["AUDIT_ADDR"] = "elsewhere:1"
		}
		return nil
	}}
	s.sec = (&drawer{from: rand.Reader}).secrets()
	p := &plan{at: map[string]Endpoint{}, pg: &postgres{adminURL: socketURL("/d/run", "x")}, redis: &redis{host: "127.0.0.1", port: 3, ours: true}}
	for _, name := range []string{"payment", "auth"} {
		env, err := s.environment(name, p)
		if err != nil {
			t.Fatal(err)
		}
		if has, want := slices.Contains(env, "AUDIT_ADDR=elsewhere:1"), name == "payment"; has != want {
			t.Errorf("%s is altered: %t, want %t", name, has, want)
		}
	}
}

// bench is a stack of servers only, in a folder of its own.
func bench(t *testing.T, dir string) *Stack {
	t.Helper()
	c, err := Read(os.Getenv, repository(t))
	if err != nil {
		t.Fatal(err)
	}
	c.DataDir, c.DatabaseURL, c.RedisHost, c.RedisPort = dir, "", "", 0
	s := &Stack{Config: c, Now: time.Now, Rand: rand.Reader, Out: &bytes.Buffer{}, Self: os.Args[0]}
	if err := s.claimDir(); err != nil {
		t.Fatal(err)
	}
	s.kids = newNursery(s.path("logs"))
	t.Cleanup(s.stopAll)
	return s
}

func TestServersStartStopAndStartAgain(t *testing.T) {
	s := bench(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for round := range 2 {
		p, err := s.startPostgres(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.startRedis(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ping(ctx); err != nil {
			t.Fatal(err)
		}
		sql := "SELECT count(*) FROM kept"
		if round == 0 {
			sql = "CREATE ROLE manas_auth LOGIN PASSWORD 'right'; CREATE TABLE kept ()"
		}
		if err := ask(ctx, p.adminURL, sql); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for password, want := range map[string]bool{"right": true, "wrong": false} {
			dsn, err := roleURL(p.adminURL, "auth", password)
			if err != nil {
				t.Fatal(err)
			}
			if err := ask(ctx, dsn, "SELECT 1"); (err == nil) != want {
				t.Errorf("a %s password: %v", password, err)
			}
		}
		s.stopAll()
		if pid := s.kids.pid("postgres"); pid != 0 {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestCrashedClusterStartsAgain(t *testing.T) {
	s := bench(t, t.TempDir())
	if _, err := s.startPostgres(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	s.kids.mu.Lock()
	kid := s.kids.kids["postgres"]
	s.kids.mu.Unlock()
	kid.expect()
	kid.kill()
	<-kid.done
	if _, err := s.startPostgres(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	// Another program has the number of the old server by now: this one.
	s.kids.mu.Lock()
	kid = s.kids.kids["postgres"]
	s.kids.mu.Unlock()
	kid.expect()
	kid.kill()
	<-kid.done
	file := s.path("pg", "postmaster.pid")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "\n")
	stranger := exec.CommandContext(t.Context(), "sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	if err := os.WriteFile(file, []byte(strconv.Itoa(stranger.Process.Pid)+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.startPostgres(t.Context(), false); err != nil {
		t.Errorf("a pid file with a stranger's number: %v", err)
	}
}

func TestLongPathMovesTheSocket(t *testing.T) {
	s := bench(t, filepath.Join(t.TempDir(), strings.Repeat("long", 25)))
	p, err := s.startPostgres(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeSocketDirOf(p) })
	if !strings.HasPrefix(p.socketDir, "/tmp/manas360-") || len(filepath.Join(p.socketDir, socketFile)) > sunPathLimit {
		t.Errorf("socket in %s", p.socketDir)
	}
	if st, err := os.Stat(p.socketDir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode of %s: %v, %v", p.socketDir, st.Mode(), err)
	}
	raw, err := os.ReadFile(s.path("pg.socket"))
	if err != nil || strings.TrimSpace(string(raw)) != p.socketDir {
		t.Errorf("recorded %q, %v", raw, err)
	}
}

func TestWithoutNamespacesAnotherUserRunsIt(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root needs another user
	}
	dir, err := os.MkdirTemp("", "manas-setuid-") //nolint:usetesting // another user must pass through it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := bench(t, filepath.Join(dir, "data"))
	s.noNamespace = true
	for range 2 {
		if _, err := s.startPostgres(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		s.stopAll()
	}
	if mode, err := os.ReadFile(s.path("pg.mode")); err != nil || !strings.HasPrefix(string(mode), "setuid:") {
		t.Errorf("mode = %s, %v", mode, err)
	}
}

func TestTestServersGivesTheCommandsCode(t *testing.T) {
	s := bench(t, t.TempDir())
	code, err := s.TestServers(t.Context(), []string{"sh", "-c", `test -n "$MANAS_TEST_PG" && test -n "$MANAS_TEST_REDIS" && test "$MANAS_TEST_REQUIRE" = 1 && exit 7`}, os.Environ())
	if err != nil || code != 7 {
		t.Errorf("code = %d, %v; want 7", code, err)
	}
	if _, err := os.Stat(s.DataDir); err == nil {
		t.Errorf("%s is left", s.DataDir)
	}
}

func TestSocketURLIsAnAddress(t *testing.T) {
	u, err := url.Parse(socketURL("/a b/run", "postgres"))
	if err != nil || u.Query().Get("host") != "/a b/run" {
		t.Errorf("socketURL = %v, %v", u, err)
	}
}
