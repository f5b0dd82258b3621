package token

import (
	"strconv"
	"testing"
)

func TestCacheForgetsTheUnused(t *testing.T) {
	var c cache
	key := func(i int) string { return strconv.Itoa(i) + "0-" } // all in shard 0
	used := &Claims{JTI: "used"}
	c.put(key(0), used)
	for i := 1; i < 10*shardLimit; i++ {
		c.put(key(i), &Claims{})
		if got, ok := c.get(key(0)); !ok || got != used {
			t.Fatalf("after %d others the used one is gone", i)
		}
	}
	if s := &c.shard[0]; len(s.young)+len(s.old) > 2*shardLimit {
		t.Errorf("entries: got %d, want at most %d", len(s.young)+len(s.old), 2*shardLimit)
	}
	if _, ok := c.get(key(1)); ok {
		t.Error("an unused entry stayed")
	}
}
