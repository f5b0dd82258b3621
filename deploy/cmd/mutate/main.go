// Command mutate changes the pure packages of the money one operator at a time
// and counts how many changes their tests notice. The packages are copied into
// one module of their own, because the tool copies a module away from the
// neighbours that its go.mod points at.
//
//	mutate -gremlins .bin/gremlins -least 90 pkg/money services/payment/ledger
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

const module = "github.com/manas360/platform"

func main() {
	tool := flag.String("gremlins", ".bin/gremlins", "the mutation tester")
	least := flag.Int("least", 90, "per cent of the mutants that tests must kill")
	like := flag.String("versions", "services/payment", "the module whose go.mod pins the versions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *tool, *like, *least, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, tool, like string, least int, packages []string) error {
	if len(packages) == 0 {
		return errors.New("name the packages to mutate")
	}
	tool, err := filepath.Abs(tool)
	if err != nil {
		return fmt.Errorf("find gremlins: %w", err)
	}
	dir, err := os.MkdirTemp("", "manas-mutate-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, p := range packages {
		if err := os.CopyFS(filepath.Join(dir, p), os.DirFS(p)); err != nil {
			return fmt.Errorf("copy %s: %w", p, err)
		}
	}
	if err := pin(ctx, dir, like); err != nil {
		return err
	}
	var weak []string
	for _, p := range packages {
		fmt.Printf("\n== %s\n", p)
		c := command(ctx, dir, tool, "unleash", "--silent=false", "--workers=2", "--timeout-coefficient=10", fmt.Sprintf("--threshold-efficacy=%d", least), "./"+p)
		if err := c.Run(); err != nil {
			weak = append(weak, p)
		}
	}
	if len(weak) > 0 {
		return fmt.Errorf("less than %d %% of the mutants were killed, or none could be made, in %s", least, strings.Join(weak, ", "))
	}
	return nil
}

// pin makes dir a module with the versions that like's go.mod names.
func pin(ctx context.Context, dir, like string) error {
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(like, name)) //nolint:gosec // of our own tree
		if err != nil {
			return fmt.Errorf("read the versions: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil { //nolint:gosec // in a folder of our making
			return fmt.Errorf("write the versions: %w", err)
		}
	}
	edit := []string{"mod", "edit", "-module", module}
	for _, own := range []string{"pkg", "proto", "migrations"} {
		edit = append(edit, "-dropreplace="+module+"/"+own, "-droprequire="+module+"/"+own)
	}
	for _, args := range [][]string{edit, {"mod", "tidy"}} {
		if err := command(ctx, dir, "go", args...).Run(); err != nil {
			return fmt.Errorf("go %s: %w", strings.Join(args[:2], " "), err)
		}
	}
	return nil
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...) //nolint:gosec // what the Makefile names
	c.Dir, c.Stdout, c.Stderr = dir, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	return c
}
