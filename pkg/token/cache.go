package token

import (
	"strings"
	"sync"
)

const (
	shards     = 16
	shardLimit = 1024 // per generation; 16 x 2 x 1024 tokens, some 50 MiB when full
)

// cache holds verified claims by the whole token, which is compared whole: a sum
// of it would cost more than all the rest. Each shard has two generations: when
// the young one is full it becomes the old one, and what was old and unused is
// forgotten. The zero cache is empty and ready.
type cache struct{ shard [shards]shard }

type shard struct {
	mu         sync.RWMutex // guards young and old
	young, old map[string]*Claims
}

// of picks by a character of the signature that is as good as drawn by lot; the
// last one is not, it carries what bits are left.
func (c *cache) of(raw string) *shard {
	if len(raw) < 2 {
		return &c.shard[0]
	}
	return &c.shard[raw[len(raw)-2]%shards]
}

func (c *cache) get(raw string) (*Claims, bool) {
	s := c.of(raw)
	s.mu.RLock()
	claims, ok := s.young[raw]
	aged := false
	if !ok {
		claims, ok = s.old[raw]
		aged = ok
	}
	s.mu.RUnlock()
	if aged {
		c.put(raw, claims)
	}
	return claims, ok
}

func (c *cache) put(raw string, claims *Claims) {
	s := c.of(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= shardLimit {
		s.old, s.young = s.young, make(map[string]*Claims)
	}
	s.young[strings.Clone(raw)] = claims // a cookie's value would keep the whole header
}
