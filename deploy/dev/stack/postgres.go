package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	database     = "manas360"
	sunPathLimit = 100 // sun_path holds 107 bytes; some systems fewer
	socketFile   = ".s.PGSQL.5432"
	orphanWait   = 20 * time.Second // a crashed cluster's backends leave within this
)

// postgres is a database the stack may use: its own cluster, or somebody's.
type postgres struct {
	adminURL  string
	socketDir string // empty when it is not ours
}

// cluster is a private PostgreSQL in the data folder.
type cluster struct {
	*Stack
	bin  string // folder of initdb and postgres
	dir  string
	mode string // plain, userns or setuid:<user>
	test bool   // throw-away: speed before safety
}

func (s *Stack) startPostgres(ctx context.Context, test bool) (*postgres, error) {
	if s.DatabaseURL != "" {
		err := poll(ctx, 5*time.Second, func(ctx context.Context) error { return ask(ctx, s.DatabaseURL, "SELECT 1") })
		if err != nil {
			return nil, problem("DATABASE_URL: the database does not answer: %s", firstLine(err))
		}
		return &postgres{adminURL: s.DatabaseURL}, nil
	}
	c := &cluster{Stack: s, dir: s.path("pg"), test: test}
	if err := c.findBinaries(ctx); err != nil {
		return nil, err
	}
	if err := c.chooseMode(ctx); err != nil {
		return nil, err
	}
	sock, err := c.socketDir()
	if err != nil {
		return nil, err
	}
	if err := c.initialise(ctx); err != nil {
		return nil, err
	}
	if err := c.run(ctx, sock); err != nil {
		return nil, err
	}
	p := &postgres{adminURL: socketURL(sock, "postgres"), socketDir: sock}
	if test {
		return p, nil
	}
	err = ask(ctx, p.adminURL, "CREATE DATABASE "+database)
	if err != nil && !strings.Contains(err.Error(), "42P04") { // it exists
		return nil, fmt.Errorf("make the database: %w", err)
	}
	p.adminURL = socketURL(sock, database)
	return p, nil
}

// socketURL is the administrator's address; who can reach the folder of the socket is let in.
func socketURL(dir, db string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + db, RawQuery: url.Values{"host": {dir}}.Encode()}
	return u.String()
}

func ask(ctx context.Context, dsn, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// findBinaries prefers what the machine has, and the version that made the data.
func (c *cluster) findBinaries(ctx context.Context) error {
	made, _ := os.ReadFile(filepath.Join(c.dir, "PG_VERSION")) // missing: no data yet
	want := strings.TrimSpace(string(made))
	var tried []string
	for _, way := range []struct {
		name string
		get  func(context.Context) error
	}{
		{"system", nil}, {"apt", c.aptPostgres}, {"npm", c.npmPostgres},
	} {
		if c.UsePostgres != "" && c.UsePostgres != way.name {
			continue
		}
		if way.get != nil && len(c.candidates(want)) == 0 {
			if err := way.get(ctx); err != nil {
				tried = append(tried, err.Error())
			}
		}
		if found := c.candidates(want); len(found) > 0 {
			c.bin = found[0]
			return nil
		}
	}
	if want != "" {
		return problem("%s was made by PostgreSQL %s, which is not here: install it, or `make reset` for a new stack", c.dir, want)
	}
	return problem("no PostgreSQL: install it (apt-get install postgresql, brew install postgresql) or set DATABASE_URL (tried: %s)", strings.Join(tried, "; "))
}

// candidates are folders with a PostgreSQL of at least version 14, or of exactly the version that is wanted.
func (c *cluster) candidates(want string) []string {
	var dirs []string
	if c.UsePostgres != "npm" {
		if p, err := exec.LookPath("postgres"); err == nil {
			if target, err := filepath.EvalSymlinks(p); err == nil {
				dirs = append(dirs, filepath.Dir(target))
			}
		}
		for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"} {
			found, _ := filepath.Glob(pattern) // the patterns are well formed
			slices.Reverse(found)              // newest first
			dirs = append(dirs, found...)
		}
	}
	if c.UsePostgres == "" || c.UsePostgres == "npm" {
		dirs = append(dirs, c.npmBin())
	}
	return slices.DeleteFunc(dirs, func(dir string) bool {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			return true
		}
		got := major(filepath.Join(dir, "postgres"))
		n, err := strconv.Atoi(got)
		return err != nil || n < 14 || want != "" && got != want
	})
}

