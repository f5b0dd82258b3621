// Package config reads the environment into one typed struct per process.
//
// A field is `env:"NAME"` with the options of caarlos0/env (required, notEmpty,
// envDefault, envPrefix), `desc:"…"` for -config and `secret:"true"` when its
// value must never be shown. Structs embed one another freely. NAME_FILE names
// a file that holds the value of NAME. A struct with `Validate() error` is asked
// after parsing; errors.Join reports several problems.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Error lists every problem of an environment, one line each, without values
// of secrets.
type Error struct{ Problems []string }

// Error joins the problems with line ends.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Duration is a time.Duration that also understands days: "7d", "1d12h", "15m".
// Negative ones are refused.
type Duration time.Duration

// UnmarshalText parses "7d", "1d12h" and what time.ParseDuration takes.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	var days time.Duration
	if whole, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(whole, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 15m or 7d", s)
		}
		days, s = time.Duration(n)*24*time.Hour, rest
		if s == "" {
			*d = Duration(days)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 15m or 7d", text)
	}
	*d = Duration(days + v)
	return nil
}

// Std is the duration as package time knows it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration as package time does.
func (d Duration) String() string { return time.Duration(d).String() }

// Load fills a T from environ, which has the form of os.Environ. The error is
// an *Error with every problem found.
func Load[T any](environ []string) (T, error) {
	var c T
	known := variables(reflect.TypeFor[T](), "")
	vars := toMap(environ)
	problems := readFiles(vars, known)
	err := env.ParseWithOptions(&c, env.Options{Environment: vars})
	problems = append(problems, describe(err, known)...)
	if len(problems) == 0 { // half-filled structs would be called invalid twice
		problems = validate(reflect.ValueOf(&c).Elem())
	}
	if len(problems) > 0 {
		return c, &Error{Problems: unique(problems)}
	}
	return c, nil
}

// Describe writes each variable of T: name, default, meaning. It never shows a
// secret's default.
func Describe[T any](w io.Writer) error {
	for _, v := range variables(reflect.TypeFor[T](), "") {
		value := strconv.Quote(v.fallback)
		switch {
		case v.required:
			value = "required"
		case v.secret:
			value = "secret"
		}
		if _, err := fmt.Fprintf(w, "%-32s %-24s %s\n", v.name, value, v.desc); err != nil {
			return fmt.Errorf("describe configuration: %w", err)
		}
	}
	return nil
}

type variable struct {
	name, field, fallback, desc string
	required, secret            bool
}

func variables(t reflect.Type, prefix string) []variable {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var vs []variable
	for f := range t.Fields() {
		tag, ok := f.Tag.Lookup("env")
		if !ok {
			if f.Type.Kind() == reflect.Struct && (f.IsExported() || f.Anonymous) {
				vs = append(vs, variables(f.Type, prefix+f.Tag.Get("envPrefix"))...)
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" || name == "-" {
			continue
		}
		vs = append(vs, variable{
			name:     prefix + name,
			field:    f.Name,
			fallback: f.Tag.Get("envDefault"),
			desc:     f.Tag.Get("desc"),
			required: strings.Contains(options, "required") || strings.Contains(options, "notEmpty"),
			secret:   f.Tag.Get("secret") == "true",
		})
	}
	return vs
}

func toMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}

// readFiles puts the content of NAME_FILE in the place of NAME.
func readFiles(vars map[string]string, known []variable) (problems []string) {
	for _, v := range known {
		file := v.name + "_FILE"
		path := vars[file]
		if path == "" || slices.ContainsFunc(known, func(o variable) bool { return o.name == file }) {
			continue
		}
		if vars[v.name] != "" {
			problems = append(problems, fmt.Sprintf("%s: set together with %s", v.name, file))
			continue
		}
		b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", file, err))
			continue
		}
		vars[v.name] = strings.TrimRight(string(b), "\r\n")
	}
	return problems
}

func describe(err error, known []variable) (problems []string) {
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []string{err.Error()}
	}
	for _, e := range all.Errors {
		problems = append(problems, problem(e, known))
	}
	return problems
}

func problem(err error, known []variable) string {
	if e, ok := errors.AsType[env.VarIsNotSetError](err); ok {
		return e.Key + ": required, but not set"
	}
	if e, ok := errors.AsType[env.EmptyVarError](err); ok {
		return e.Key + ": must not be empty"
	}
	if e, ok := errors.AsType[env.ParseError](err); ok {
		for _, v := range known {
			switch {
			case v.field != e.Name:
			case v.secret:
				return v.name + ": malformed"
			default:
				return fmt.Sprintf("%s: %v", v.name, e.Err)
			}
		}
	}
	return err.Error()
}

// validate asks v and every struct in it.
func validate(v reflect.Value) (problems []string) {
	if v.Kind() != reflect.Struct || !v.CanAddr() {
		return nil
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			problems = append(problems, validate(v.Field(i))...)
		}
	}
	if !v.Addr().CanInterface() {
		return problems
	}
	if c, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
		if err := c.Validate(); err != nil {
			problems = append(problems, strings.Split(err.Error(), "\n")...)
		}
	}
	return problems
}

// unique drops repeats: an embedded Validate is also its outer struct's.
func unique(lines []string) []string {
	var u []string
	for _, l := range lines {
		if !slices.Contains(u, l) {
			u = append(u, l)
		}
	}
	return u
}
