package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

func operator(t *testing.T) context.Context {
	t.Helper()
	return token.NewContext(t.Context(), &token.Caller{UserID: uuid.New(), SessionID: uuid.New(), RequestID: "req-9"})
}

// audit_admin_ops.md A-24, D-2: what was refused for good is listed, requeued
// and discarded without SQL, and each act is recorded with it.
func TestDeadLetters(t *testing.T) {
	db, o := open(t)
	refusing := true
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
		if refusing {
			return fail.New(fail.InvalidArgument, "not of this release")
		}
		return apply(ctx, tx, ev)
	}})}, 1)
	for v := range 25 {
		write(t, db, o, event(fmt.Sprintf("k%d", v%5), int64(v)))
	}
	until(t, db, 25, `SELECT count(*) FROM s.outbox_dead`)
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	l, ctx := o.DeadLetters(db), operator(t)
	var all []*eventv1.DeadLetter
	for tok := ""; ; {
		r, err := l.ListDeadLetters(ctx, &eventv1.ListDeadLettersRequest{PageSize: 7, PageToken: tok})
		if err != nil || r.GetTotalSize() != 25 {
			t.Fatalf("list: %d in all, %v", r.GetTotalSize(), err)
		}
		all = append(all, r.GetDeadLetters()...)
		if tok = r.GetNextPageToken(); tok == "" {
			break
		}
	}
	if len(all) != 25 || !slices.IsSortedFunc(all, func(a, b *eventv1.DeadLetter) int { return strings.Compare(b.GetId(), a.GetId()) }) {
		t.Fatalf("%d letters, want 25, newest first", len(all))
	}
	if a := all[0]; a.GetType() != valueType || a.GetTries() != 1 || !strings.Contains(a.GetReason(), "not of this release") || a.GetDestination() != "there" {
		t.Errorf("a letter is %v", a)
	}
	refusing = false
	if _, err := l.RequeueDeadLetter(ctx, &eventv1.RequeueDeadLetterRequest{Id: all[0].GetId(), Destination: "there", Reason: "the release is out"}); err != nil {
		t.Fatal(err)
	}
	until(t, db, 1, `SELECT count(*) FROM s.applied`)
	if _, err := l.DiscardDeadLetter(ctx, &eventv1.DiscardDeadLetterRequest{Id: all[1].GetId(), Destination: "there", Reason: "mended by hand"}); err != nil {
		t.Fatal(err)
	}
	until(t, db, 23, `SELECT count(*) FROM s.outbox_dead`)
	for _, want := range []struct{ action, id, reason string }{
		{trail.DeadLetterRequeued.String(), all[0].GetId(), "the release is out"}, {trail.DeadLetterDiscarded.String(), all[1].GetId(), "mended by hand"},
	} {
		var payload []byte
		if err := db.Pool.QueryRow(t.Context(), `SELECT payload FROM s.outbox WHERE destination = 'audit' AND key = $1 AND request_id = 'req-9'`, want.id).Scan(&payload); err != nil {
			t.Fatalf("%s: %v", want.action, err)
		}
		ev := &auditv1.Event{}
		if err := proto.Unmarshal(payload, ev); err != nil {
			t.Fatal(err)
		}
		if ev.GetAction() != want.action || ev.GetReason() != want.reason || ev.GetActor().GetType() != "admin" || ev.GetTargets()[0].GetId() != want.id {
			t.Errorf("recorded %v, want %+v", ev, want)
		}
	}
}

// TestDeadLetterRefusals: nothing is recorded of what was not done.
func TestDeadLetterRefusals(t *testing.T) {
	db, o := open(t)
	l := o.DeadLetters(db)
	requeue := func(ctx context.Context, id, destination string) error {
		_, err := l.RequeueDeadLetter(ctx, &eventv1.RequeueDeadLetterRequest{Id: id, Destination: destination, Reason: "a good reason"})
		return err
	}
	relays(t, db, o, direct{inbox: inbox(db, outbox.Handler{Apply: func(context.Context, pg.Tx, *eventv1.Event) error {
		return fail.New(fail.InvalidArgument, "never")
	}})}, 1)
	write(t, db, o, event("k", 0))
	until(t, db, 1, `SELECT count(*) FROM s.outbox_dead`)
	r, err := l.ListDeadLetters(t.Context(), &eventv1.ListDeadLettersRequest{Destination: "there"})
	if err != nil || len(r.GetDeadLetters()) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	name := r.GetDeadLetters()[0].GetId()
	if err := requeue(t.Context(), name, "there"); !fail.Is(err, fail.Unauthenticated) {
		t.Errorf("nobody: %v, want UNAUTHENTICATED", err)
	}
	for _, bad := range [][2]string{{name, "elsewhere"}, {"evt_nonsense", "there"}, {"evt_00000000000000000000000000", "there"}} {
		if err := requeue(operator(t), bad[0], bad[1]); !fail.Is(err, fail.NotFound) {
			t.Errorf("%v: %v, want NOT_FOUND", bad, err)
		}
	}
	for _, tok := range []string{"x", "evt_nonsense:there", name, name + ":a\x00"} {
		if _, err := l.ListDeadLetters(t.Context(), &eventv1.ListDeadLettersRequest{PageToken: tok}); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("token %q: %v, want INVALID_ARGUMENT", tok, err)
		}
	}
	until(t, db, 0, `SELECT count(*) FROM s.outbox`)
	errs := make(chan error, 2)
	for range 2 { // two operators at once: one does it
		go func() { errs <- requeue(operator(t), name, "there") }()
	}
	if err := errors.Join(<-errs, <-errs); !fail.Is(err, fail.NotFound) {
		t.Errorf("both: %v, want NOT_FOUND of one", err)
	}
	until(t, db, 1, `SELECT count(*) FROM s.outbox WHERE destination = 'audit'`)
}
