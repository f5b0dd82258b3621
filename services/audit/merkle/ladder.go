package merkle

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Ladder is the tree above the full tiles of level 0, from their roots alone:
// 64 bytes for 256 leaves. It knows the edge at every one of them.
type Ladder struct {
	rungs [][]Hash // rungs[i] are the full subtrees over 2^i tiles
}

// NewLadder builds it.
func NewLadder(roots []Hash) *Ladder {
	l := &Ladder{}
	for len(roots) > 0 {
		l.rungs = append(l.rungs, roots)
		up := make([]Hash, len(roots)/2)
		for i := range up {
			up[i] = tlog.NodeHash(roots[2*i], roots[2*i+1])
		}
		roots = up
	}
	return l
}

// Tiles is the number of tiles below.
func (l *Ladder) Tiles() int64 {
	if len(l.rungs) == 0 {
		return 0
	}
	return int64(len(l.rungs[0]))
}

// Edge is the edge of the tree of the first n tiles and some leaves after them.
func (l *Ladder) Edge(n int64, leaves []Hash) Edge {
	e := Edge{size: n*Width + int64(len(leaves)), leaves: leaves}
	for level, at := bits.Len64(uint64(n))-1, int64(0); level >= 0; level-- { //nolint:gosec // n is not negative
		if n&(1<<level) != 0 {
			e.full = append(e.full, l.rungs[level][at>>level])
			at += 1 << level
		}
	}
	return e
}

// Full are the tiles of a level above the first that must be full, left to
// right, computed from the roots below.
func (l *Ladder) Full(level int, index int64) Tile {
	below := l.rungs[Height*(level-1)]
	return newTile(level, index, below[index*Width:(index+1)*Width])
}
