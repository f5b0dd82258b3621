package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/token"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

const exportRPC = auditv1.ExportService_ExportEvents_FullMethodName

func exporter(c *token.Claims) {
	admin(c)
	c.Permissions = append(c.Permissions, "audit.export")
}

func piece(data []byte) proto.Message {
	return &auditv1.ExportEventsResponse{Chunk: &httpbody.HttpBody{ContentType: "application/x-ndjson", Data: data}}
}

func (b *backend) export(parts func(ss grpc.ServerStream) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parts == nil {
		b.parts = map[string]func(grpc.ServerStream) error{}
	}
	b.parts[exportRPC] = parts
}

func (h *harness) open(ctx context.Context, method, path string, headers map[string]string) (*http.Response, error) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	return http.DefaultClient.Do(r)
}

// TestStreamArrives passes a long answer on byte by byte, with its type and a
// name, and with the caller and the filters on the way in.
func TestStreamArrives(t *testing.T) {
	h := newHarness(t)
	part := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
	h.b.export(func(ss grpc.ServerStream) error {
		for range 100 {
			if err := ss.SendMsg(piece(part)); err != nil {
				return err
			}
		}
		return nil
	})
	r, err := h.open(t.Context(), http.MethodGet, "/api/v1/audit/export?format=ndjson&actorId=usr_a&startTime=2026-01-01T00:00:00Z", map[string]string{"Authorization": "Bearer " + h.token(exporter)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !bytes.Equal(body, bytes.Repeat(part, 100)) {
		t.Errorf("status %d, %d bytes, %v", r.StatusCode, len(body), err)
	}
	if got := r.Header.Get("Content-Type") + " " + r.Header.Get("Content-Disposition") + " " + r.Header.Get("Cache-Control"); got != `application/x-ndjson attachment; filename="audit-export.ndjson" no-store` {
		t.Errorf("headers %q", got)
	}
	call, ok := h.b.last(exportRPC)
	req, _ := call.req.(*auditv1.ExportEventsRequest)
	if !ok || req.GetActorId() != "usr_a" || req.GetStartTime() == nil || call.caller == nil || call.caller.UserID != h.user {
		t.Errorf("the service got %v of %v", call.req, call.caller)
	}
}

// TestStreamFailsAloud makes the two ends of a failure: before the first byte a
// problem, after it a broken connection, never a file that looks whole.
func TestStreamFailsAloud(t *testing.T) {
	h := newHarness(t)
	auth := map[string]string{"Authorization": "Bearer " + h.token(exporter)}
	h.b.export(func(grpc.ServerStream) error { return fail.ToStatus(fail.New(fail.Unavailable, "away")).Err() })
	if r := h.do(http.MethodGet, "/api/v1/audit/export", "", bearer(h.token(exporter))); r.status != http.StatusServiceUnavailable || r.code() != "UNAVAILABLE" || r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("before the first byte: %d %s %v", r.status, r.body, r.header)
	}
	h.b.export(func(ss grpc.ServerStream) error {
		return errors.Join(ss.SendMsg(piece([]byte("{}\n"))), fail.ToStatus(fail.New(fail.Unavailable, "away")).Err())
	})
	r, err := h.open(t.Context(), http.MethodGet, "/api/v1/audit/export", auth)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err == nil || strings.Contains(string(body), "error") {
		t.Errorf("in the middle: %q, %v; want the connection broken", body, err)
	}
}

// TestStreamEndsWithItsClient stops the service's work when nobody listens.
func TestStreamEndsWithItsClient(t *testing.T) {
	h := newHarness(t)
	ended := make(chan error, 1)
	h.b.export(func(ss grpc.ServerStream) error {
		for {
			if err := ss.SendMsg(piece(make([]byte, 32<<10))); err != nil {
				ended <- err
				return err
			}
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	r, err := h.open(ctx, http.MethodGet, "/api/v1/audit/export", map[string]string{"Authorization": "Bearer " + h.token(exporter)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r.Body, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	leave()
	_ = r.Body.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("ended without an error")
		}
	case <-time.After(20 * time.Second):
		t.Error("the service still sends")
	}
}

// TestHeadStreams asks for the headers alone.
func TestHeadStreams(t *testing.T) {
	h := newHarness(t)
	var sent atomic.Int64
	h.b.export(func(ss grpc.ServerStream) error {
		for range 100_000 {
			if err := ss.SendMsg(piece(make([]byte, 32<<10))); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	r, err := h.open(t.Context(), http.MethodHead, "/api/v1/audit/export", map[string]string{"Authorization": "Bearer " + h.token(exporter)})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusOK || sent.Load() > 1000 {
		t.Errorf("status %d after %d parts", r.StatusCode, sent.Load())
	}
}

// TestStreamNeedsItsRule refuses whoever may not export, before the service hears of it.
func TestStreamNeedsItsRule(t *testing.T) {
	h := newHarness(t)
	for name, want := range map[string]struct {
		token  string
		status int
	}{
		"nobody":    {"", http.StatusUnauthorized},
		"a reader":  {h.token(admin), http.StatusForbidden},
		"no factor": {h.token(exporter, func(c *token.Claims) { c.AMR = []string{"pwd"} }), http.StatusForbidden},
	} {
		var headers []string
		if want.token != "" {
			headers = append(headers, bearer(want.token))
		}
		for _, path := range []string{"/api/v1/audit/export", "/api/v1/audit/exports", "/api/v1/audit/exports/exp_x/file"} {
			if r := h.do(http.MethodGet, path, "", headers...); r.status != want.status {
				t.Errorf("%s, %s: %d %s", name, path, r.status, r.body)
			}
		}
	}
	if _, ok := h.b.last(exportRPC); ok {
		t.Error("the service was asked")
	}
	if r := h.do(http.MethodGet, "/api/v1/audit/export?format=xls", "", bearer(h.token(exporter))); r.status != http.StatusBadRequest {
		t.Errorf("an unknown format: %d %s", r.status, r.body)
	}
}
