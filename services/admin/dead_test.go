package admin

import (
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// An operator finds what was refused for good, here and at another service, has
// one delivered again and gives another up; both are recorded with the reason.
func TestDeadLetters(t *testing.T) {
	s, _ := open(t)
	dead := &deadServer{server: s}
	s.peers.conns["payment"] = serve(t, "payment", func(g *grpc.Server) { s.outbox.RegisterDeadLetters(g, s.db) }) // another's, kept in the same schema
	var names []string
	for range 3 {
		u := uuid.Must(uuid.NewV7())
		names = append(names, id.Format("evt", u))
		_, err := s.db.Pool.Exec(t.Context(), `
INSERT INTO admin.outbox_dead (seq, event_id, destination, type, key, payload, occurred_at, next_attempt_at, dead_at, attempts, reason)
SELECT 1, $1, 'audit', 'manas.audit.v1.Event', 'usr_1', '\x00', now(), now() + '1 s', now(), 8, 'refused'`, u)
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := operatorCtx(t)
	for _, service := range []string{"admin", "payment"} {
		first, err := dead.ListDeadLetters(ctx, &adminv1.ListDeadLettersRequest{Service: service, PageSize: 2})
		if err != nil || len(first.GetDeadLetters()) != 2 || first.GetTotalSize() != 3 || first.GetDeadLetters()[0].GetReason() != "refused" {
			t.Fatalf("%s: %v, %v", service, first, err)
		}
		rest, err := dead.ListDeadLetters(ctx, &adminv1.ListDeadLettersRequest{Service: service, PageSize: 2, PageToken: first.GetNextPageToken()})
		if err != nil || len(rest.GetDeadLetters()) != 1 || rest.GetNextPageToken() != "" {
			t.Errorf("%s, second page: %v, %v", service, rest, err)
		}
	}
	const why = "the consumer is mended since"
	for i, service := range []string{"admin", "payment"} {
		r := &adminv1.RequeueDeadLetterRequest{Service: service, Destination: "audit", Id: names[i], Reason: why}
		if _, err := dead.RequeueDeadLetter(ctx, r); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		if _, err := dead.RequeueDeadLetter(ctx, r); !fail.Is(err, fail.NotFound) {
			t.Errorf("%s, twice: %v", service, err)
		}
	}
	if _, err := dead.DiscardDeadLetter(ctx, &adminv1.DiscardDeadLetterRequest{Service: "payment", Destination: "audit", Id: names[2], Reason: why}); err != nil {
		t.Error(err)
	}
	for _, service := range []string{"audit", "nobody"} {
		if _, err := dead.ListDeadLetters(ctx, &adminv1.ListDeadLettersRequest{Service: service}); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%s: %v", service, err)
		}
	}
	if _, err := dead.ListDeadLetters(t.Context(), &adminv1.ListDeadLettersRequest{Service: "admin"}); err == nil {
		t.Error("nobody sees them")
	}
	count := func(sql string) (n int) {
		t.Helper()
		if err := s.db.Pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(`SELECT count(*) FROM admin.outbox_dead`); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	if n := count(`SELECT count(*) FROM admin.outbox WHERE payload = '\x00'`); n != 2 {
		t.Errorf("%d are on their way again, want 2", n)
	}
	acts := map[string]int{}
	if _, err := s.db.Pool.Exec(t.Context(), `DELETE FROM admin.outbox WHERE payload = '\x00'`); err != nil {
		t.Fatal(err)
	}
	for _, ev := range recorded(t, s) {
		acts[ev.GetAction()]++
		if ev.GetAction() != "admin.dead_letters_listed" && (ev.GetReason() != why || ev.GetActor().GetType() != "admin") {
			t.Errorf("recorded %v", ev)
		}
	}
	if acts["dead_letter.requeued"] != 2 || acts["dead_letter.discarded"] != 1 || acts["admin.dead_letters_listed"] != 4 {
		t.Errorf("recorded %v", acts)
	}
}
