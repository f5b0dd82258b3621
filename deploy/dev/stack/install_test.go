package stack

import (
	"os"
	"path/filepath"
	"testing"
)

// What the system had before an installation is what it has after.
func TestLend(t *testing.T) {
	const mine, theirs = "ours\n", "somebody's\n"
	for _, tt := range []struct {
		name   string
		before map[string]string
		during string
		after  map[string]string
	}{
		{"nothing there", nil, mine, nil},
		{"somebody has decided", map[string]string{"conf": theirs}, theirs, map[string]string{"conf": theirs}},
		{"left by a killed run", map[string]string{"conf": mine}, mine, nil},
		{"the package's own was set aside", map[string]string{"conf.ucf-dist": theirs}, mine, map[string]string{"conf": theirs}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sub")
			file := filepath.Join(dir, "conf")
			for name, text := range tt.before {
				if err := writeAll(filepath.Join(dir, name), text); err != nil {
					t.Fatal(err)
				}
			}
			undo, err := lend(file, mine, 0o644)
			if err != nil {
				t.Fatalf("lend: %v", err)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != tt.during {
				t.Errorf("during: got %q, %v, want %q", got, err, tt.during)
			}
			if err := undo(); err != nil {
				t.Fatalf("undo: %v", err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != len(tt.after) {
				t.Errorf("after: got %v, %v, want %v", left, err, tt.after)
			}
			for name, want := range tt.after {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
					t.Errorf("%s after: got %q, %v, want %q", name, got, err, want)
				}
			}
		})
	}
}

func writeAll(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o600)
}
