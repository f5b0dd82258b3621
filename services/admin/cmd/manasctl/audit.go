package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// auditVerifier is a program of the audit service: it must not share a line
// with what it judges but the format, and manasctl knows no database.
const auditVerifier = "auditverify"

// auditArgs tells whether the words are "audit verify", and gives all else.
func auditArgs(args []string) (rest []string, ok bool) {
	i := slices.Index(args, "audit")
	if i < 0 || i+1 >= len(args) || args[i+1] != "verify" {
		return nil, false
	}
	return append(slices.Clone(args[:i]), args[i+2:]...), true
}

// verifyAudit runs auditverify, which stands beside manasctl or on PATH, and
// gives its exit status.
func verifyAudit(ctx context.Context, args []string, out, problems io.Writer) int {
	program, err := findVerifier()
	if err != nil {
		say(problems, err)
		return exitFailed
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // our own program
	cmd.Stdout, cmd.Stderr = out, problems
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended) && ended.ExitCode() > 0:
		return ended.ExitCode()
	default:
		say(problems, fmt.Errorf("run %s: %w", auditVerifier, err))
		return exitFailed
	}
}

func findVerifier() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), auditVerifier)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	program, err := exec.LookPath(auditVerifier)
	if err != nil {
		return "", fmt.Errorf("%s stands neither beside manasctl nor on PATH: go build ./services/audit/cmd/%s", auditVerifier, auditVerifier)
	}
	return program, nil
}
