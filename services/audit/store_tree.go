package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/audit/merkle"
)

// catchUpLeaves are taken into the tree in one transaction: some 100 ms under
// the head's lock.
const catchUpLeaves = 100 * merkle.Width

var (
	// errBehind is a tree that lacks events of the log: they were written by a
	// service that knew no tree.
	errBehind = errors.New("the tree is behind the log")
	// errHead is a head that does not hold together. Nothing may be appended to
	// it: the fault would be sealed in.
	errHead = errors.New("the head of the log is damaged")
)

// head is the end of the log and of its tree.
type head struct {
	Size int64 // of the log
	Edge merkle.Edge
}

func (h head) tree() merkle.Tree { return merkle.Tree{N: h.Edge.Size(), Hash: h.Edge.Root()} }

const (
	readHead = `SELECT size, tree_size, root, edge FROM audit.log_head WHERE id = 1`
	lockHead = readHead + ` FOR UPDATE`
)

func scanHead(row pgx.Row) (head, error) {
	var (
		h          head
		treeSize   int64
		root, edge []byte
	)
	if err := row.Scan(&h.Size, &treeSize, &root, &edge); err != nil {
		return head{}, fmt.Errorf("read the head: %w", err)
	}
	var err error
	if h.Edge, err = merkle.ParseEdge(treeSize, edge); err != nil {
		return head{}, fmt.Errorf("%w: %w", errHead, err)
	}
	if got := h.Edge.Root(); string(got[:]) != string(root) {
		return head{}, fmt.Errorf("%w: its edge has not its root", errHead)
	}
	return h, nil
}

// head reads the head without a lock.
func (s *Service) head(ctx context.Context) (head, error) {
	h, err := scanHead(s.db.Pool.QueryRow(ctx, readHead))
	return h, pg.Err(err)
}

const moveHead = `UPDATE audit.log_head SET size = @size, tree_size = @size, root = @root, edge = @edge WHERE id = 1`

const moveTree = `UPDATE audit.log_head SET tree_size = @size, root = @root, edge = @edge WHERE id = 1`

// grow appends leaves to the tree of a head whose lock tx holds, and stores
// the tiles that became full.
func grow(ctx context.Context, tx pgx.Tx, h *head, leaves []merkle.Hash, move string) error {
	tiles, err := h.Edge.Append(leaves, func(level int, first int64, n int) ([]merkle.Hash, error) {
		return tileRoots(ctx, tx, level, first, n)
	})
	if err != nil {
		return fmt.Errorf("append to the tree: %w", err)
	}
	if len(tiles) > 0 {
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"audit", "tile"}, []string{"level", "idx", "root", "data"},
			pgx.CopyFromSlice(len(tiles), func(i int) ([]any, error) {
				t := &tiles[i]
				return []any{int16(t.Level), t.Index, t.Root[:], t.Data}, nil //nolint:gosec // at most 7
			}))
		if err != nil {
			return fmt.Errorf("copy tiles: %w", err)
		}
	}
	root := h.Edge.Root()
	if _, err := tx.Exec(ctx, move, pgx.NamedArgs{"size": h.Edge.Size(), "root": root[:], "edge": h.Edge.Marshal()}); err != nil {
		return fmt.Errorf("move the head: %w", err)
	}
	return nil
}

const selectRoots = `SELECT root FROM audit.tile WHERE level = @level AND idx >= @first ORDER BY idx LIMIT @n`

// tileRoots reads the roots of n tiles of a level.
func tileRoots(ctx context.Context, q pg.Querier, level int, first int64, n int) ([]merkle.Hash, error) {
	rows, err := q.Query(ctx, selectRoots, pgx.NamedArgs{"level": level, "first": first, "n": n})
	if err != nil {
		return nil, fmt.Errorf("read the roots of tiles: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanHash)
	if err != nil {
		return nil, fmt.Errorf("read the roots of tiles: %w", err)
	}
	return list, nil
}

func scanHash(row pgx.CollectableRow) (merkle.Hash, error) {
	var b []byte
	if err := row.Scan(&b); err != nil {
		return merkle.Hash{}, err //nolint:wrapcheck // by the caller
	}
	if len(b) != merkle.HashSize {
		return merkle.Hash{}, fmt.Errorf("a hash of %d bytes", len(b))
	}
	return merkle.Hash(b), nil
}

const leavesFrom = `SELECT seq, leaf_hash FROM audit.event WHERE seq > @after AND seq <= @last ORDER BY seq`

// catchUp takes the events into the tree that were written without it, in the
// log's order.
func (s *Service) catchUp(ctx context.Context) error {
	for more := true; more; {
		err := s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			h, err := scanHead(tx.QueryRow(ctx, lockHead))
			if err != nil {
				return err
			}
			after, last := h.Edge.Size(), min(h.Size, h.Edge.Size()+catchUpLeaves)
			if more = last < h.Size; after == last {
				return nil
			}
			leaves, err := leavesOf(ctx, tx, after, last)
			if err != nil {
				return err
			}
			return grow(ctx, tx, &h, leaves, moveTree)
		})
		if err != nil {
			return fmt.Errorf("take the log into its tree: %w", err)
		}
	}
	return nil
}

