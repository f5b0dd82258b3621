package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComposeBuildsWithTheDockerfile(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	args := regexp.MustCompile(`(?m)^ARG (\w+)(?:=(\S+))?$`).FindAllStringSubmatch(dockerfile, -1)
	defaults := map[string]string{}
	for _, a := range args {
		defaults[a[1]] = a[2]
	}
	for name, s := range readCompose(t).Services {
		if s.Image != "" {
			continue
		}
		b := s.Build
		if b.Context != "." || b.Dockerfile != "deploy/Dockerfile" {
			t.Errorf("%s builds %s in %q, want deploy/Dockerfile in the root", name, b.Dockerfile, b.Context)
		}
		if got := b.Args["SERVICE"]; got != name && (got != "migrate" || !runsOnce(name)) {
			t.Errorf("%s builds SERVICE %s", name, got)
		}
		for key := range b.Args {
			if _, ok := defaults[key]; !ok {
				t.Errorf("%s gives the Dockerfile %s, which it does not take", name, key)
			}
		}
		arg := func(key string) string {
			value := b.Args[key]
			if value == "" {
				value = defaults[key]
			}
			return strings.ReplaceAll(value, "${SERVICE}", name)
		}
		main := filepath.Join("..", arg("MODULE"), arg("MAIN"))
		if sources, _ := filepath.Glob(filepath.Join(main, "*.go")); len(sources) == 0 {
			t.Errorf("%s: no program in %s", name, main)
		}
		if !runsOnce(name) {
			if diff := cmp.Diff([]string{"CMD", "/app", "-health"}, s.HealthCheck.Test); diff != "" {
				t.Errorf("%s health check (-want +got):\n%s", name, diff)
			}
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	stages := strings.Split(text, "\nFROM ")
	if len(stages) != 3 { // the comment, the build and the image
		t.Fatalf("got %d stages, want 2", len(stages)-1)
	}
	build, image := stages[1], stages[2]
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil || !strings.HasPrefix(build, "golang:"+version[1]+" ") {
		t.Errorf("builds with %.20s, want the Go of go.mod %v", build, version)
	}
	for _, want := range []string{"GOWORK=off", "CGO_ENABLED=0", "\nCOPY ${MODULE} "} {
		if !strings.Contains(build, want) {
			t.Errorf("build stage lacks %s", want)
		}
	}
	// Every module deploy's go.mod replaces must be there, or Go refuses to read it.
	for _, m := range regexp.MustCompile(`=> \.\./(\S+)`).FindAllStringSubmatch(read(t, "go.mod"), -1) {
		if !strings.Contains(build, "COPY "+m[1]+" ") && !strings.Contains(build, "COPY "+m[1]+"/go.mod "+m[1]+"/") {
			t.Errorf("build stage lacks the go.mod of %s", m[1])
		}
	}
	for _, want := range []string{"distroless/static", ":nonroot\n", "\nUSER nonroot\n", `ENTRYPOINT ["/app"]`} {
		if !strings.Contains(image, want) {
			t.Errorf("image lacks %q", want)
		}
	}
	if strings.Contains(image, "RUN ") || strings.Contains(image, "HEALTHCHECK") {
		t.Error("the image has no shell: its health check stands in docker-compose.yml")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
