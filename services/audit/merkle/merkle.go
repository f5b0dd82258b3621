// Package merkle is the tree over the audit log: RFC 6962 (now RFC 9162)
// hashing, the tiles of C2SP tlog-tiles, and proofs computed from tiles. It
// knows no database and no context.
package merkle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// Height of a tile: it holds the 2^8 hashes of one level, eight levels apart.
	Height = 8
	// Width is the hashes of a full tile.
	Width = 1 << Height
	// TileSize is the bytes of a full tile.
	TileSize = Width * HashSize
	// HashSize is the bytes of a SHA-256.
	HashSize = sha256.Size
)

// Hash is a node of the tree.
type Hash = tlog.Hash

var errEdge = errors.New("malformed edge")

// LeafHash is the leaf of an entry: SHA-256(0x00 || entry).
func LeafHash(entry []byte) Hash {
	var small [1 + 1023]byte                                     // most entries: no allocation
	return sha256.Sum256(append(append(small[:0], 0), entry...)) // RFC 9162 section 2.1.1
}

// Root is the root of the tree over hashes, all of one level; of none it is
// SHA-256 of nothing.
func Root(hashes []Hash) Hash {
	switch len(hashes) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashes[0]
	}
	split := 1 << (bits.Len(uint(len(hashes)-1)) - 1) // the largest power of two below the count
	return tlog.NodeHash(Root(hashes[:split]), Root(hashes[split:]))
}

// Tile is a full tile: Width hashes, and the root of the tree over them, which
// is one hash of the tile above.
type Tile struct {
	Level int
	Index int64
	Root  Hash
	Data  []byte
}

func newTile(level int, index int64, hashes []Hash) Tile {
	return Tile{Level: level, Index: index, Root: Root(hashes), Data: Pack(hashes)}
}

// Pack writes hashes one after the other.
func Pack(hashes []Hash) []byte {
	out := make([]byte, 0, len(hashes)*HashSize)
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

// Unpack reads what Pack wrote.
func Unpack(b []byte) ([]Hash, error) {
	if len(b)%HashSize != 0 {
		return nil, fmt.Errorf("%d bytes are not a list of hashes", len(b))
	}
	out := make([]Hash, len(b)/HashSize)
	for i := range out {
		copy(out[i][:], b[i*HashSize:])
	}
	return out, nil
}

// Edge is the right edge of a tree: all that is needed to append to it. The
// zero Edge is the empty tree.
type Edge struct {
	size   int64
	full   []Hash // compact range over the full tiles of level 0, left to right
	leaves []Hash // of the tile that is not full yet
}

// Size is the number of leaves.
func (e *Edge) Size() int64 { return e.size }

// Leaves are those after the last full tile.
func (e *Edge) Leaves() []Hash { return e.leaves }

// Root is the root of the whole tree.
func (e *Edge) Root() Hash {
	if len(e.full) == 0 {
		return Root(e.leaves)
	}
	rest := e.full
	var root Hash
	if len(e.leaves) > 0 {
		root = Root(e.leaves)
	} else {
		root, rest = rest[len(rest)-1], rest[:len(rest)-1]
	}
	for i := len(rest) - 1; i >= 0; i-- {
		root = tlog.NodeHash(rest[i], root)
	}
	return root
}

// Marshal gives the bytes that Parse reads with the same size.
func (e *Edge) Marshal() []byte { return append(Pack(e.full), Pack(e.leaves)...) }

// ParseEdge reads the edge of a tree of that size.
func ParseEdge(size int64, b []byte) (Edge, error) {
	if size < 0 {
		return Edge{}, fmt.Errorf("%w: a size of %d", errEdge, size)
	}
	full, partial := bits.OnesCount64(uint64(size>>Height)), int(size%Width)
	if len(b) != (full+partial)*HashSize {
		return Edge{}, fmt.Errorf("%w: %d bytes for a size of %d", errEdge, len(b), size)
	}
	hashes, err := Unpack(b)
	if err != nil {
		return Edge{}, fmt.Errorf("%w: %w", errEdge, err)
	}
	return Edge{size: size, full: hashes[:full:full], leaves: hashes[full:]}, nil
}

// Roots reads the roots of n full tiles of a level, from the first on.
type Roots func(level int, first int64, n int) ([]Hash, error)

// Append adds leaves at the right and gives the tiles that became full, lower
// levels first. stored reads the roots of tiles made before; it is asked once
// in Width tiles. After an error the edge is of no use.
func (e *Edge) Append(leaves []Hash, stored Roots) ([]Tile, error) {
	var made []Tile
	for len(leaves) > 0 {
		n := min(Width-len(e.leaves), len(leaves))
		// A new list each time: an edge that was copied keeps its own.
		e.leaves = append(e.leaves[:len(e.leaves):len(e.leaves)], leaves[:n]...)
		leaves = leaves[n:]
		e.size += int64(n)
		if len(e.leaves) < Width {
			break
		}
		tile := newTile(0, e.size>>Height-1, e.leaves)
		e.leaves = nil
		made = append(made, tile)
		if err := e.grow(tile); err != nil {
			return nil, err
		}
		above, err := risen(made, tile, stored)
		if err != nil {
			return nil, err
		}
		made = append(made, above...)
	}
	return made, nil
}

var ranges = compact.RangeFactory{Hash: func(left, right []byte) []byte {
	h := tlog.NodeHash(Hash(left), Hash(right))
	return h[:]
}}

// grow adds a full tile's root to the range of full tiles.
func (e *Edge) grow(tile Tile) error {
	nodes := make([][]byte, len(e.full))
	for i := range e.full {
		nodes[i] = e.full[i][:]
	}
	r, err := ranges.NewRange(0, uint64(tile.Index), nodes) //nolint:gosec // an index is not negative
	if err != nil {
		return fmt.Errorf("%w: %w", errEdge, err)
	}
	if err := r.Append(tile.Root[:], nil); err != nil {
		return fmt.Errorf("%w: %w", errEdge, err)
	}
	full := make([]Hash, len(r.Hashes()))
	for i, h := range r.Hashes() {
		full[i] = Hash(h)
	}
	e.full = full
	return nil
}

// risen are the tiles above that are full because tile is.
func risen(made []Tile, tile Tile, stored Roots) ([]Tile, error) {
	var out []Tile
	for (tile.Index+1)%Width == 0 {
		first := tile.Index + 1 - Width
		hashes := make([]Hash, 0, Width)
		var fresh []Hash
		for _, t := range append(made[:len(made):len(made)], out...) {
			if t.Level == tile.Level && t.Index >= first {
				fresh = append(fresh, t.Root)
			}
		}
		if n := Width - len(fresh); n > 0 {
			old, err := stored(tile.Level, first, n)
			if err != nil {
				return nil, fmt.Errorf("read the roots of %d tiles: %w", n, err)
			}
			if len(old) != n {
				return nil, fmt.Errorf("%w: %d roots of level %d from %d, want %d", errEdge, len(old), tile.Level, first, n)
			}
			hashes = append(hashes, old...)
		}
		tile = newTile(tile.Level+1, tile.Index/Width, append(hashes, fresh...))
		out = append(out, tile)
	}
	return out, nil
}
