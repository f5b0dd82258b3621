package docs

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/manas360/platform/pkg/fail"
)

// What the template prints, in order.
type (
	view struct {
		Style  string
		Groups []group
		Errors []errorView
		Types  []typeView
	}
	group struct {
		Name, Description string
		Operations        []opView
	}
	opView struct {
		ID, Method, Path string
		Short            string // the path without what all share
		Summary, Rest    string
		Access           []string
		Params           []fieldView
		Request          *bodyView
		Responses        []responseView
		Codes            []codeView
	}
	responseView struct {
		Status string
		Body   *bodyView
	}
	bodyView struct {
		Type   typeRef
		Fields []fieldView
	}
	fieldView struct {
		Name, In    string
		Required    bool
		Type        typeRef
		Description string
		Enum        []string
	}
	typeRef struct {
		Name string
		// ID is the anchor of a type on the page; empty for a plain one.
		ID string
		// Many is "list of " or "map of " before the name.
		Many string
	}
	typeView struct {
		ID, Name, Description string
		Fields                []fieldView
		Enum                  []string
	}
	codeView struct {
		Status int
		Code   string
	}
)

const refPrefix = "#/definitions/"

var (
	methods = []string{"get", "post", "put", "patch", "delete"}
	// A comment names its error codes in the sentence that says "Fails with".
	failsWith = regexp.MustCompile(`Fails with ([^.]*)`)
	codeWord  = regexp.MustCompile(`\b[A-Z][A-Z_]{3,}\b`)
)

// builder collects the types that what it prints refers to.
type builder struct {
	doc  *document
	used map[string]bool
}

func newView(doc *document, rules map[string]rule) (*view, error) {
	b := &builder{doc: doc, used: map[string]bool{}}
	byTag := map[string][]opView{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range methods {
			op, ok := doc.Paths[path][method]
			if !ok {
				continue
			}
			if len(op.Tags) == 0 {
				return nil, fmt.Errorf("%s %s: no tag", method, path)
			}
			byTag[op.Tags[0]] = append(byTag[op.Tags[0]], b.operation(method, path, op, rules[baseID(op.ID)]))
		}
	}
	v := &view{Style: StylePath, Errors: errorsOf(fail.Kinds())}
	for _, t := range doc.Tags {
		if ops := byTag[t.Name]; len(ops) > 0 {
			v.Groups = append(v.Groups, group{
				Name:        strings.TrimSuffix(t.Name, "Service"),
				Description: flat(t.Description),
				Operations:  ops,
			})
			delete(byTag, t.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byTag)) {
		v.Groups = append(v.Groups, group{Name: strings.TrimSuffix(name, "Service"), Operations: byTag[name]})
	}
	v.Types = b.types()
	return v, nil
}

func (b *builder) operation(method, path string, op operation, r rule) opView {
	text := flat(op.Summary + " " + op.Description)
	summary, rest := split(text)
	o := opView{
		ID: op.ID, Method: strings.ToUpper(method), Path: path, Short: strings.TrimPrefix(path, "/api/v1"),
		Summary: summary, Rest: rest, Access: r.access, Codes: codes(text),
	}
	for _, p := range op.Parameters {
		if p.In == "body" {
			o.Request = b.body(p.Body)
			continue
		}
		o.Params = append(o.Params, fieldView{
			Name: p.Name, In: p.In, Required: p.Required, Type: b.ref(p.schema),
			Description: flat(p.Description), Enum: enum(p.schema),
		})
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if status == "default" { // a gRPC Status, which REST never answers
			continue
		}
		shown := status
		if status == "200" && r.status != "" {
			shown = r.status
		}
		rv := responseView{Status: shown}
		if shown != "204" {
			rv.Body = b.body(op.Responses[status].Schema)
		}
		o.Responses = append(o.Responses, rv)
	}
	return o
}

// body shows the first level of a schema; deeper ones are links.
func (b *builder) body(s *schema) *bodyView {
	if s == nil {
		return nil
	}
	shape := *s
	if name, ok := strings.CutPrefix(s.Ref, refPrefix); ok {
		shape = b.doc.Definitions[name]
		if s.Description != "" {
			shape.Description = s.Description
		}
	}
	v := &bodyView{Fields: b.fields(shape)}
	if len(shape.Properties) == 0 && s.Type != "object" {
		v.Type = b.ref(*s)
	}
	return v
}

func (b *builder) fields(s schema) []fieldView {
	out := make([]fieldView, 0, len(s.Properties))
	for _, p := range s.Properties {
		out = append(out, fieldView{
			Name: p.Name, Required: slices.Contains(s.Required, p.Name), Type: b.ref(p.Schema),
			Description: flat(cmp.Or(p.Schema.Description, p.Schema.Title)), Enum: enum(p.Schema),
		})
	}
	return out
}

func (b *builder) ref(s schema) typeRef {
	if name, ok := strings.CutPrefix(s.Ref, refPrefix); ok {
		if _, known := b.doc.Definitions[name]; known {
			b.used[name] = true
			return typeRef{Name: typeName(name), ID: "type-" + name}
		}
		return typeRef{Name: typeName(name)}
	}
	switch {
	case s.Type == "array" && s.Items != nil:
		t := b.ref(*s.Items)
		t.Many = "list of " + t.Many
		return t
	case s.Additional != nil:
		t := b.ref(schema(*s.Additional))
		t.Many = "map of " + t.Many
		return t
	case s.Format != "":
		return typeRef{Name: s.Type + " (" + s.Format + ")"}
	}
	return typeRef{Name: cmp.Or(s.Type, "any")}
}

// types lists what is linked to, and what that links to in turn.
func (b *builder) types() []typeView {
	var out []typeView
	done := map[string]bool{}
	for len(done) < len(b.used) {
		for _, name := range slices.Sorted(maps.Keys(b.used)) {
			if done[name] {
				continue
			}
			done[name] = true
			s := b.doc.Definitions[name]
			out = append(out, typeView{
				ID: "type-" + name, Name: typeName(name), Description: flat(cmp.Or(s.Description, s.Title)),
				Fields: b.fields(s), Enum: enum(s),
			})
		}
	}
	slices.SortFunc(out, func(x, y typeView) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID)) })
	return out
}

func codes(text string) []codeView {
	var out []codeView
	for _, sentence := range failsWith.FindAllStringSubmatch(text, -1) {
		for _, word := range codeWord.FindAllString(sentence[1], -1) {
			if k, ok := fail.ByReason(word); ok {
				out = append(out, codeView{Status: k.HTTP, Code: word})
			}
		}
	}
	return out
}

// enum lists the values a client may meet: never the zero one, which JSON omits.
func enum(s schema) []string {
	var out []string
	for _, e := range s.Enum {
		if !strings.HasSuffix(e, "UNSPECIFIED") {
			out = append(out, e)
		}
	}
	return out
}

// typeName drops the package's version that the generator puts before a name.
func typeName(definition string) string {
	if rest, ok := strings.CutPrefix(definition, "v1"); ok && rest != "" {
		return rest
	}
	return definition
}

// baseID drops the number an additional binding adds: Service_Method2.
func baseID(operationID string) string {
	return strings.TrimRight(operationID, "0123456789")
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// split takes the first sentence off.
func split(text string) (first, rest string) {
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1], text[i+2:]
	}
	return text, ""
}
