package rdb_test

import (
	"testing"
	"time"

	"github.com/manas360/platform/pkg/rdb"
)

// TestAway asks a Redis that is not there: the answer comes at once.
func TestAway(t *testing.T) {
	client := rdb.Open(rdb.Config{Host: "127.0.0.1", Port: 1})
	t.Cleanup(func() { _ = client.Close() })
	began := time.Now()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a dead Redis answered")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the answer took %v", took)
	}
}
