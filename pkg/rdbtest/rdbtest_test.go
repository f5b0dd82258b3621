package rdbtest_test

import (
	"testing"
	"time"

	"github.com/manas360/platform/pkg/rdb"
	"github.com/manas360/platform/pkg/rdbtest"
)

// TestLeavesNothing writes under a test's prefix and looks for it afterwards.
func TestLeavesNothing(t *testing.T) {
	after := rdb.Open(rdbtest.Config(t))
	t.Cleanup(func() { _ = after.Close() })
	var key string
	t.Run("inner", func(t *testing.T) {
		client, prefix := rdbtest.New(t)
		key = prefix + "k"
		if err := client.Set(t.Context(), key, "v", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	})
	if n, err := after.Exists(t.Context(), key).Result(); err != nil || n != 0 {
		t.Errorf("%d keys left, %v; want none", n, err)
	}
}
