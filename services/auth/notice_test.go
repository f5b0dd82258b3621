package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/outbox"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// asks delivers a notice as a service and gives its outcome.
func (b *bench) asks(from string, id uuid.UUID, m *authv1.NoticeRequested) (string, string) {
	b.t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	in := outbox.NewInbox(b.db, schema, b.now, func(context.Context) string { return from }, b.handlers())
	r, err := in.Deliver(b.t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{{
		Id: id[:], Type: "manas.auth.v1.NoticeRequested", Key: "k", Payload: payload, OccurredAt: timestamppb.New(b.now()),
	}}})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.GetResults()[0].GetOutcome().String(), r.GetResults()[0].GetReason()
}

func TestNotice(t *testing.T) {
	b := newBench(t)
	b.c.PublicURL, b.scribe.public = "https://manas360.example", "https://manas360.example"
	asha := b.mustSeed(SeedAccount{Email: "asha@example.com", Roles: []string{"user"}})
	b.exec(`UPDATE auth.account SET locale = 'kn'`)
	event := uuid.New()
	export := &authv1.NoticeRequested{
		UserId: asha[:], Email: "other@example.com", Template: "export_ready", Locale: "ta",
		Params: map[string]string{"name": "Somebody", "date": "2026-06-08", "link": "/exports/1"},
	}
	for i, want := range []string{"APPLIED", "DUPLICATE"} {
		if got, why := b.asks("user", event, export); got != want {
			t.Errorf("delivery %d: got %s, %s; want %s", i, got, why, want)
		}
	}
	invitation := &authv1.NoticeRequested{Email: "New@Example.com", Template: "invitation", Locale: "ta", Params: map[string]string{"detail": "Clinic", "code": "314159"}}
	if got, why := b.asks("user", uuid.New(), invitation); got != "APPLIED" {
		t.Errorf("invitation: %s, %s", got, why)
	}
	m := b.letters()
	if len(m) != 2 {
		t.Fatalf("%d letters, want 2", len(m))
	}
	if l := m[0]; l.To != "asha@example.com" || l.Locale != "kn" || !strings.Contains(l.Text, "Asha") || !strings.Contains(l.Text, "https://manas360.example/exports/1") {
		t.Errorf("export: got %+v", l)
	}
	if l := m[1]; l.To != "new@example.com" || l.Locale != "ta" || l.Code != "314159" || !strings.Contains(l.Text, "Clinic") {
		t.Errorf("invitation: got %+v", l)
	}
}

func TestNoticeRefused(t *testing.T) {
	b := newBench(t)
	asha := b.mustSeed(SeedAccount{Email: "asha@example.com", Roles: []string{"user"}})
	stranger := uuid.New()
	for name, tt := range map[string]struct {
		from string
		m    *authv1.NoticeRequested
	}{
		"unknown template": {"user", &authv1.NoticeRequested{UserId: asha[:], Template: "no_such"}},
		"a code of ours":   {"user", &authv1.NoticeRequested{UserId: asha[:], Template: "login_code", Params: map[string]string{"code": "1"}}},
		"another service":  {"audit", &authv1.NoticeRequested{UserId: asha[:], Template: "export_ready"}},
		"unknown account":  {"user", &authv1.NoticeRequested{UserId: stranger[:], Template: "export_ready"}},
		"nobody":           {"user", &authv1.NoticeRequested{Template: "export_ready"}},
		"malformed id":     {"user", &authv1.NoticeRequested{UserId: []byte("x"), Template: "export_ready"}},
		"malformed email":  {"user", &authv1.NoticeRequested{Email: "x", Template: "export_ready"}},
		"foreign link":     {"user", &authv1.NoticeRequested{UserId: asha[:], Template: "export_ready", Params: map[string]string{"link": "https://evil.example/"}}},
		"unknown param":    {"user", &authv1.NoticeRequested{UserId: asha[:], Template: "export_ready", Params: map[string]string{"html": "x"}}},
		"long param":       {"user", &authv1.NoticeRequested{UserId: asha[:], Template: "export_ready", Params: map[string]string{"detail": strings.Repeat("x", 501)}}},
	} {
		if got, why := b.asks(tt.from, uuid.New(), tt.m); got != "REJECTED" {
			t.Errorf("%s: got %s, %s; want REJECTED", name, got, why)
		}
	}
	if n := b.count(`SELECT (SELECT count(*) FROM auth.message) + (SELECT count(*) FROM auth.river_job)`); n != 0 {
		t.Errorf("%d rows of refused notices", n)
	}
}
