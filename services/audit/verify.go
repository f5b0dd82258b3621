package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/audit/merkle"
	"github.com/manas360/platform/services/audit/notary"
)

// spanEvents are verified at once: whole tiles, some megabytes.
const spanEvents = 16 * merkle.Width

// errBroken is a log that is not as it was written.
var errBroken = errors.New("the log is not as it was written")

// verifier reads the log again: leaf hashes from the canonical bytes, columns
// from the canonical bytes, tiles from the leaves, the root from the tiles,
// and signatures over roots. It changes nothing.
type verifier struct {
	q       pg.Querier
	origin  string        // of the checkpoints
	log     note.Verifier // nil: signatures are not checked
	witness note.Verifier // nil: the witness's are not
	found   func(f finding)

	// sum is a fingerprint of the set of rows that the events must have by their
	// targets. A full run compares it with that of the rows there are, in one
	// scan; nil has each row looked for, at three times the cost.
	sum *rowSum

	targetsN atomic.Int64 // rows the events must have by their targets
}

func (v *verifier) fault(seq int64, format string, args ...any) {
	v.found(finding{Seq: seq, What: fmt.Sprintf(format, args...)})
}

// ground is what spans are judged by: the head, and the tree above the tiles of
// level 0.
type ground struct {
	head   head
	ladder *merkle.Ladder
	roots  []merkle.Hash
}

