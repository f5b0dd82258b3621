package main

import (
	"os"
	"strings"
	"testing"
)

// What is generated is what the catalogue says now.
func TestGeneratedIsFresh(t *testing.T) {
	source, err := os.ReadFile("../../catalogue.yaml")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parse(source)
	if err != nil {
		t.Fatal(err)
	}
	code, err := render(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../../catalogue.go": code, "../../CATALOGUE.md": page(list)} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is stale: go generate ./trail", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := "{action: a.b, doc: It is., ocsf: 3001}"
	for _, tt := range []struct{ name, source, want string }{
		{"no verb", "[{action: login, doc: It is., ocsf: 3001}]", "noun.verb"},
		{"capitals", "[{action: Auth.Login, doc: It is., ocsf: 3001}]", "noun.verb"},
		{"twice", "[" + good + ", " + good + "]", "twice"},
		{"no sentence", "[{action: a.b, ocsf: 3001}]", "sentence"},
		{"no class", "[{action: a.b, doc: It is., ocsf: 3001, class: forever}]", "class: forever"},
		{"no severity", "[{action: a.b, doc: It is., ocsf: 3001, severity: loud}]", "severity: loud"},
		{"no OCSF", "[{action: a.b, doc: It is.}]", "OCSF"},
		{"hostile key", "[{action: a.b, doc: It is., ocsf: 3001, keys: ['a\"b']}]", "key"},
		{"hostile target", "[{action: a.b, doc: It is., ocsf: 3001, targets: ['A B']}]", "target"},
		{"unknown field", "[{action: a.b, doc: It is., ocsf: 3001, kept: long}]", "kept"},
		{"no list", "action: a.b", "read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse([]byte(tt.source)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one of %q", err, tt.want)
			}
		})
	}
	if list, err := parse([]byte("[" + good + "]")); err != nil || list[0].Class != "security" || list[0].Version != 1 {
		t.Errorf("parsed %v, %v", list, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[{action: a.b, doc: It is., ocsf: 3001}]")
	f.Add("- action: x.y\n  keys: [a, b.*]\n")
	f.Fuzz(func(t *testing.T, source string) {
		list, err := parse([]byte(source))
		if err != nil {
			return
		}
		if _, err := render(list); err != nil {
			t.Errorf("%q parses and cannot be written: %v", source, err)
		}
	})
}
