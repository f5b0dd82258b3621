// Package stack runs the whole suite on one machine: PostgreSQL, Redis, the seven processes and the
// sandbox, as children that die with it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Error is a problem that the person at the terminal can solve: it is shown as one line, without a trace.
type Error struct{ line string }

func (e *Error) Error() string { return e.line }

func problem(format string, args ...any) error { return &Error{line: fmt.Sprintf(format, args...)} }

// Services are the processes behind the gateway, in the order of starting.
var Services = []string{"auth", "user", "subscription", "payment", "audit", "admin"}

const marker = ".manas360" // says that a folder is ours to empty

// Config is what the environment of `make up` decides.
type Config struct {
	Root           string // of the repository
	DataDir        string // absolute
	Port           int
	SandboxPort    int
	DatabaseURL    string // empty: a private cluster
	RedisHost      string // empty: a private Redis
	RedisPort      int    // 0: chosen free
	AllowedOrigins string
	UsePostgres    string // one way only: system, apt or npm; empty tries all
	UseRedis       string // one way only: system, apt or mini; empty tries all
	NoBuild        bool
	Passed         map[string]string // settings handed on to the processes that know them
	Base           []string          // PATH, HOME, TMPDIR: what every child needs
}

// passed are settings a person may change for one run.
var passed = []string{
	"LOG_LEVEL", "JWT_EXPIRY", "JWT_REFRESH_EXPIRY", "JWT_SECRET", "JWT_REFRESH_SECRET", "DB_POOL_MIN", "DB_POOL_MAX", "INTERNAL_IP",
	"TRUSTED_PROXIES", "ADMIN_NETWORKS", "OTEL_EXPORTER_OTLP_ENDPOINT", "TERMS_VERSION", "PRIVACY_VERSION", "TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_ALG", "KEY_ROTATION", "OTP_COUNTRIES",
	"OIDC_PROVIDERS",
	"SUPPLIER_STATE", "SUPPLIER_GSTIN", "INVOICE_PREFIX",
}

// Read makes a Config from the environment and the folder it runs in.
func Read(getenv func(string) string, dir string) (Config, error) {
	root, err := findRoot(dir)
	if err != nil {
		return Config{}, err
	}
	if getenv("NODE_ENV") == "production" {
		return Config{}, problem("NODE_ENV=production: the local stack is for development; unset it")
	}
	c := Config{
		Root: root, DatabaseURL: getenv("DATABASE_URL"), RedisHost: getenv("REDIS_HOST"), AllowedOrigins: getenv("ALLOWED_ORIGINS"),
		UsePostgres: getenv("MANAS_POSTGRES"), UseRedis: getenv("MANAS_REDIS"), Passed: map[string]string{},
	}
	var bad []error
	port := func(name string, fallback int) int {
		s := getenv(name)
		if s == "" {
			return fallback
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 65535 {
			bad = append(bad, problem("%s=%s: not a port from 1 to 65535", name, s))
		}
		return n
	}
	c.Port, c.SandboxPort, c.RedisPort = port("PORT", 5001), port("SANDBOX_PORT", 5099), port("REDIS_PORT", 0)
	if c.Port == c.SandboxPort {
		bad = append(bad, problem("PORT and SANDBOX_PORT are both %d", c.Port))
	}
	if c.DatabaseURL != "" {
		if u, err := url.Parse(c.DatabaseURL); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			bad = append(bad, problem("DATABASE_URL: not a postgres:// address"))
		}
	}
	c.DataDir = getenv("MANAS_DATA_DIR")
	if c.DataDir == "" {
		c.DataDir = ".data"
	}
	if !filepath.IsAbs(c.DataDir) {
		c.DataDir = filepath.Join(root, c.DataDir)
	}
	for _, name := range passed {
		if v := getenv(name); v != "" {
			c.Passed[name] = v
		}
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if v := getenv(name); v != "" {
			c.Base = append(c.Base, name+"="+v)
		}
	}
	return c, errors.Join(bad...)
}

// findRoot goes up to the folder with go.work.
func findRoot(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.work")); err == nil { //nolint:gosec // upwards from where the person stands
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", problem("%s is not inside the repository: no go.work above it", dir)
		}
	}
}

func (c Config) path(elem ...string) string {
	return filepath.Join(append([]string{c.DataDir}, elem...)...)
}

// claimDir makes the data folder, and refuses one that holds somebody else's files: `make reset` would empty it.
func (c Config) claimDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return problem("MANAS_DATA_DIR: %v", err)
	}
	held, err := os.ReadDir(c.DataDir)
	if err != nil {
		return problem("MANAS_DATA_DIR: %v", err)
	}
	if _, err := os.Stat(c.path(marker)); err != nil && len(held) > 0 {
		return problem("%s holds files that are not ours; set MANAS_DATA_DIR to an empty folder", c.DataDir)
	}
	for _, sub := range []string{"logs", "messages", "redis", "sandbox", "tls"} {
		if err := os.MkdirAll(c.path(sub), 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	}
	return writeFile(c.path(marker), []byte("The local stack of Manas360 lives here; `make reset` empties this folder.\n"))
}

// writeFile replaces a file in one step, readable by its owner only.
func writeFile(name string, raw []byte) error {
	next := name + ".next"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(next, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Hooks are what only the assembly knows: the migrations and the first accounts.
type Hooks struct {
	// Migrate brings the schemas up to date; passwords are the roles', by service.
	Migrate func(ctx context.Context, adminURL string, passwords map[string]string) error
	// Seed makes the demo accounts unless they exist.
	Seed func(ctx context.Context, authURL, jwtSecret, jwtRefreshSecret string, accounts []Account) error
}

// Account is one demo account.
type Account struct {
	Email, Password, FirstName, LastName, Role string
	TOTPSecret                                 string // base32, empty without a second factor
}

// Stack is one run.
type Stack struct {
	Config
	Hooks
	Now  func() time.Time
	Rand io.Reader
	Out  io.Writer // what the person reads
	Self string    // this program, for its own subcommands
	TTY  bool      // progress may rewrite its line

	// Alter, when set, may change what a process gets: a test puts something between the parts.
	Alter func(name string, env map[string]string) error

	Tolerant bool // a part's death does not end the others: a test holds it down

	kids        *nursery
	plan        *plan // set before ready is called
	sec         Secrets
	noNamespace bool // a test plays a machine that refuses user namespaces
}

func (s *Stack) say(format string, args ...any) { _, _ = fmt.Fprintf(s.Out, format+"\n", args...) }
