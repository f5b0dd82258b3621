package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// judges are programs of others that tests ask for a verdict, by the Debian package they come in.
var judges = []struct{ program, pkg string }{
	{"chromium", "chromium"},      // passkeys, the console
	{"node", "nodejs"},            // clients and servers from npm
	{"npm", "npm"},                //
	{"htpasswd", "apache2-utils"}, // bcrypt
	{"argon2", "argon2"},          // argon2id
	{"oathtool", "oathtool"},      // one-time codes
	{"hledger", "hledger"},        // the ledger
}

// callJudges installs the judges that are missing. Where that fails the tests that need one say so.
func (s *Stack) callJudges(ctx context.Context) {
	var missing []string
	for _, j := range judges {
		if _, err := exec.LookPath(j.program); err != nil {
			missing = append(missing, j.pkg)
		}
	}
	for _, pkg := range missing {
		if err := s.apt(ctx, pkg); err != nil {
			s.say("%s could not be installed, the tests that need it will say so: %v", pkg, err)
		}
	}
}

// TestServers runs a command with a throw-away PostgreSQL and Redis and returns its exit code.
func (s *Stack) TestServers(ctx context.Context, command []string, environ []string) (code int, err error) {
	if len(command) == 0 {
		return 2, problem("testservers: name the command, as in `dev testservers -- go test ./...`")
	}
	dir, err := os.MkdirTemp("", "manas-test-") // short: sockets lie in it
	if err != nil {
		return 1, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.DataDir, s.DatabaseURL, s.RedisHost, s.RedisPort = dir, "", "", 0
	if err := s.claimDir(); err != nil {
		return 1, err
	}
	s.kids = newNursery(s.path("logs"))
	defer s.stopAll()
	s.callJudges(ctx)
	p, err := s.startPostgres(ctx, true)
	if err != nil {
		return 1, err
	}
	r, err := s.startRedis(ctx)
	if err != nil {
		return 1, err
	}
	defer removeSocketDirOf(p)
	s.installNode(ctx)
	env := append(without(environ, "MANAS_TEST_PG", "MANAS_TEST_REDIS", "MANAS_TEST_REQUIRE"),
		"MANAS_TEST_PG="+p.adminURL, "MANAS_TEST_REDIS="+r.addr(), "MANAS_TEST_REQUIRE=1")
	return s.runCommand(ctx, command, env)
}

// installNode brings node and npm, which run a real OpenID provider for the tests. Where it cannot, those
// tests say what they lack.
func (s *Stack) installNode(ctx context.Context) {
	for program, name := range map[string]string{"node": "nodejs", "npm": "npm"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if err := s.apt(ctx, name); err != nil {
			s.say("%s is missing and could not be installed (%v): tests that need it will fail", program, err)
		}
	}
}

// runCommand gives the command our terminal, and passes on the wish to stop.
func (s *Stack) runCommand(ctx context.Context, command, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the person's own command
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case errors.As(err, &exit):
		return 1, problem("%s ended: %v", command[0], err)
	default:
		return 127, problem("%v", err)
	}
}

func without(environ []string, names ...string) []string {
	var kept []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			kept = append(kept, kv)
		}
	}
	return kept
}

// removeSocketDirOf clears the short folder that a long path made necessary.
func removeSocketDirOf(p *postgres) { _ = removeSocketDir(p.socketDir) } // a leftover in /tmp harms nobody

func removeSocketDir(recorded string) error {
	dir := strings.TrimSpace(recorded)
	if !strings.HasPrefix(dir, "/tmp/manas360-"+strconv.Itoa(os.Getuid())+"-") {
		return nil // inside the data folder, or not ours
	}
	return os.RemoveAll(dir) //nolint:gosec // the prefix is ours
}
