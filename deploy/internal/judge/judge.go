// Package judge lets programs of others try what the suite says on the wire:
// npm packages run by Node, and tools of Debian.
package judge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const limit = 3 * time.Minute // npm's download included

// Tool finds a program of Debian. Without it the test fails where
// MANAS_TEST_REQUIRE=1, else it is skipped.
func Tool(tb testing.TB, program, pkg string) string {
	tb.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		const missing = "%s is not on PATH; it comes with Debian's package %s (make test installs it)"
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" { //nolint:forbidigo // as pgtest does
			tb.Fatalf(missing, program, pkg)
		}
		tb.Skipf(missing, program, pkg)
	}
	return path
}

// Node runs a script of a folder that has a package.json and its lock file, and
// answers what it printed. The packages are kept between runs.
func Node(tb testing.TB, dir, script string, args ...string) string {
	tb.Helper()
	node := Tool(tb, "node", "nodejs")
	home, err := project(tb, dir)
	if err != nil {
		tb.Fatal(err)
	}
	out, err := run(tb, home, node, append([]string{filepath.Join(home, script)}, args...)...)
	if err != nil {
		tb.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// project copies the folder beside its packages, which npm installs once for
// each lock file.
func project(tb testing.TB, dir string) (string, error) {
	tb.Helper()
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json")) //nolint:gosec // a test's own folder
	if err != nil {
		return "", fmt.Errorf("read the lock file: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256(lock)
	home := filepath.Join(cache, "manas360-judges", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(home, 0o750); err != nil { //nolint:gosec // the user's own cache
		return "", fmt.Errorf("make the judges' folder: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", fmt.Errorf("list %s: %w", dir, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(file) //nolint:gosec // a test's own folder
		if err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
		if err := os.WriteFile(filepath.Join(home, filepath.Base(file)), text, 0o600); err != nil { //nolint:gosec // the user's own cache
			return "", fmt.Errorf("copy %s: %w", file, err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "installed")); !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // the user's own cache
		return home, err //nolint:wrapcheck // nil, or about a path that says enough
	}
	npm := Tool(tb, "npm", "npm")
	if out, err := run(tb, home, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return home, os.WriteFile(filepath.Join(home, "installed"), nil, 0o600) //nolint:gosec // the user's own cache
}

func run(tb testing.TB, dir, program string, args ...string) (string, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // a test's own program
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err //nolint:wrapcheck // the caller wraps
}
