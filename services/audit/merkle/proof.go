package merkle

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is a size and its root.
type Tree = tlog.Tree

// ErrRange is a proof asked for what the tree does not hold.
var ErrRange = errors.New("outside of the tree")

// Tiles reads tiles, partial ones among them, each of exactly its width.
type Tiles func(tiles []tlog.Tile) ([][]byte, error)

// Height of the tiles that are asked for.
func (Tiles) Height() int { return Height }

// ReadTiles calls the function.
func (r Tiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) { return r(tiles) }

// SaveTiles keeps nothing.
func (Tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// Inclusion proves that the leaf at index is in tree, by the audit path of
// RFC 9162 section 2.1.3.1. Every tile is checked against the tree's root
// first: a proof that comes back is right.
func Inclusion(tree Tree, index int64, r Tiles) ([]Hash, error) {
	if index < 0 || index >= tree.N {
		return nil, fmt.Errorf("%w: leaf %d of %d", ErrRange, index, tree.N)
	}
	p, err := tlog.ProveRecord(tree.N, index, tlog.TileHashReader(tree, r))
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d of %d: %w", index, tree.N, err)
	}
	return p, nil
}

// Consistency proves that the tree at size to begins with that at size from, as
// RFC 9162 section 2.1.4.1 does; both lie in tree. Equal sizes need no hashes.
func Consistency(tree Tree, from, to int64, r Tiles) ([]Hash, error) {
	if from < 1 || from > to || to > tree.N {
		return nil, fmt.Errorf("%w: from %d to %d of %d", ErrRange, from, to, tree.N)
	}
	if from == to {
		return nil, nil
	}
	p, err := tlog.ProveTree(to, from, tlog.TileHashReader(tree, r))
	if err != nil {
		return nil, fmt.Errorf("prove %d in %d: %w", from, to, err)
	}
	return p, nil
}

// RootAt is the root that the tree had at an earlier size.
func RootAt(tree Tree, size int64, r Tiles) (Hash, error) {
	if size < 0 || size > tree.N {
		return Hash{}, fmt.Errorf("%w: size %d of %d", ErrRange, size, tree.N)
	}
	if size == tree.N {
		return tree.Hash, nil
	}
	h, err := tlog.TreeHash(size, tlog.TileHashReader(tree, r))
	if err != nil {
		return Hash{}, fmt.Errorf("root at %d of %d: %w", size, tree.N, err)
	}
	return h, nil
}
