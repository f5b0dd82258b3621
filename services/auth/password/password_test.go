package password

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

func TestWeak(t *testing.T) {
	for _, tt := range []struct {
		name, password string
		weak           bool
	}{
		{"empty", "", true},
		{"seven", "x7!kqp2", true},
		{"eight", "x7!kqp2z", false},
		{"eight runes of three bytes", "नमस्तेजग", false},
		{"128", strings.Repeat("ab7", 42) + "xy", false},
		{"129", strings.Repeat("ab7", 43), true},
		{"common", "password", true},
		{"common in capitals", "PassWord1", true},
		{"from the list", "trustno1", true},
		{"one letter", "zzzzzzzzzz", true},
		{"run up", "abcdefghij", true},
		{"run down", "98765432", true},
		{"own address", "Asha@Example.com", true},
		{"not text", "abcdefg\xff9", true},
		{"nul", "abcdefg\x00h9", true},
		{"phrase", "correct horse battery", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Weak(tt.password, "asha@example.com"); (got != "") != tt.weak {
				t.Errorf("Weak(%q): got %q, want weak %v", tt.password, got, tt.weak)
			}
		})
	}
}

func TestHashAndVerify(t *testing.T) {
	phc, err := Hash("correct horse", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("parameters: got %s", phc)
	}
	for password, want := range map[string]bool{"correct horse": true, "Correct horse": false, "": false} {
		if got, err := Verify(password, phc); err != nil || got != want {
			t.Errorf("Verify(%q): got %v, %v, want %v", password, got, err, want)
		}
	}
	if got, err := Verify("", Dummy); err != nil || got {
		t.Errorf("Verify(dummy): got %v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const salt, tag = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, phc := range []string{
		"", "$", "plain", "$2a$10$abcdefghijklmnopqrstuv",
		"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=4000000000,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=255$" + salt + "$" + tag,
		"$argon2id$v=19$m=019456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=0,t=0,p=0$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1$AA$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + tag + "$x",
		"$argon2id$v=19$m=19456,t=2,p=1,x=1$" + salt + "$" + tag,
	} {
		if _, err := parse(phc); !errors.Is(err, ErrMalformed) {
			t.Errorf("parse(%q): got %v, want ErrMalformed", phc, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Dummy)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, phc string) {
		h, err := parse(phc)
		if err != nil {
			return
		}
		if h.String() != phc {
			t.Errorf("parse(%q) accepts a second spelling of %q", phc, h)
		}
		if h.memory > maxMemoryKiB || h.passes > maxPasses || h.lanes > maxLanes {
			t.Errorf("parse(%q) exceeds the bounds: %+v", phc, h)
		}
	})
}

func TestCommonListIsLong(t *testing.T) {
	if n := len(strings.Fields(commonText)); n < 10_000 {
		t.Errorf("%d words", n)
	}
	for _, word := range []string{"password1", "Qwertyuiop", "IloveYou", "sunshine1", "football"} {
		if Weak(word) == "" {
			t.Errorf("%s may be chosen", word)
		}
	}
}