// major asks a postgres binary for its version.
func major(program string) string {
	out, err := exec.Command(program, "--version").Output() //nolint:noctx // it returns at once
	if err != nil {
		return ""
	}
	f := strings.Fields(string(out))
	if len(f) < 3 {
		return ""
	}
	return f[2][:len(f[2])-len(strings.TrimLeft(f[2], "0123456789"))] // 15.18, 18.4, 19beta1
}

// chooseMode finds how PostgreSQL, which refuses to be root, can run; data made in one mode opens in no other.
func (c *cluster) chooseMode(ctx context.Context) error {
	file := c.path("pg.mode")
	raw, _ := os.ReadFile(filepath.Clean(file)) // missing: no data yet
	was := strings.TrimSpace(string(raw))
	if _, err := os.Stat(filepath.Join(c.dir, "PG_VERSION")); err != nil {
		was = ""
	}
	switch {
	case os.Geteuid() != 0:
		c.mode = "plain"
	case was != "plain" && !strings.HasPrefix(was, "setuid:") && c.namespaceWorks(ctx):
		c.mode = "userns"
	case was == "userns":
		return problem("%s was made in a user namespace, which is refused now: `make reset` makes a new stack", c.dir)
	case strings.HasPrefix(was, "setuid:"):
		c.mode = was
	default:
		name := "postgres"
		if _, err := user.Lookup(name); err != nil {
			name = "nobody"
		}
		c.mode = "setuid:" + name
	}
	if was != "" && was != c.mode {
		return problem("%s was made in mode %s, and this run would be %s: start it as then, or `make reset`", c.dir, was, c.mode)
	}
	return writeFile(file, []byte(c.mode+"\n"))
}

func (c *cluster) namespaceWorks(ctx context.Context) bool {
	return runtime.GOOS == "linux" && !c.noNamespace && c.kids.run(ctx, "pg-probe", asUser1000(), c.env(), filepath.Join(c.bin, "postgres"), "--version") == nil
}

// attr is how the cluster's processes are started, and who owns its files.
func (c *cluster) attr() (syscall.SysProcAttr, int, int, error) {
	switch {
	case c.mode == "userns":
		return asUser1000(), 0, 0, nil
	case strings.HasPrefix(c.mode, "setuid:"):
		u, err := user.Lookup(strings.TrimPrefix(c.mode, "setuid:"))
		if err != nil {
			return syscall.SysProcAttr{}, 0, 0, problem("PostgreSQL cannot run as root, and there is no user %s", c.mode)
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err, err2); err != nil {
			return syscall.SysProcAttr{}, 0, 0, fmt.Errorf("read user %s: %w", u.Username, err)
		}
		return syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, int(uid), int(gid), nil
	default:
		return syscall.SysProcAttr{}, os.Getuid(), os.Getgid(), nil
	}
}

// socketDir is in the data folder, or in a short temporary folder when the path would not fit a socket's name.
func (c *cluster) socketDir() (string, error) {
	dir := c.path("run")
	if len(filepath.Join(dir, socketFile)) > sunPathLimit {
		sum := sha256.Sum256([]byte(c.DataDir))
		dir = filepath.Join("/tmp", "manas360-"+strconv.Itoa(os.Getuid())+"-"+hex.EncodeToString(sum[:6]))
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make the socket's folder: %w", err)
	}
	_, uid, gid, err := c.attr()
	if err != nil {
		return "", err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("read the socket's folder: %w", err)
	}
	// In /tmp anybody may have made it before us.
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || !st.IsDir() || int(sys.Uid) != uid && int(sys.Uid) != os.Getuid() {
		return "", problem("%s is not ours: remove it, or set MANAS_DATA_DIR to a shorter path", dir)
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, uid, gid)); err != nil { //nolint:gosec // a folder needs x
		return "", fmt.Errorf("own the socket's folder: %w", err)
	}
	return dir, writeFile(c.path("pg.socket"), []byte(dir+"\n"))
}

