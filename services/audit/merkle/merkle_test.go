package merkle

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// forest keeps what a log would: full tiles and the edge.
type forest struct {
	edge  Edge
	tiles map[[2]int64]Tile
	all   []Hash
}

func (f *forest) append(leaves []Hash) error {
	if f.tiles == nil {
		f.tiles = map[[2]int64]Tile{}
	}
	made, err := f.edge.Append(leaves, f.roots)
	if err != nil {
		return err
	}
	for _, t := range made {
		f.tiles[[2]int64{int64(t.Level), t.Index}] = t
	}
	f.all = append(f.all, leaves...)
	return nil
}

func (f *forest) roots(level int, first int64, n int) ([]Hash, error) {
	var out []Hash
	for i := range int64(n) {
		t, ok := f.tiles[[2]int64{int64(level), first + i}]
		if !ok {
			return nil, fmt.Errorf("no tile %d of level %d", first+i, level)
		}
		out = append(out, t.Root)
	}
	return out, nil
}

// read answers as the store does: a full tile's beginning, the edge's leaves,
// or the roots of the tiles below.
func (f *forest) read(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		if full, ok := f.tiles[[2]int64{int64(t.L), t.N}]; ok {
			out = append(out, full.Data[:t.W*HashSize])
			continue
		}
		if t.L == 0 {
			out = append(out, Pack(f.edge.Leaves()[:t.W]))
			continue
		}
		below, err := f.roots(t.L-1, t.N*Width, t.W)
		if err != nil {
			return nil, err
		}
		out = append(out, Pack(below))
	}
	return out, nil
}

func (f *forest) tree() Tree { return Tree{N: f.edge.Size(), Hash: f.edge.Root()} }

func leaves(from, n int) []Hash {
	out := make([]Hash, n)
	for i := range out {
		out[i] = LeafHash(fmt.Appendf(nil, "entry %d", from+i))
	}
	return out
}

func slices(in []Hash) [][]byte {
	out := make([][]byte, len(in))
	for i := range in {
		out[i] = in[i][:]
	}
	return out
}

// TestRFC6962Data takes leaves and roots from transparency-dev's test data.
func TestRFC6962Data(t *testing.T) {
	if got := (&Edge{}).Root(); !bytes.Equal(got[:], testonly.EmptyRootHash()) {
		t.Errorf("empty root %x, want %x", got, testonly.EmptyRootHash())
	}
	f := &forest{}
	for i, in := range testonly.LeafInputs() {
		leaf := LeafHash(in)
		if want := rfc6962.DefaultHasher.HashLeaf(in); !bytes.Equal(leaf[:], want) {
			t.Errorf("leaf %d: %x, want %x", i, leaf, want)
		}
		if err := f.append([]Hash{leaf}); err != nil {
			t.Fatal(err)
		}
		if got, want := f.edge.Root(), testonly.RootHashes()[i+1]; !bytes.Equal(got[:], want) {
			t.Errorf("root at %d: %x, want %x", i+1, got, want)
		}
	}
}

// tree of transparency-dev, the judge.
func reference(all []Hash) *testonly.Tree {
	ref := testonly.New(rfc6962.DefaultHasher)
	ref.Append(slices(all)...)
	return ref
}

// TestRootsAndProofs appends batches of every size over the limits of tiles,
// and has two other implementations judge roots, tiles and proofs.
func TestRootsAndProofs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &forest{}
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(200, 600)).Draw(rt, "batch")
			before := f.edge
			if err := f.append(leaves(int(f.edge.Size()), n)); err != nil {
				rt.Fatal(err)
			}
			if again, err := ParseEdge(before.Size(), before.Marshal()); err != nil || again.Root() != before.Root() {
				rt.Fatalf("an edge that was copied changed: %v", err)
			}
		}
		tree := f.tree()
		judgeRoot(rt, f)
		if tree.N == 0 {
			return
		}
		index := rapid.Int64Range(0, tree.N-1).Draw(rt, "index")
		p, err := Inclusion(tree, index, f.read)
		if err != nil {
			rt.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(tree.N), f.all[index][:], slices(p), tree.Hash[:]); err != nil {
			rt.Errorf("merkle refuses leaf %d of %d: %v", index, tree.N, err)
		}
		if err := tlog.CheckRecord(p, tree.N, tree.Hash, index, f.all[index]); err != nil {
			rt.Errorf("tlog refuses leaf %d of %d: %v", index, tree.N, err)
		}
		from := rapid.Int64Range(1, tree.N).Draw(rt, "from")
		to := rapid.Int64Range(from, tree.N).Draw(rt, "to")
		judgeConsistency(rt, f, from, to)
	})
}

func judgeRoot(rt *rapid.T, f *forest) {
	rt.Helper()
	root := f.edge.Root()
	if f.edge.Size() > 0 && root != Root(f.all) {
		rt.Errorf("root of the edge %v, of the leaves %v", root, Root(f.all))
	}
	if want := reference(f.all).Hash(); !bytes.Equal(root[:], want) {
		rt.Errorf("root %v, want %x", root, want)
	}
	again, err := ParseEdge(f.edge.Size(), f.edge.Marshal())
	if err != nil || again.Root() != root {
		rt.Errorf("edge read again: %v, root %v, want %v", err, again.Root(), root)
	}
	for _, tile := range f.tiles {
		span := int64(1) << (Height * tile.Level)
		for i := range int64(Width) {
			first := (tile.Index*Width + i) * span
			if want := Root(f.all[first : first+span]); !bytes.Equal(tile.Data[i*HashSize:(i+1)*HashSize], want[:]) {
				rt.Errorf("tile %d/%d, hash %d is not the root of its leaves", tile.Level, tile.Index, i)
			}
		}
	}
}