// ground reads the tree from its root down to the roots of the lowest tiles,
// a 256th of the log, and checks that each level follows from the one below.
// It is nil when the head is damaged: nothing can be judged by that.
func (v *verifier) ground(ctx context.Context) (*ground, error) {
	h, err := scanHead(v.q.QueryRow(ctx, readHead))
	if errors.Is(err, errHead) {
		v.fault(0, "%v", err)
		return nil, nil
	}
	if err != nil {
		return nil, pg.Err(err)
	}
	wrong, err := beyond(ctx, v.q)
	if err != nil {
		return nil, err
	}
	for _, w := range wrong {
		v.fault(0, "%s", w)
	}
	n := h.Edge.Size() / merkle.Width
	g := &ground{head: h}
	if g.roots, err = lowRoots(ctx, v.q, n); err != nil {
		return nil, err
	}
	g.ladder = merkle.NewLadder(g.roots)
	if e := g.ladder.Edge(n, h.Edge.Leaves()); !slices.Equal(e.Marshal(), h.Edge.Marshal()) {
		v.fault(0, "the head does not follow from the tiles")
	}
	for level := 1; n>>(merkle.Height*level) > 0; level++ {
		if err := v.level(ctx, g, level, n>>(merkle.Height*level)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// level compares the tiles above the first with what follows from those below.
func (v *verifier) level(ctx context.Context, g *ground, level int, n int64) error {
	const atOnce = 256
	for first := int64(0); first < n; first += atOnce {
		end := min(n, first+atOnce)
		list, err := storedTiles(ctx, v.q, level, first, end)
		if err != nil {
			return err
		}
		v.compare(list, level, first, end, func(i int64) merkle.Tile { return g.ladder.Full(level, i) })
	}
	return nil
}

func (v *verifier) compare(list []merkle.Tile, level int, first, end int64, want func(i int64) merkle.Tile) {
	for i := first; i < end; i++ {
		at := slices.IndexFunc(list, func(t merkle.Tile) bool { return t.Index == i })
		switch {
		case at < 0:
			v.fault(0, "tile %d of level %d is missing", i, level)
		default:
			w := want(i)
			if list[at].Root != w.Root || !slices.Equal(list[at].Data, w.Data) {
				v.fault(0, "tile %d of level %d does not follow from what is below it", i, level)
			}
		}
	}
}

// span verifies the events after a place to another. after is a whole number
// of tiles; so is last, or it is the end of the log.
func (v *verifier) span(ctx context.Context, g *ground, after, last int64) error {
	events, err := block(ctx, v.q, after, last)
	if err != nil {
		return err
	}
	stored, err := storedTiles(ctx, v.q, 0, after/merkle.Width, last/merkle.Width)
	if err != nil {
		return err
	}
	v.events(events)
	var targets map[place]bool
	if v.sum != nil {
		v.sum.expect(events)
	} else if targets, err = targetsOf(ctx, v.q, events); err != nil {
		return err
	}
	leaves := make([]merkle.Hash, last-after) // the tree's
	known := make([]bool, last-after)
	put := func(from int64, list []merkle.Hash) {
		for i, leaf := range list {
			if at := from + int64(i) - after; at >= 0 && at < int64(len(leaves)) {
				leaves[at], known[at] = leaf, true
			}
		}
	}
	for i := range stored {
		t := &stored[i]
		list, err := merkle.Unpack(t.Data)
		if err != nil || len(list) != merkle.Width || merkle.Root(list) != t.Root || g.roots[t.Index] != t.Root {
			v.fault(0, "tile %d of level 0 has not its root", t.Index)
		}
		put(t.Index*merkle.Width, list)
	}
	if end := g.head.Edge.Size(); last == end {
		put(end/merkle.Width*merkle.Width, g.head.Edge.Leaves())
	}
	for i := after / merkle.Width; i < last/merkle.Width; i++ {
		if !known[i*merkle.Width-after] {
			v.fault(0, "tile %d of level 0 is missing", i)
		}
	}
	v.places(events, after, last, func(e *entry) {
		at := e.Seq - 1 - after
		if known[at] && e.leaf != leaves[at] {
			v.fault(e.Seq, "its bytes are not those under the tree")
		}
		for _, t := range e.Targets {
			if v.sum == nil && !targets[place{Seq: e.Seq, target: t}] {
				v.fault(e.Seq, "its target %s is not in the index", t.ID)
			}
		}
	})
	return v.checkpoints(ctx, g, after, last, leaves)
}

// places goes through the events of a span and tells of places that are empty
// or taken twice.
func (v *verifier) places(events []entry, after, last int64, check func(e *entry)) {
	next := after + 1
	for i := range events {
		e := &events[i]
		for ; next < e.Seq; next++ {
			v.fault(next, "it is missing")
		}
		if e.Seq < next {
			v.fault(e.Seq, "its place is taken twice")
		}
		next = e.Seq + 1
		check(e)
	}
	for ; next <= last; next++ {
		v.fault(next, "it is missing")
	}
}

// events compares every column with what the canonical bytes say, and sets the
// targets the events must have.
func (v *verifier) events(events []entry) {
	for i := range events {
		e := &events[i]
		e.leaf = merkle.LeafHash(e.Canonical)
		if string(e.leaf[:]) != string(e.LeafHash) {
			v.fault(e.Seq, "its leaf hash is not that of its bytes")
		}
		want, err := derive(e.Canonical)
		if err != nil {
			v.fault(e.Seq, "%v", err)
			continue
		}
		if wrong := e.differs(want); len(wrong) > 0 {
			v.fault(e.Seq, "its bytes say otherwise than its %s", strings.Join(wrong, ", "))
		}
		e.Targets = want.places()
		v.targetsN.Add(int64(len(e.Targets)))
	}
}

// places are the targets, each once: the index has one row for what is named
// twice.
func (e *entry) places() []target {
	var out []target
	for _, t := range e.Targets {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// differs names the columns that are not what the canonical bytes say.
func (e *entry) differs(want entry) (wrong []string) {
	for _, c := range [...]struct {
		name string
		same bool
	}{
		{"seq", e.Seq == want.Seq},
		{"event_id", e.ID == want.ID},
		{"event_ts", e.TS.Equal(want.TS)},
		// An action whose class was decided anew keeps its old events where they are.
		{"retention_class", e.Class == want.Class || e.Class == firstClass(e.Action)},
		{"occurred_at", e.OccurredAt.Equal(want.OccurredAt)},
		{"recorded_at", e.RecordedAt.Equal(want.RecordedAt)},
		{"source", e.Source == want.Source},
		{"action", e.Action == want.Action},
		{"actor_type", e.ActorType == want.ActorType},
		{"actor_id", e.ActorID == want.ActorID},
		{"outcome", e.Outcome == want.Outcome},
		{"request_id", e.RequestID == want.RequestID},
	} {
		if !c.same {
			wrong = append(wrong, c.name)
		}
	}
	return wrong
}

// firstClass is the rule of the first release, before the catalogue.
func firstClass(action string) string {
	for _, p := range [...]string{"payment.", "ledger.", "invoice.", "refund."} {
		if strings.HasPrefix(action, p) {
			return "financial"
		}
	}
	return "security"
}

// checkpoints verifies those whose size lies in a span: the root must be the
// one that the tree had, the signatures those of our keys.
func (v *verifier) checkpoints(ctx context.Context, g *ground, after, last int64, leaves []merkle.Hash) error {
	list, err := checkpointsIn(ctx, v.q, after, last)
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		tile := c.Size / merkle.Width
		e := g.ladder.Edge(tile, leaves[tile*merkle.Width-after:c.Size-after])
		if root := e.Root(); string(root[:]) != string(c.Root) {
			v.fault(c.Size, "the checkpoint here has another root than the tree had")
		}
		v.signatures(c)
	}
	return nil
}

func (v *verifier) signatures(c *storedCheckpoint) {
	if v.log == nil {
		return
	}
	others := []note.Verifier{}
	if v.witness != nil {
		others = append(others, v.witness)
	}
	said, n, err := notary.Open(c.text(), v.log, others...)
	switch {
	case err != nil:
		v.fault(c.Size, "the checkpoint here: %v", err)
	case said.Tree != c.tree() || said.Origin != v.origin || !notary.Exact(n):
		v.fault(c.Size, "the checkpoint here says otherwise than its note")
	case c.Lines != "" && v.witness != nil && !notary.SignedBy(n, v.witness):
		v.fault(c.Size, "the checkpoint here lacks the witness's signature")
	}
}
