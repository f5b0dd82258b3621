// Package deploy is the suite assembled; its tests hold docker-compose.yml and
// the Dockerfile to the configuration each process really reads.
package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/manas360/platform/gateway"
	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/config"
	"github.com/manas360/platform/services/admin"
	"github.com/manas360/platform/services/audit"
	"github.com/manas360/platform/services/audit/witness"
	"github.com/manas360/platform/services/auth"
	"github.com/manas360/platform/services/payment"
	"github.com/manas360/platform/services/subscription"
	"github.com/manas360/platform/services/user"
)

// processes are the seven, each with the variables it knows and its own loader.
var processes = map[string]process{
	"auth":         of[auth.Config](),
	"user":         of[user.Config](),
	"subscription": of[subscription.Config](),
	"payment":      of[payment.Config](),
	"audit":        of[audit.Config](),
	"admin":        of[admin.Config](),
	"gateway":      of[gateway.Config](),
}

type process struct {
	describe func(w io.Writer) error
	load     func(environ []string) error
}

func of[T any]() process {
	return process{
		describe: config.Describe[T],
		load:     func(environ []string) error { _, err := config.Load[T](environ); return err },
	}
}

// variables are the names a process reads, as its -config prints them; true
// for those it cannot do without.
func (p process) variables(t *testing.T) map[string]bool {
	t.Helper()
	var text strings.Builder
	if err := p.describe(&text); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(text.String()) {
		if words := strings.Fields(line); len(words) >= 2 {
			out[words[0]] = words[1] == "required"
		}
	}
	return out
}

type composeFile struct {
	Services map[string]service `yaml:"services"`
}

type service struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string            `yaml:"context"`
		Dockerfile string            `yaml:"dockerfile"`
		Args       map[string]string `yaml:"args"`
	} `yaml:"build"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Restart     string            `yaml:"restart"`
	Command     []string          `yaml:"command"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	HealthCheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var raw composeFile
	if err := yaml.Unmarshal([]byte(read(t, "../docker-compose.yml")), &raw); err != nil {
		t.Fatalf("read docker-compose.yml: %v", err)
	}
	return raw
}

