package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// respond is grpc-gateway's hook before it writes an answer: status, ETag,
// replay mark, cookies.
func (e *Edge) respond(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	q := requestOf(ctx)
	rt := q.route
	if rt == nil {
		return nil
	}
	if rt.streams {
		nameFile(w, m)
		return nil
	}
	answer := any(m)
	if wrapped, ok := m.(interface{ XXX_ResponseBody() any }); ok {
		answer = wrapped.XXX_ResponseBody()
	}
	if file, ok := answer.(*httpbody.HttpBody); ok { // no JSON
		w.Header().Set("Content-Type", file.GetContentType())
	}
	q.cookieMode = q.cookieMode || goesOn(m)
	e.handDevice(w, answer, q.cookieMode)
	if done, err := e.oidcAnswer(w, q, m, answer); done {
		return err
	}
	if q.cookieMode {
		if err := e.hideTokens(w, answer); err != nil {
			return err
		}
	}
	if q.hadCookies && endsSession(rt.rpc) {
		e.clearCookies(w)
	}
	md, _ := runtime.ServerMetadataFromContext(ctx)
	if v := md.HeaderMD.Get("x-idempotency-replayed"); len(v) > 0 && v[0] == "true" {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	tag := ""
	if v := md.HeaderMD.Get("etag"); len(v) > 0 {
		tag = v[0]
	}
	if tag = entityTag(tag, rt, answer); tag != "" {
		w.Header().Set("ETag", tag)
	}
	if rt.public() && rt.method == http.MethodGet {
		w.Header().Set("Cache-Control", "public, no-cache") // kept, but asked about each time
	}
	switch {
	case tag != "" && rt.method == http.MethodGet && matches(q.ifNoneMatch, tag):
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
	case rt.rule.GetSuccessStatus() == http.StatusNoContent:
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNoContent)
	case slices.Contains(md.HeaderMD.Get("x-accepted"), "true"): // it waits for something before it happens
		w.WriteHeader(http.StatusAccepted)
	case rt.rule.GetSuccessStatus() != 0:
		w.WriteHeader(int(rt.rule.GetSuccessStatus()))
	}
	return nil
}

func endsSession(rpc string) bool {
	return rpc == authv1.AuthService_Logout_FullMethodName || rpc == authv1.AuthService_LogoutAll_FullMethodName
}

// entityTag is the service's own tag, else the resource's etag field, else for
// public documents a hash of the answer.
func entityTag(given string, rt *route, answer any) string {
	m, ok := answer.(proto.Message)
	if given == "" && ok {
		ref := m.ProtoReflect()
		if f := ref.Descriptor().Fields().ByName("etag"); ref.IsValid() && f != nil && f.Kind() == protoreflect.StringKind {
			given = ref.Get(f).String()
		}
	}
	if given == "" && ok && rt.public() && rt.method == http.MethodGet {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return ""
		}
		sum := sha256.Sum256(b)
		given = base64.RawURLEncoding.EncodeToString(sum[:12])
	}
	if given == "" || strings.HasSuffix(given, `"`) {
		return given
	}
	return `"` + given + `"`
}

// matches compares weakly, as RFC 9110 13.1.2 asks.
func matches(ifNoneMatch, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for candidate := range strings.SplitSeq(ifNoneMatch, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}
