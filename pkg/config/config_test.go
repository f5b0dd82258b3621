package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/manas360/platform/pkg/config"
)

type database struct {
	URL string `env:"DATABASE_URL,required" secret:"true" desc:"where the rows are"`
	Max int32  `env:"DB_POOL_MAX" envDefault:"8"`
}

func (d database) Validate() error {
	if d.Max < 1 {
		return errors.New("DB_POOL_MAX: must be at least 1")
	}
	return nil
}

// Embedded is exported so that env may fill it.
type Embedded = database

type whole struct {
	Embedded
	Life    config.Duration `env:"JWT_REFRESH_EXPIRY" envDefault:"7d" desc:"how long a session lasts"`
	Secret  string          `env:"JWT_SECRET,required" secret:"true"`
	Pin     int             `env:"PIN" secret:"true" envDefault:"1234"`
	Origins []string        `env:"ALLOWED_ORIGINS"`
	Redis   struct {
		Host string `env:"HOST" envDefault:"127.0.0.1"`
	} `envPrefix:"REDIS_"`
}

func (w whole) Validate() error {
	if len(w.Secret) < 4 {
		return errors.Join(errors.New("JWT_SECRET: too short"), errors.New("JWT_SECRET: really"))
	}
	return nil
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load[whole]([]string{
		"DATABASE_URL=postgres://x?a=b", "JWT_SECRET_FILE=" + file, "JWT_REFRESH_EXPIRY=1d12h",
		"ALLOWED_ORIGINS=a,b", "REDIS_HOST=cache", "junk",
	})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	want := whole{
		Embedded: Embedded{URL: "postgres://x?a=b", Max: 8}, Life: config.Duration(36 * time.Hour),
		Secret: "from a file", Pin: 1234, Origins: []string{"a", "b"},
	}
	want.Redis.Host = "cache"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestLoadReportsEverything(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string // each a part of one line
	}{
		{"missing", nil, []string{"DATABASE_URL: required", "JWT_SECRET: required"}},
		{
			"malformed",
			[]string{"DATABASE_URL=x", "JWT_SECRET=long", "DB_POOL_MAX=many", "JWT_REFRESH_EXPIRY=7x", "PIN=hush-hush"},
			[]string{"DB_POOL_MAX: ", "JWT_REFRESH_EXPIRY: ", "PIN: malformed"},
		},
		{
			"invalid",
			[]string{"DATABASE_URL=x", "JWT_SECRET=abc", "DB_POOL_MAX=-1"},
			[]string{"DB_POOL_MAX: must be at least 1", "JWT_SECRET: too short", "JWT_SECRET: really"},
		},
		{
			"twice",
			[]string{"DATABASE_URL=x", "JWT_SECRET=long", "JWT_SECRET_FILE=/x"},
			[]string{"JWT_SECRET: set together with JWT_SECRET_FILE"},
		},
		{
			"no file",
			[]string{"DATABASE_URL=x", "JWT_SECRET_FILE=/does/not/exist"},
			[]string{"JWT_SECRET_FILE: ", "JWT_SECRET: required"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load[whole](tt.environ)
			bad, ok := errors.AsType[*config.Error](err)
			if !ok {
				t.Fatalf("Load: got %v, want a *config.Error", err)
			}
			if len(bad.Problems) != len(tt.want) {
				t.Errorf("problems: got %q, want %q", bad.Problems, tt.want)
			}
			for _, w := range tt.want {
				if !strings.Contains(bad.Error(), w) {
					t.Errorf("problems: got %q, want one with %q", bad.Problems, w)
				}
			}
			if strings.Contains(bad.Error(), "hush") {
				t.Errorf("a secret was told: %q", bad.Problems)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "15m": 15 * time.Minute, "0": 0, "1.5s": 1500 * time.Millisecond,
	} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q: got %s, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "15", "-5m", "1d2d", "99999999d", "900 s"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %s, want an error", text, d)
		}
	}
}

func TestDescribeHidesSecrets(t *testing.T) {
	var b strings.Builder
	if err := config.Describe[whole](&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DATABASE_URL", "REDIS_HOST", `"7d"`, "how long a session lasts", "secret"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("description lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "1234") {
		t.Errorf("description tells a secret:\n%s", b.String())
	}
}
