package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/manas360/platform/pkg/fail"
)

const leastReason = 10 // characters that say why, where the rule asks for it

type validation struct{ validator protovalidate.Validator }

func (v validation) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	m, ok := req.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("validate %s: request is a %T", info.FullMethod, req)
	}
	if err := v.check(m, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (v validation) check(m proto.Message, method string) error {
	bad := fail.New(fail.InvalidArgument, "the request is invalid")
	if err := v.validator.Validate(m); err != nil {
		broken, ok := errors.AsType[*protovalidate.ValidationError](err)
		if !ok {
			return fmt.Errorf("validate %s: %w", method, err)
		}
		for _, violation := range broken.Violations {
			bad = bad.Field(jsonPath(violation.Proto.GetField()), violation.Proto.GetMessage())
		}
	}
	// Its own bounds may have named it already.
	named := slices.ContainsFunc(bad.Fields, func(f fail.Field) bool { return f.Field == "reason" })
	if rule, ok := Rule(method); ok && rule.GetReasonRequired() && !named && !saysWhy(m) {
		bad = bad.Field("reason", "must say why in at least 10 characters")
	}
	if len(bad.Fields) > 0 {
		return bad
	}
	return nil
}

// saysWhy reports whether the reason is long enough, blanks around it apart.
func saysWhy(m proto.Message) bool {
	r := m.ProtoReflect()
	f := r.Descriptor().Fields().ByName("reason")
	if f == nil || f.Kind() != protoreflect.StringKind || f.IsList() {
		return false
	}
	return utf8.RuneCountInString(strings.TrimSpace(r.Get(f).String())) >= leastReason
}

// jsonPath writes a field path as the client knows it: items[0].planCode.
func jsonPath(p *validatepb.FieldPath) string {
	var b strings.Builder
	for _, e := range p.GetElements() {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(jsonName(e.GetFieldName()))
		switch s := e.GetSubscript().(type) {
		case *validatepb.FieldPathElement_Index:
			b.WriteString("[" + strconv.FormatUint(s.Index, 10) + "]")
		case *validatepb.FieldPathElement_StringKey:
			b.WriteString("[" + strconv.Quote(s.StringKey) + "]")
		case *validatepb.FieldPathElement_IntKey:
			b.WriteString("[" + strconv.FormatInt(s.IntKey, 10) + "]")
		case *validatepb.FieldPathElement_UintKey:
			b.WriteString("[" + strconv.FormatUint(s.UintKey, 10) + "]")
		case *validatepb.FieldPathElement_BoolKey:
			b.WriteString("[" + strconv.FormatBool(s.BoolKey) + "]")
		}
	}
	return b.String()
}

// jsonName is protobuf's own rule: drop underscores, capitalize what follows.
func jsonName(name string) string {
	var b strings.Builder
	upper := false
	for _, r := range name {
		switch {
		case r == '_':
			upper = true
		case upper && r >= 'a' && r <= 'z':
			b.WriteRune(r - 'a' + 'A')
			upper = false
		default:
			b.WriteRune(r)
			upper = false
		}
	}
	return b.String()
}
