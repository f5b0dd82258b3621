package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/manas360/platform/gateway/docs"
	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/proto"
)

// docsPolicy lets the documentation page have its own style sheet, nothing more.
const docsPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// frontPage is what a person meets who opens the API in a browser, or comes
// back from paying without an application around it.
const frontPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Manas360</title><link rel="stylesheet" href="` + docs.StylePath + `"></head>
<body><main><h1>Manas360</h1>
<p>This is the programming interface of Manas360. If you have just paid, your application shows the result in a moment; you may close this page.</p>
<p><a href="/docs">Documentation</a></p></main></body>
</html>
`

// ownRoutes are what the edge answers itself.
func (e *Edge) ownRoutes() error {
	api, err := openAPI(proto.OpenAPI)
	if err != nil {
		return fmt.Errorf("complete the OpenAPI document: %w", err)
	}
	page, err := docs.Page(api)
	if err != nil {
		return fmt.Errorf("render docs: %w", err)
	}
	type serve = func(w http.ResponseWriter, r *http.Request, _ map[string]string)
	for _, own := range []struct {
		path  string
		probe bool
		serve serve
	}{
		{apiBase + "/health", false, func(w http.ResponseWriter, _ *http.Request, _ map[string]string) {
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "service": "gateway"})
		}},
		{"/livez", true, func(w http.ResponseWriter, _ *http.Request, _ map[string]string) {
			writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
		}},
		{"/readyz", true, e.readyz},
		{"/.well-known/jwks.json", false, e.jwks},
		{"/openapi.json", false, document("application/json", "", api)},
		{"/", false, document("text/html; charset=utf-8", docsPolicy, []byte(frontPage))},
		{"/docs", false, document("text/html; charset=utf-8", docsPolicy, page)},
		{docs.StylePath, false, document("text/css; charset=utf-8", "", docs.Style())},
	} {
		rt := &route{method: http.MethodGet, pattern: own.path, rule: publicRule, probe: own.probe, serve: own.serve}
		if err := e.routes.add(rt); err != nil {
			return err
		}
	}
	return nil
}

func document(media, policy string, content []byte) func(http.ResponseWriter, *http.Request, map[string]string) {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]string) {
		w.Header().Set("Content-Type", media)
		w.Header().Set("Cache-Control", "public, max-age=300")
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		_, _ = w.Write(content) // the client has hung up: nobody to tell
	}
}

func (e *Edge) readyz(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	if failing := e.ready(r.Context()); len(failing) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "unready", "failing": failing})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (e *Edge) jwks(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	set := e.keys.jwks()
	if set == nil {
		e.problem(w, r, fail.New(fail.Unavailable, "keys are not loaded yet"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(set) // as above
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // as above
}

// Checks are the edge's readiness by name: what it must have loaded, and what
// it cannot serve without.
func (e *Edge) Checks() map[string]func(ctx context.Context) error {
	out := map[string]func(ctx context.Context) error{
		"keys": func(context.Context) error {
			if !e.keys.loaded() {
				return errors.New("keys not loaded")
			}
			return nil
		},
		"roles": func(context.Context) error {
			if !e.roles.loaded.Load() {
				return errors.New("roles not loaded")
			}
			return nil
		},
		"epochs": func(context.Context) error {
			if !e.epochs.loaded.Load() {
				return errors.New("authz events not loaded")
			}
			return nil
		},
		"redis": func(ctx context.Context) error { return e.limiter.redis.Ping(ctx).Err() },
	}
	for name, conn := range e.conns {
		out[name] = func(ctx context.Context) error { return serving(ctx, conn) }
	}
	return out
}

func serving(ctx context.Context, conn grpc.ClientConnInterface) error {
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("check health: %w", err)
	}
	if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("health is %s", answer.GetStatus())
	}
	return nil
}
