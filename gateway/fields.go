package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/manas360/platform/pkg/fail"
)

// maxFieldErrors bounds the answer to a body that is wrong everywhere.
const maxFieldErrors = 50

// checkBody names every field of body that the message does not have or that
// has another type. protojson, later, would stop at the first and call some of
// them by name only.
func checkBody(body []byte, m protoreflect.MessageDescriptor) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fail.New(fail.MalformedBody, "the body is not valid JSON").Wrap(err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return fail.New(fail.MalformedBody, "the body must be a JSON object")
	}
	c := &fieldChecker{}
	c.message(object, m, "")
	if len(c.bad) == 0 {
		return nil
	}
	err := fail.New(fail.InvalidArgument, "the request has bad fields")
	slices.SortFunc(c.bad, func(a, b fail.Field) int { return strings.Compare(a.Field, b.Field) })
	err.Fields = c.bad
	return err
}

type fieldChecker struct{ bad []fail.Field }

func (c *fieldChecker) refuse(path, format string, args ...any) {
	if len(c.bad) < maxFieldErrors {
		c.bad = append(c.bad, fail.Field{Field: clip(path), Message: fmt.Sprintf(format, args...)})
	}
}

func (c *fieldChecker) message(object map[string]any, m protoreflect.MessageDescriptor, prefix string) {
	for name, v := range object {
		path := prefix + name
		f := m.Fields().ByJSONName(name)
		if f == nil {
			f = m.Fields().ByTextName(name)
		}
		switch {
		case f == nil:
			c.refuse(path, "is not a known field")
		case v == nil: // null is "not given"
		case f.IsMap():
			c.entries(v, f, path)
		case f.IsList():
			c.list(v, f, path)
		default:
			c.value(v, f, path)
		}
	}
}

func (c *fieldChecker) list(v any, f protoreflect.FieldDescriptor, path string) {
	items, ok := v.([]any)
	if !ok {
		c.refuse(path, "must be an array")
		return
	}
	for i, item := range items {
		c.value(item, f, path+"["+strconv.Itoa(i)+"]")
	}
}

func (c *fieldChecker) entries(v any, f protoreflect.FieldDescriptor, path string) {
	object, ok := v.(map[string]any)
	if !ok {
		c.refuse(path, "must be an object")
		return
	}
	for k, item := range object {
		if !printable(k) {
			c.refuse(path, "has a key with control characters")
			continue
		}
		c.value(item, f.MapValue(), path+"."+k)
	}
}

func (c *fieldChecker) value(v any, f protoreflect.FieldDescriptor, path string) {
	switch f.Kind() {
	case protoreflect.StringKind:
		if s, ok := v.(string); !ok {
			c.refuse(path, "must be a string")
		} else if strings.ContainsRune(s, 0) { // no database of ours stores it
			c.refuse(path, "must not contain a NUL character")
		}
	case protoreflect.BytesKind:
		if s, ok := v.(string); !ok || !isBase64(s) {
			c.refuse(path, "must be base64")
		}
	case protoreflect.BoolKind:
		if _, ok := v.(bool); !ok {
			c.refuse(path, "must be true or false")
		}
	case protoreflect.EnumKind:
		c.enum(v, f.Enum(), path)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		c.nested(v, f.Message(), path)
	default:
		if !isNumber(v) {
			c.refuse(path, "must be a number")
		}
	}
}

func (c *fieldChecker) enum(v any, e protoreflect.EnumDescriptor, path string) {
	s, ok := v.(string)
	if ok && e.Values().ByName(protoreflect.Name(s)) != nil {
		return
	}
	var names []string
	for i := range e.Values().Len() {
		if ev := e.Values().Get(i); ev.Number() != 0 {
			names = append(names, string(ev.Name()))
		}
	}
	c.refuse(path, "must be one of %s", strings.Join(names, ", "))
}

func (c *fieldChecker) nested(v any, m protoreflect.MessageDescriptor, path string) {
	if m.ParentFile().Package() == "google.protobuf" {
		c.wellKnown(v, m, path)
		return
	}
	object, ok := v.(map[string]any)
	if !ok {
		c.refuse(path, "must be an object")
		return
	}
	c.message(object, m, path+".")
}

func (c *fieldChecker) wellKnown(v any, m protoreflect.MessageDescriptor, path string) {
	switch m.Name() {
	case "Timestamp":
		s, ok := v.(string)
		if _, err := time.Parse(time.RFC3339Nano, s); !ok || err != nil {
			c.refuse(path, "must be a time as in RFC 3339")
		}
	case "Struct":
		if _, ok := v.(map[string]any); !ok {
			c.refuse(path, "must be an object")
		}
	default: // protojson knows their forms
	}
}

// isNumber accepts what protojson does: a number, or a string of one.
func isNumber(v any) bool {
	switch n := v.(type) {
	case json.Number:
		return true
	case string:
		_, err := strconv.ParseFloat(n, 64)
		return err == nil
	default:
		return false
	}
}

func isBase64(s string) bool {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	_, err := base64.RawStdEncoding.DecodeString(s)
	return err == nil
}

// checkQuery refuses what would travel badly: a query that is not encoded as
// one, and text no service can store.
func checkQuery(raw string) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fail.New(fail.InvalidArgument, "the query string is malformed").Wrap(err)
	}
	for k, vs := range values {
		for _, v := range vs {
			if !printable(k) || !printable(v) {
				return fail.New(fail.InvalidArgument, "the query string has bad values").
					Field(clip(strings.ToValidUTF8(k, "?")), "must be UTF-8 without control characters")
			}
		}
	}
	return nil
}

// printable reports whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// clip keeps a client's own words short where we repeat them.
func clip(s string) string {
	if len(s) <= 128 {
		return s
	}
	return strings.ToValidUTF8(s[:128], "")
}
