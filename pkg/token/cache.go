package token

import (
	"crypto/sha256"
	"sync"
)

const (
	shards     = 16
	shardLimit = 1024 // per generation; 16 x 2 x 1024 tokens, some 30 MiB when full
)

// cache holds verified claims by the SHA-256 of the whole token. Each shard has
// two generations: when the young one is full it becomes the old one, and what
// was old and unused is forgotten. The zero cache is empty and ready.
type cache struct{ shard [shards]shard }

type shard struct {
	mu         sync.RWMutex // guards young and old
	young, old map[[sha256.Size]byte]*Claims
}

func (c *cache) get(sum [sha256.Size]byte) (*Claims, bool) {
	s := &c.shard[sum[0]%shards]
	s.mu.RLock()
	claims, ok := s.young[sum]
	aged := false
	if !ok {
		claims, ok = s.old[sum]
		aged = ok
	}
	s.mu.RUnlock()
	if aged {
		c.put(sum, claims)
	}
	return claims, ok
}

func (c *cache) put(sum [sha256.Size]byte, claims *Claims) {
	s := &c.shard[sum[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= shardLimit {
		s.old, s.young = s.young, make(map[[sha256.Size]byte]*Claims)
	}
	s.young[sum] = claims
}