func judgeConsistency(rt *rapid.T, f *forest, from, to int64) {
	rt.Helper()
	tree := f.tree()
	p, err := Consistency(tree, from, to, f.read)
	if err != nil {
		rt.Fatal(err)
	}
	a, b := Root(f.all[:from]), Root(f.all[:to])
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(to), slices(p), a[:], b[:]); err != nil {
		rt.Errorf("merkle refuses %d to %d: %v", from, to, err)
	}
	if from < to {
		if err := tlog.CheckTree(p, to, b, from, a); err != nil {
			rt.Errorf("tlog refuses %d to %d: %v", from, to, err)
		}
	}
	if got, err := RootAt(tree, from, f.read); err != nil || got != a {
		rt.Errorf("root at %d: %v %v, want %v", from, got, err, a)
	}
}

// TestHigherTiles grows a tree over level 1's first tile, in uneven batches,
// beside tlog's own tiles.
func TestHigherTiles(t *testing.T) {
	f := &forest{}
	const total = Width*Width + 700
	for n := 0; n < total; {
		batch := min(997, total-n)
		if err := f.append(leaves(n, batch)); err != nil {
			t.Fatal(err)
		}
		n += batch
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(ids []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ids))
		for i, id := range ids {
			out[i] = stored[id]
		}
		return out, nil
	})
	for i, leaf := range f.all {
		more, err := tlog.StoredHashesForRecordHash(int64(i), leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	want, err := tlog.TreeHash(total, reader)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.edge.Root(); got != want {
		t.Errorf("root %v, want %v", got, want)
	}
	full := 0
	for _, tile := range tlog.NewTiles(Height, 0, total) {
		data, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.read([]tlog.Tile{tile})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(data, got[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tile.Path(), diff)
		}
		if tile.W == Width {
			full++
		}
	}
	if full != len(f.tiles) {
		t.Errorf("%d full tiles, want %d", len(f.tiles), full)
	}
	for _, index := range []int64{0, 255, 256, Width*Width - 1, Width * Width, total - 1} {
		p, err := Inclusion(f.tree(), index, f.read)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p, total, want, index, f.all[index]); err != nil {
			t.Errorf("leaf %d: %v", index, err)
		}
	}
}

// TestATileThatLies shows that no proof comes of a tile that was changed.
func TestATileThatLies(t *testing.T) {
	f := &forest{}
	if err := f.append(leaves(0, 1000)); err != nil {
		t.Fatal(err)
	}
	tree := f.tree()
	tile := f.tiles[[2]int64{0, 1}]
	for i := range tile.Data {
		tile.Data[i] ^= 1 << (i % 8)
		if _, err := Inclusion(tree, 300, f.read); err == nil {
			t.Fatalf("bit flipped in byte %d: a proof came back", i)
		}
		tile.Data[i] ^= 1 << (i % 8)
	}
}

func TestOutside(t *testing.T) {
	f := &forest{}
	if err := f.append(leaves(0, 10)); err != nil {
		t.Fatal(err)
	}
	for _, index := range []int64{-1, 10, 1 << 62} {
		if _, err := Inclusion(f.tree(), index, f.read); err == nil {
			t.Errorf("leaf %d of 10: a proof came back", index)
		}
	}
	for _, r := range [][2]int64{{0, 5}, {-1, 5}, {6, 5}, {5, 11}, {0, 0}, {1 << 62, 1 << 62}} {
		if _, err := Consistency(f.tree(), r[0], r[1], f.read); err == nil {
			t.Errorf("%d to %d of 10: a proof came back", r[0], r[1])
		}
	}
	if _, err := RootAt(f.tree(), 11, f.read); err == nil {
		t.Error("root at 11 of 10 came back")
	}
}

func FuzzParseEdge(f *testing.F) {
	f.Add(int64(0), []byte{})
	f.Add(int64(1), make([]byte, HashSize))
	f.Add(int64(300), make([]byte, 45*HashSize))
	f.Add(int64(-1), make([]byte, 33))
	f.Fuzz(func(t *testing.T, size int64, b []byte) {
		e, err := ParseEdge(size, b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Marshal(), b) || e.Size() != size {
			t.Errorf("size %d: %x came back as %x", size, b, e.Marshal())
		}
		_ = e.Root()
		never := func(int, int64, int) ([]Hash, error) { return make([]Hash, Width-1), nil }
		if size < 1<<40 {
			_, _ = e.Append(leaves(0, 2), never)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	batch := leaves(0, 1000)
	f := &forest{}
	for b.Loop() {
		if err := f.append(batch); err != nil {
			b.Fatal(err)
		}
		f.all = f.all[:0]
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "leaves/s")
}

// BenchmarkVerifyInclusion is what a client pays for a proof at ten million.
func BenchmarkVerifyInclusion(b *testing.B) {
	const size, index = 10_000_000, 4_242_424
	leaf := LeafHash([]byte("x"))
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		b.Fatal(err)
	}
	p := make([][]byte, bits.Len64(size-1))
	_, begin, end := nodes.Ephem()
	if end > begin { // the right border is one hash of the proof
		p = make([][]byte, len(nodes.IDs)-(end-begin)+1)
	}
	for i := range p {
		h := sha256.Sum256([]byte{byte(i)})
		p[i] = h[:]
	}
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, index, size, leaf[:], p)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], p, root); err != nil {
			b.Fatal(err)
		}
	}
}
