package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authzv1 "github.com/manas360/platform/proto/gen/manas/authz/v1"
)

// route is one method of one path, and what the edge does before it is served.
type route struct {
	method  string
	pattern string
	rpc     string // full gRPC method; empty when the edge answers itself
	rule    *authzv1.Rule
	body    protoreflect.MessageDescriptor // shape of the JSON body; nil when none is read
	field   string                         // request field the body fills, "" for the whole
	raw     bool                           // bytes are passed on untouched: webhooks
	probe   bool                           // asked by machines, every second
	streams bool                           // the answer comes in parts: stream.go
	serve   func(w http.ResponseWriter, r *http.Request, params map[string]string)
}

func (rt *route) public() bool { return rt.rule.GetPublic() }

// public is the rule of what the edge answers itself.
var publicRule = &authzv1.Rule{Access: &authzv1.Rule_Public{Public: true}}

// table finds routes by path. A literal segment wins over a variable, so
// /users/me is never read as the user called "me".
type table struct{ root *node }

type node struct {
	literal  map[string]*node
	variable *node
	name     string // of the variable that leads here
	methods  map[string]*route
}

var errPattern = errors.New("pattern is not of literals and {variables}")

func (t *table) add(rt *route) error {
	path, ok := strings.CutPrefix(rt.pattern, "/")
	if !ok || strings.ContainsAny(path, "*:=") {
		return fmt.Errorf("route %s %s: %w", rt.method, rt.pattern, errPattern)
	}
	if t.root == nil {
		t.root = &node{}
	}
	n := t.root
	for segment := range strings.SplitSeq(path, "/") {
		n = n.child(segment)
	}
	if n.methods == nil {
		n.methods = map[string]*route{}
	}
	if n.methods[rt.method] != nil {
		return fmt.Errorf("route %s %s: given twice", rt.method, rt.pattern)
	}
	n.methods[rt.method] = rt
	return nil
}

func (n *node) child(segment string) *node {
	if name, ok := strings.CutPrefix(segment, "{"); ok {
		if n.variable == nil {
			n.variable = &node{name: strings.TrimSuffix(name, "}")}
		}
		return n.variable
	}
	if n.literal == nil {
		n.literal = map[string]*node{}
	}
	if n.literal[segment] == nil {
		n.literal[segment] = &node{}
	}
	return n.literal[segment]
}

// found is what stands at a path: its methods, and the path's variables.
type found struct {
	methods map[string]*route
	params  map[string]string
}

// find looks up an escaped path. ok is false when nothing stands there.
func (t *table) find(escaped string) (found, bool) {
	path, ok := strings.CutPrefix(escaped, "/")
	if !ok || t.root == nil {
		return found{}, false
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || !printable(plain) {
			return found{}, false
		}
		segments[i] = plain
	}
	params := map[string]string{}
	n := t.root.walk(segments, params)
	if n == nil {
		return found{}, false
	}
	return found{methods: n.methods, params: params}, true
}

func (n *node) walk(segments []string, params map[string]string) *node {
	if len(segments) == 0 {
		if n.methods == nil {
			return nil
		}
		return n
	}
	if next := n.literal[segments[0]]; next != nil {
		if end := next.walk(segments[1:], params); end != nil {
			return end
		}
	}
	if n.variable == nil || segments[0] == "" {
		return nil
	}
	end := n.variable.walk(segments[1:], params)
	if end != nil {
		params[n.variable.name] = segments[0]
	}
	return end
}

// pick gives the route of a method; HEAD is served by GET.
func (f found) pick(method string) *route {
	if rt := f.methods[method]; rt != nil || method != http.MethodHead {
		return rt
	}
	return f.methods[http.MethodGet]
}

// any gives one route of the path, whose limits a wrong method is charged to.
func (f found) any() *route {
	for _, m := range f.allowed() {
		if rt := f.methods[m]; rt != nil {
			return rt
		}
	}
	return nil
}

// allowed lists the methods of the path for Allow.
func (f found) allowed() []string {
	var out []string
	for m := range f.methods {
		out = append(out, m)
	}
	if f.methods[http.MethodGet] != nil && f.methods[http.MethodHead] == nil {
		out = append(out, http.MethodHead)
	}
	slices.Sort(out)
	return out
}

// contractRoutes reads the routes of a service from its descriptor, in the
// order protoc-gen-grpc-gateway registers them. A method without a rule stops
// the start: it would be open or dead, and nobody decided which.
func contractRoutes(s protoreflect.ServiceDescriptor) ([]*route, error) {
	var out []*route
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		full := fmt.Sprintf("/%s/%s", s.FullName(), m.Name())
		rule, ok := proto.GetExtension(m.Options(), authzv1.E_Rule).(*authzv1.Rule)
		if !ok || rule.GetAccess() == nil {
			return nil, fmt.Errorf("%s: no rule (%s)", full, codes.PermissionDenied)
		}
		binding, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || binding.GetPattern() == nil {
			continue
		}
		for _, b := range append([]*annotations.HttpRule{binding}, binding.GetAdditionalBindings()...) {
			rt := &route{rpc: full, rule: rule, streams: m.IsStreamingServer()}
			rt.method, rt.pattern = methodAndPath(b)
			if err := rt.setBody(b.GetBody(), m.Input()); err != nil {
				return nil, err
			}
			out = append(out, rt)
		}
	}
	return out, nil
}

func methodAndPath(b *annotations.HttpRule) (method, path string) {
	switch b.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, b.GetGet()
	case *annotations.HttpRule_Put:
		return http.MethodPut, b.GetPut()
	case *annotations.HttpRule_Post:
		return http.MethodPost, b.GetPost()
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, b.GetDelete()
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, b.GetPatch()
	default:
		return "", ""
	}
}

func (rt *route) setBody(body string, input protoreflect.MessageDescriptor) error {
	switch body {
	case "":
	case "*":
		rt.body = input
	default:
		f := input.Fields().ByName(protoreflect.Name(body))
		if f == nil || f.Message() == nil || f.Cardinality() == protoreflect.Repeated {
			return fmt.Errorf("%s: body %q is not a message field", rt.rpc, body)
		}
		rt.body, rt.field = f.Message(), f.JSONName()
	}
	return nil
}