// initialise makes the cluster in one step: a half-made one, left by a crash, is thrown away.
func (c *cluster) initialise(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dir, "PG_VERSION")); err == nil {
		return nil
	}
	next := c.dir + ".new"
	if err := os.RemoveAll(next); err != nil {
		return fmt.Errorf("clear a half-made cluster: %w", err)
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	attr, uid, gid, err := c.attr()
	if err != nil {
		return err
	}
	if err := os.Chown(next, uid, gid); err != nil {
		return fmt.Errorf("own the cluster's folder: %w", err)
	}
	if strings.HasPrefix(c.mode, "setuid:") {
		if err := os.Chmod(c.DataDir, 0o711); err != nil { //nolint:gosec // the other user passes through; secrets are 0600
			return fmt.Errorf("open the data folder: %w", err)
		}
	}
	err = c.kids.run(ctx, "initdb", attr, c.env(), filepath.Join(c.bin, "initdb"),
		"-D", next, "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth-local=trust", "--auth-host=reject", "--no-sync", "--no-instructions")
	if err != nil {
		return problem("PostgreSQL cannot make its cluster in %s: %v", c.dir, err)
	}
	// Only who reaches the folder of the socket gets in at all; the services' roles still prove themselves.
	hba := filepath.Join(next, "pg_hba.conf")
	rules := strings.Join([]string{"local all postgres trust", "local all all scram-sha-256", ""}, "\n") //nolint:dupword // all databases, all users
	if err := os.WriteFile(hba, []byte(rules), 0o600); err != nil {
		return fmt.Errorf("write pg_hba.conf: %w", err)
	}
	if err := os.Rename(next, c.dir); err != nil {
		return fmt.Errorf("place the cluster: %w", err)
	}
	return nil
}

func (c *cluster) env() []string { return append(slices.Clone(c.Base), "LC_ALL=C", "TZ=UTC") }

// run starts the server. After a crash the old one's backends may hold the data for a while: its pid file
// guards the data against two servers, so it is waited for, not deleted.
func (c *cluster) run(ctx context.Context, sock string) error {
	attr, _, _, err := c.attr()
	if err != nil {
		return err
	}
	args := []string{
		"-D", c.dir, "-k", sock, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700", "-c", "max_connections=200",
		"-c", "shared_buffers=64MB", "-c", "log_line_prefix=%m %u ", "-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "password_encryption=scram-sha-256",
	}
	if c.test {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=300")
	}
	deadline := time.NewTimer(orphanWait)
	defer deadline.Stop()
	told := false
	for {
		kid, err := c.kids.start(ctx, "postgres", attr, c.env(), filepath.Join(c.bin, "postgres"), args...)
		if err != nil {
			return err
		}
		kid.expect() // until it answers, its end is ours to judge
		err = poll(ctx, time.Minute, func(ctx context.Context) error {
			select {
			case <-kid.done:
				return nil
			default:
				return ask(ctx, socketURL(sock, "postgres"), "SELECT 1")
			}
		})
		select {
		case <-kid.done:
		default:
			if err != nil {
				return problem("PostgreSQL does not answer: %s (%s)", lastLine(kid.log), kid.log)
			}
			c.kids.watch(kid)
			return nil
		}
		if !strings.Contains(readTail(kid.log), "lock file") && !strings.Contains(readTail(kid.log), "shared memory block") {
			return problem("PostgreSQL does not start: %s (%s)", lastLine(kid.log), kid.log)
		}
		if !told {
			told = true
			c.say("postgres  waiting for the processes of a crashed run to leave")
		}
		if !c.busy() {
			if err := c.setAsideStalePID(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start PostgreSQL: %w", ctx.Err())
		case <-deadline.C:
			return problem("another PostgreSQL uses %s: %s", c.dir, lastLine(kid.log))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// busy reports whether a process of the old server is still there: each has the cluster as its working folder.
func (c *cluster) busy() bool {
	if runtime.GOOS != "linux" {
		return true // nothing to see it by; the wait decides
	}
	at, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well formed
	return slices.ContainsFunc(at, func(link string) bool {
		dir, err := os.Readlink(link)
		return err == nil && dir == c.dir
	})
}

// setAsideStalePID is for a number that belongs to another program by now, as in a restarted container. We
// hold the stack's lock and no process works in the cluster, so no server can be there.
func (c *cluster) setAsideStalePID() error {
	file := filepath.Join(c.dir, "postmaster.pid")
	if err := os.Rename(file, file+".stale"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set the stale pid file aside: %w", err)
	}
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