func leavesOf(ctx context.Context, q pg.Querier, after, last int64) ([]merkle.Hash, error) {
	rows, err := q.Query(ctx, leavesFrom, pgx.NamedArgs{"after": after, "last": last})
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	next := after
	leaves, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (merkle.Hash, error) {
		var (
			seq  int64
			leaf []byte
		)
		if err := row.Scan(&seq, &leaf); err != nil {
			return merkle.Hash{}, err //nolint:wrapcheck // below
		}
		if next++; seq != next || len(leaf) != merkle.HashSize {
			return merkle.Hash{}, fmt.Errorf("%w: event %d stands where %d should", errHead, seq, next)
		}
		return merkle.Hash(leaf), nil
	})
	if err == nil && next != last {
		err = fmt.Errorf("%w: the log ends at %d, not at %d", errHead, next, last)
	}
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	return leaves, nil
}

const selectTiles = `
SELECT t.level, t.idx, t.data
  FROM unnest(@levels::smallint[], @idxs::bigint[]) AS k (level, idx)
  JOIN audit.tile t ON t.level = k.level AND t.idx = k.idx`

// tiles reads the tree as of h. Full tiles never change, so that h decides
// where each is found, whatever is appended meanwhile.
func tiles(ctx context.Context, q pg.Querier, h head) merkle.Tiles {
	return func(want []tlog.Tile) ([][]byte, error) {
		out := make([][]byte, len(want))
		var (
			levels []int16
			idxs   []int64
		)
		for i, t := range want {
			var err error
			switch {
			case full(t, h):
				levels, idxs = append(levels, int16(t.L)), append(idxs, t.N) //nolint:gosec // at most 7
			case t.L == 0:
				out[i], err = edgeTile(t, h)
			default:
				var below []merkle.Hash
				below, err = tileRoots(ctx, q, t.L-1, t.N*merkle.Width, t.W)
				out[i] = merkle.Pack(below)
			}
			if err != nil {
				return nil, err
			}
		}
		if len(idxs) == 0 {
			return out, nil
		}
		return out, readTiles(ctx, q, want, out, levels, idxs)
	}
}

func full(t tlog.Tile, h head) bool {
	return (t.N+1)<<(merkle.Height*(t.L+1)) <= h.Edge.Size()
}

// edgeTile is the leaves after the last full tile.
func edgeTile(t tlog.Tile, h head) ([]byte, error) {
	leaves := h.Edge.Leaves()
	if t.N != h.Edge.Size()/merkle.Width || t.W > len(leaves) {
		return nil, fmt.Errorf("%w: no tile %s", errHead, t.Path())
	}
	return merkle.Pack(leaves[:t.W]), nil
}

func readTiles(ctx context.Context, q pg.Querier, want []tlog.Tile, out [][]byte, levels []int16, idxs []int64) error {
	rows, err := q.Query(ctx, selectTiles, pgx.NamedArgs{"levels": levels, "idxs": idxs})
	if err != nil {
		return pg.Err(fmt.Errorf("read tiles: %w", err))
	}
	type stored struct {
		Level int
		Index int64
		Data  []byte
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[stored])
	if err != nil {
		return pg.Err(fmt.Errorf("read tiles: %w", err))
	}
	for _, t := range list {
		if i := slices.IndexFunc(want, func(w tlog.Tile) bool { return w.L == t.Level && w.N == t.Index }); len(t.Data) == merkle.TileSize {
			out[i] = t.Data[:want[i].W*merkle.HashSize]
		}
	}
	return nil // tlog refuses what lacks
}
