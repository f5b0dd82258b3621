package witness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

const origin = "example.com/log"

// stage is a witness and a log that it knows.
type stage struct {
	url, dir string
	signer   note.Signer // of the log
	verifier note.Verifier
	witness  note.Verifier
	tree     *testonly.Tree
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir(), tree: testonly.New(rfc6962.DefaultHasher)}
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	if s.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if s.verifier, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	wkey, wvkey, err := note.GenerateKey(rand.Reader, "example.com/witness")
	if err != nil {
		t.Fatal(err)
	}
	if s.witness, err = fnote.NewVerifierForCosignatureV1(wvkey); err != nil {
		t.Fatal(err)
	}
	s.start(t, wkey)
	for i := range 100 {
		s.tree.AppendData(fmt.Appendf(nil, "entry %d", i))
	}
	return s
}

func (s *stage) start(t *testing.T, wkey string) {
	t.Helper()
	signer, err := fnote.NewSignerForCosignatureV1(wkey)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(New(signer, s.dir, func(o string) (note.Verifier, error) {
		if o != origin {
			return nil, nil
		}
		return s.verifier, nil
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/add-checkpoint"
}

func (s *stage) checkpoint(t *testing.T, o string, size uint64, root []byte) string {
	t.Helper()
	text, err := notary.Sign(notary.Checkpoint{Origin: o, Tree: merkle.Tree{N: int64(size), Hash: merkle.Hash(root)}}, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s *stage) body(t *testing.T, old, size uint64) string {
	t.Helper()
	return s.request(t, s.tree, old, size)
}

// request is what a log whose tree is that would send.
func (s *stage) request(t *testing.T, tree *testonly.Tree, old, size uint64) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "old %d\n", old)
	if old > 0 {
		p, err := tree.ConsistencyProof(old, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range p {
			text.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
		}
	}
	return text.String() + "\n" + s.checkpoint(t, origin, size, tree.HashAt(size))
}

func (s *stage) post(t *testing.T, body string) (status int, kind, answer string) {
	t.Helper()
	res, err := http.Post(s.url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), string(b)
}

// TestAddCheckpoint goes through the answers of C2SP tlog-witness.
func TestAddCheckpoint(t *testing.T) {
	s := newStage(t)
	other := testonly.New(rfc6962.DefaultHasher)
	for i := range 100 {
		other.AppendData(fmt.Appendf(nil, "other %d", i))
	}
	unsigned := strings.Replace(s.body(t, 0, 10), "— "+origin, "— example.com/other", 1)
	for _, tt := range []struct {
		name, body string
		status     int
		size       string // told with 409
	}{
		{"no empty line", "old 0\n", 400, ""},
		{"no size", "\n" + s.checkpoint(t, origin, 10, s.tree.HashAt(10)), 400, ""},
		{"leading zero", strings.Replace(s.body(t, 0, 10), "old 0", "old 00", 1), 400, ""},
		{"negative", strings.Replace(s.body(t, 0, 10), "old 0", "old -1", 1), 400, ""},
		{"a short hash", "old 1\nAAAA\n\n" + s.checkpoint(t, origin, 10, s.tree.HashAt(10)), 400, ""},
		{"64 hashes", "old 1\n" + strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 64) + "\n" + s.checkpoint(t, origin, 10, s.tree.HashAt(10)), 400, ""},
		{"too long", "old 0\n\n" + strings.Repeat("x", maxBody), 400, ""},
		{"unknown log", "old 0\n\n" + s.checkpoint(t, "example.com/other", 10, s.tree.HashAt(10)), 404, ""},
		{"unsigned", unsigned, 403, ""},
		{"changed", strings.Replace(s.body(t, 0, 10), "\n10\n", "\n11\n", 1), 403, ""},
		{"old beyond size", "old 11\n\n" + s.checkpoint(t, origin, 10, s.tree.HashAt(10)), 400, ""},
		{"old not known", s.body(t, 5, 10), 409, "0"},
		{"a proof where none belongs", "old 0\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n\n" + s.checkpoint(t, origin, 10, s.tree.HashAt(10)), 422, ""},
		{"the first", s.body(t, 0, 10), 200, ""},
		{"the first again", s.body(t, 0, 10), 409, "10"},
		{"the same size", s.body(t, 10, 10), 200, ""},
		{"the same size, another root", "old 10\n\n" + s.checkpoint(t, origin, 10, other.HashAt(10)), 409, "10"},
		{"growth", s.body(t, 10, 60), 200, ""},
		{"back", s.body(t, 10, 20), 409, "60"},
		{"a fork", s.request(t, other, 60, 100), 422, ""},
		{"without its proof", "old 60\n\n" + s.checkpoint(t, origin, 100, s.tree.HashAt(100)), 422, ""},
		{"growth after all that", s.body(t, 60, 100), 200, ""},
	} {
		status, kind, answer := s.post(t, tt.body)
		if status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, status, answer, tt.status)
		}
		switch status {
		case 409:
			if kind != "text/x.tlog.size" || answer != tt.size+"\n" {
				t.Errorf("%s: %s %q, want size %s", tt.name, kind, answer, tt.size)
			}
		case 200:
			_, text, _ := strings.Cut(tt.body, "\n\n")
			_, n, err := notary.Open(text+answer, s.verifier, s.witness)
			if err != nil || !notary.SignedBy(n, s.witness) || strings.Count(answer, "\n") != 1 {
				t.Errorf("%s: %q: %v", tt.name, answer, err)
			}
		}
	}
	if res, err := http.Get(s.url); err != nil || res.StatusCode != http.StatusMethodNotAllowed || res.Body.Close() != nil {
		t.Errorf("GET: %v %v", res, err)
	}
}

// TestStateIsKept starts the witness anew: it knows what it signed. One whose
// state cannot be read signs nothing.
func TestStateIsKept(t *testing.T) {
	s := newStage(t)
	if status, _, _ := s.post(t, s.body(t, 0, 50)); status != 200 {
		t.Fatalf("status %d", status)
	}
	wkey, _, err := note.GenerateKey(rand.Reader, "example.com/witness")
	if err != nil {
		t.Fatal(err)
	}
	s.start(t, wkey)
	if status, _, answer := s.post(t, s.body(t, 0, 60)); status != 409 || answer != "50\n" {
		t.Errorf("after a restart: %d %q, want 409 and 50", status, answer)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "*.note"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := s.post(t, s.body(t, 0, 60)); status != 500 {
		t.Errorf("with a damaged state: %d, want 500", status)
	}
}

// TestOneAtATime sends checkpoints at once; never are two signed that start
// from the same size.
func TestOneAtATime(t *testing.T) {
	s := newStage(t)
	bodies := []string{s.body(t, 0, 10), s.body(t, 0, 20), s.body(t, 0, 30), s.body(t, 0, 40)}
	got := make([]int, len(bodies))
	var wg sync.WaitGroup
	for i, b := range bodies {
		wg.Go(func() { got[i], _, _ = s.post(t, b) })
	}
	wg.Wait()
	counts := map[int]int{}
	for _, status := range got {
		counts[status]++
	}
	if diff := cmp.Diff(map[int]int{200: 1, 409: 3}, counts); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("old 0\n\nexample.com/log\n1\nAAAA\n\n— x AAAA\n"))
	f.Add([]byte("old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\nx\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err == nil && (r.old < 0 || r.origin == "" || len(r.proof) > maxHashes) {
			t.Errorf("%q: %+v", b, r)
		}
	})
}
