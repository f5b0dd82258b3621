package main

import (
	"slices"
	"testing"
)

func TestAuditArgs(t *testing.T) {
	for _, tt := range []struct {
		args, rest []string
		ok         bool
	}{
		{[]string{"audit", "verify", "-full"}, []string{"-full"}, true},
		{[]string{"-data", ".data", "audit", "verify", "-since", "7"}, []string{"-data", ".data", "-since", "7"}, true},
		{[]string{"audit"}, nil, false},
		{[]string{"keys", "list"}, nil, false},
		{[]string{"verify", "audit"}, nil, false},
	} {
		rest, ok := auditArgs(tt.args)
		if ok != tt.ok || !slices.Equal(rest, tt.rest) {
			t.Errorf("%q: %q %t, want %q %t", tt.args, rest, ok, tt.rest, tt.ok)
		}
	}
}
