package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/deploy/internal/api"
)

// What somebody did is in the tree that the log and its witness have signed,
// within two seconds, as the libraries of others see it.
func TestProofOfAnAct(t *testing.T) {
	root, p := signInSuperadmin(t), join(t)
	get := func(path string) api.Call { return api.Call{Method: "GET", URL: path, Token: root.token} }
	var eventID string
	eventually(t, patience, "the registration is in the log", func() (bool, string) {
		a := root.want(200, "", get("/audit/events?action=account.verified&resourceId="+p.id))
		if list := a.List("events"); len(list) == 1 {
			eventID, _ = list[0]["id"].(string)
		}
		return eventID != "", string(a.Raw)
	})
	began := time.Now()
	in, _ := root.until(patience, 200, "", get("/audit/events/"+eventID+"/proof"))
	t.Logf("provable after %v", time.Since(began))

	keys := root.want(200, "", get("/audit/checkpoint"))
	var verifiers []note.Verifier
	for _, name := range []string{"publicKey"} {
		v, err := note.NewVerifier(keys.Str(name))
		if err != nil {
			t.Fatalf("%s %q: %v", name, keys.Str(name), err)
		}
		verifiers = append(verifiers, v)
	}
	signed, err := note.Open([]byte(in.Str("checkpoint")), note.VerifierList(verifiers...))
	if err != nil {
		t.Fatalf("the checkpoint: %v\n%s", err, in.Str("checkpoint"))
	}
	lines := strings.Split(signed.Text, "\n")
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || lines[1] != in.Str("treeSize") {
		t.Fatalf("the size of the tree is %s, the checkpoint's %s", in.Str("treeSize"), lines[1])
	}
	rootHash := decoded(t, lines[2])
	index, err := strconv.ParseUint(in.Str("leafIndex"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	raw := root.want(200, "", get("/audit/events/"+eventID+"?view=RAW"))
	leaf := sha256.Sum256(append([]byte{0}, decoded(t, raw.Str("canonical"))...))
	if !bytes.Equal(leaf[:], decoded(t, in.Str("leafHash"))) {
		t.Error("the leaf is not the hash of the canonical bytes")
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], hashes(t, in), rootHash); err != nil {
		t.Errorf("inclusion: %v", err)
	}
	grown := root.want(200, "", get("/audit/consistency?from=1&to="+in.Str("treeSize")))
	if len(hashes(t, grown)) == 0 {
		t.Errorf("consistency = %s", grown.Raw)
	}
	root.want(400, "INVALID_ARGUMENT", get("/audit/consistency?from=5&to=2"))
	root.want(404, "NOT_FOUND", get("/audit/events/evt_nonsense/proof"))
	root.want(200, "", get("/audit/verification"))
}

func decoded(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

func hashes(t *testing.T, a api.Answer) [][]byte {
	t.Helper()
	list, _ := a.Dig("hashes").([]any)
	out := make([][]byte, 0, len(list))
	for _, h := range list {
		s, _ := h.(string)
		out = append(out, decoded(t, s))
	}
	return out
}

// An export as a stream and as a job holds what the list shows, and says so by
// its sum.
func TestExportOfTheLog(t *testing.T) {
	root, p := signInSuperadmin(t), join(t)
	get := func(path string) api.Call { return api.Call{Method: "GET", URL: path, Token: root.token} }
	eventually(t, patience, "the registration is in the log", func() (bool, string) {
		a := root.want(200, "", get("/audit/events?action=account.verified&resourceId="+p.id))
		return len(a.List("events")) == 1, string(a.Raw)
	})
	stream := root.want(200, "", get("/audit/export?format=ndjson&resourceId="+p.id))
	if n := strings.Count(string(stream.Raw), "\n"); n < 2 || !strings.Contains(string(stream.Raw), `"account.verified"`) {
		t.Errorf("%d lines streamed: %s", n, stream.Raw)
	}
	if csv := root.want(200, "", get("/audit/export?format=csv&resourceId="+p.id)); !strings.Contains(csv.Header.Get("Content-Type"), "csv") {
		t.Errorf("content type %s", csv.Header.Get("Content-Type"))
	}
	root.want(400, "INVALID_ARGUMENT", get("/audit/export?format=xls"))

	job := root.want(202, "", api.Call{Method: "POST", URL: "/audit/exports", Token: root.token, Body: body{"format": "NDJSON", "filters": body{"resourceId": p.id}}})
	at := "/audit/exports/" + job.Str("id")
	var done api.Answer
	eventually(t, patience, "the export is written", func() (bool, string) {
		done = root.want(200, "", get(at))
		return done.Str("sha256") != "", string(done.Raw)
	})
	file := root.want(200, "", get(at+"/file"))
	if sum := sha256.Sum256(file.Raw); hex.EncodeToString(sum[:]) != done.Str("sha256") {
		t.Errorf("the file's sum is not %s", done.Str("sha256"))
	}
	other := root.want(202, "", api.Call{Method: "POST", URL: "/audit/exports", Token: root.token, Body: body{"format": "CSV"}})
	a := root.do(api.Call{Method: "DELETE", URL: "/audit/exports/" + other.Str("id"), Token: root.token})
	if a.Status/100 != 2 && a.Status != 409 { // it may be written already
		t.Errorf("cancel answered %d %s", a.Status, a.Raw)
	}
}
