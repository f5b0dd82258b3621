package notary

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
)

func TestKeyIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "log.key")
	if _, _, err := Key(file, "example.com/log", false, rand.Reader); err == nil {
		t.Error("a missing key was made though it may not be")
	}
	for range 30 { // base64 with a plus among them
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		skey, vkey, err := Key(file, "example.com/log", true, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		again, vagain, err := Key(file, "example.com/log", true, rand.Reader)
		if err != nil || again != skey || vagain != vkey {
			t.Fatalf("read again: %v, another key: %t", err, again != skey)
		}
		signer, err := note.NewSigner(skey)
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		c := Checkpoint{Origin: "example.com/log", Tree: merkle.Tree{N: 7, Hash: merkle.Hash{1}}}
		text, err := Sign(c, signer)
		if err != nil {
			t.Fatal(err)
		}
		if got, n, err := Open(text, verifier); err != nil || got != c || !SignedBy(n, verifier) || !Exact(n) {
			t.Fatalf("opened %+v %v, want %+v", got, err, c)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key %v %v, want 0600", info.Mode(), err)
	}
	if _, _, err := Key(file, "example.com/other", true, rand.Reader); err == nil {
		t.Error("a key of another name was taken")
	}
}

func TestParse(t *testing.T) {
	const root = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
	for _, tt := range []struct {
		name, body string
		ok         bool
	}{
		{"whole", "o\n12\n" + root + "\n", true},
		{"empty tree", "o\n0\n" + root + "\n", true},
		{"leading zero", "o\n012\n" + root + "\n", false},
		{"plus", "o\n+12\n" + root + "\n", false},
		{"negative", "o\n-1\n" + root + "\n", false},
		{"too large", "o\n9223372036854775808\n" + root + "\n", false},
		{"short root", "o\n12\nAQID\n", false},
		{"loose base64", "o\n12\n" + strings.Replace(root, "yA=", "yB=", 1) + "\n", false},
		{"extension", "o\n12\n" + root + "\nmore\n", false},
		{"no origin", "\n12\n" + root + "\n", false},
		{"two lines", "o\n12\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(tt.body); (err == nil) != tt.ok {
				t.Errorf("error %v, want none: %t", err, tt.ok)
			}
		})
	}
}

func TestSaveReplaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	for _, text := range []string{"one", "two, longer", "3"} {
		if err := Save(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("read %q %v, want %q", got, err, text)
		}
	}
	if list, err := os.ReadDir(filepath.Dir(file)); err != nil || len(list) != 1 {
		t.Errorf("files left: %v %v", list, err)
	}
	if err := Save(filepath.Join(file, "below"), nil); err == nil {
		t.Error("saved below a file")
	}
}

func FuzzOpen(f *testing.F) {
	verifier, err := note.NewVerifier("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("o\n12\nAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n\n— PeterNeumann x08goxxx\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _, err := Open(text, verifier)
		if err == nil {
			t.Errorf("%q opens", text)
		}
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsigned) {
			t.Errorf("%q: %v", text, err)
		}
		_, _ = Parse(text)
	})
}
