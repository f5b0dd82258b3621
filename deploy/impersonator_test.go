package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every service that writes down whose session it was writes down who acted in
// it: an audit trail that leaves it out accuses the wrong person.
// identity.md row 67
func TestEveryActorSaysWhoImpersonates(t *testing.T) {
	files, err := filepath.Glob("../services/*/peer_*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if strings.HasSuffix(f, "_test.go") || !strings.Contains(text, "Event_Actor{") {
			continue
		}
		seen++
		if strings.Contains(text, " record(ctx, ") {
			continue // which says it for all
		}
		if sessions, told := strings.Count(text, "SessionId:"), strings.Count(text, "ImpersonatorId"); told < max(sessions, 1) {
			t.Errorf("%s: %d actors with a session, %d that say who impersonates", f, sessions, told)
		}
	}
	if seen < 5 {
		t.Errorf("looked at %d files", seen)
	}
}