func TestComposeHasTheSuite(t *testing.T) {
	c := readCompose(t)
	want := []string{"admin", "audit", "auditwitness", "auth", "bootstrap", "gateway", "migrate", "payment", "postgres", "redis", "sandbox", "subscription", "user"}
	var got []string
	for name, s := range c.Services {
		got = append(got, name)
		if len(s.HealthCheck.Test) == 0 && !runsOnce(name) {
			t.Errorf("%s has no health check", name)
		}
		for dep, on := range s.DependsOn {
			condition := "service_healthy"
			if runsOnce(dep) {
				condition = "service_completed_successfully"
			}
			if on.Condition != condition {
				t.Errorf("%s waits for %s until %q, want %s", name, dep, on.Condition, condition)
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if got := c.Services["postgres"].Image; got != "postgres:16" {
		t.Errorf("postgres image %s, want postgres:16", got)
	}
	if got := c.Services["redis"].Image; got != "redis:7" {
		t.Errorf("redis image %s, want redis:7", got)
	}
	for _, name := range []string{"bootstrap", "migrate"} {
		if got := c.Services[name].Restart; got != "no" {
			t.Errorf("%s restarts %q, want no: it runs once", name, got)
		}
	}
}

func runsOnce(name string) bool { return name == "bootstrap" || name == "migrate" }

// The roles get the passwords that the services sign in with.
func TestComposeBootstrapsEveryRole(t *testing.T) {
	c := readCompose(t)
	if diff := cmp.Diff([][]string{{"bootstrap"}, {"up"}}, [][]string{c.Services["bootstrap"].Command, c.Services["migrate"].Command}); diff != "" {
		t.Errorf("commands of bootstrap and migrate (-want +got):\n%s", diff)
	}
	for _, name := range migrations.Services() {
		password := c.Services["bootstrap"].Environment["MANAS_"+strings.ToUpper(name)+"_PASSWORD"]
		if want := "postgres://" + migrations.Role(name) + ":" + password + "@postgres:5432/"; password == "" || !strings.HasPrefix(c.Services[name].Environment["DATABASE_URL"], want) {
			t.Errorf("%s signs in with %s, want %s…", name, c.Services[name].Environment["DATABASE_URL"], want)
		}
	}
}

func TestComposeSetsWhatEachProcessReads(t *testing.T) {
	c := readCompose(t)
	all := maps.Clone(processes)
	all["auditwitness"] = of[witness.Config]()
	for name, p := range all {
		t.Run(name, func(t *testing.T) {
			s := c.Services[name]
			reads := p.variables(t)
			for key := range s.Environment {
				if _, ok := reads[key]; !ok {
					t.Errorf("sets %s, which %s does not read", key, name)
				}
			}
			for key, required := range reads {
				if _, ok := s.Environment[key]; required && !ok {
					t.Errorf("does not set %s, which %s needs", key, name)
				}
			}
			var environ []string
			for key, value := range s.Environment {
				environ = append(environ, key+"="+expand(t, value))
			}
			if err := p.load(environ); err != nil {
				t.Errorf("%s refuses this environment: %v", name, err)
			}
		})
	}
}

func TestComposeAddressesMeet(t *testing.T) {
	c := readCompose(t)
	for name := range processes {
		s := c.Services[name]
		for key, value := range s.Environment {
			peer, isPeer := strings.CutSuffix(key, "_ADDR")
			if !isPeer || peer == "GRPC" || peer == "OPS" || peer == "BIND" {
				continue
			}
			peer = strings.ToLower(peer)
			if want := peer + c.Services[peer].Environment["GRPC_ADDR"]; value != want {
				t.Errorf("%s: %s is %s, want %s", name, key, value, want)
			}
		}
		if got := s.Environment["REDIS_HOST"]; got != "" && got != "redis" {
			t.Errorf("%s: REDIS_HOST is %s, want redis", name, got)
		}
		if s.Environment["OPS_ADDR"] == "" {
			t.Errorf("%s: no OPS_ADDR, so nothing answers its health check", name)
		}
		// Its own pair and the authority's certificate: never a sibling's key.
		var want []string
		for _, file := range []string{"TLS_CA_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE"} {
			want = append(want, "${TLS_DIR:-./.data/tls}/"+filepath.Base(s.Environment[file])+":"+s.Environment[file]+":ro")
		}
		mounted := slices.DeleteFunc(slices.Clone(s.Volumes), func(v string) bool { return !strings.Contains(v, ":/tls") })
		if diff := cmp.Diff(want, mounted); diff != "" {
			t.Errorf("%s: certificates (-want +got):\n%s", name, diff)
		}
		if got := s.Environment["TLS_KEY_FILE"]; got != "/tls/"+name+"-key.pem" {
			t.Errorf("%s: TLS_KEY_FILE is %q", name, got)
		}
	}
}

func TestComposePublishesOnlyTheEdge(t *testing.T) {
	c := readCompose(t)
	inside := map[string]string{"gateway": "PORT", "sandbox": "SANDBOX_PORT"}
	for name, s := range c.Services {
		variable, may := inside[name]
		if !may {
			if len(s.Ports) != 0 {
				t.Errorf("%s publishes %v, want nothing", name, s.Ports)
			}
			continue
		}
		port := s.Environment[variable]
		if port == "" || len(s.Ports) != 1 || !strings.HasSuffix(s.Ports[0], "}:"+port) {
			t.Errorf("%s publishes %v, want one host port for its %s %q", name, s.Ports, variable, port)
		}
	}
}

// A secret comes from the one who starts the suite, who is told what to say.
func TestComposeHoldsNoSecret(t *testing.T) {
	secret := regexp.MustCompile(`SECRET|PASSWORD|CLIENT_ID$`)
	asked := regexp.MustCompile(`^\$\{[A-Z0-9_]+(:\?[^}]+|:-)\}$`) // or nothing, where none is needed
	for name, s := range readCompose(t).Services {
		for key, value := range s.Environment {
			if secret.MatchString(key) && !asked.MatchString(value) {
				t.Errorf("%s: %s is %q, want ${NAME:?what to say}", name, key, value)
			}
			if _, after, ok := strings.Cut(value, "://"); ok && strings.Contains(after, "@") && !strings.Contains(after, ":?") {
				t.Errorf("%s: %s carries a password of its own: %s", name, key, value)
			}
		}
	}
}

// expand does what compose does, with a made-up value for what must be given.
func expand(t *testing.T, value string) string {
	t.Helper()
	reference := regexp.MustCompile(`\$\{([A-Z0-9_]+)(:-|:\?|-)?([^}]*)\}`)
	return reference.ReplaceAllStringFunc(value, func(m string) string {
		parts := reference.FindStringSubmatch(m)
		if strings.HasSuffix(parts[2], "-") {
			return parts[3]
		}
		sum := sha256.Sum256([]byte(parts[1])) // differs by name, as secrets must
		return hex.EncodeToString(sum[:])
	})
}
