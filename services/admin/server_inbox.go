package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/pg"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

const figuresAtOnce = 500

// handlers is what admin listens to: the figures it counts.
func (s *Service) handlers() map[string]outbox.Handler {
	out := map[string]outbox.Handler{}
	for name, t := range figureTypes {
		out[name] = outbox.Handler{Source: t.source, Apply: func(ctx context.Context, tx pg.Tx, ev *eventv1.Event) error {
			f, err := t.read(ev)
			if err != nil {
				return err
			}
			return s.count(ctx, tx, f)
		}}
	}
	return out
}

const recountEvery = time.Minute // when nobody asked

// recounting counts anew whenever that is wanted, until ctx ends.
func (s *Service) recounting(ctx context.Context) error {
	tick := time.NewTicker(recountEvery)
	defer tick.Stop()
	for {
		if err := s.recount(ctx); err != nil {
			return err // started again after a pause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.recall:
		case <-tick.C:
		}
	}
}

// recountSoon wakes recounting.
func (s *Service) recountSoon() {
	select {
	case s.recall <- struct{}{}:
	default: // it is awake already
	}
}

// recount reads every figure there is from the services themselves and sums
// them up, if that is wanted and not done. Repeatable at any point.
func (s *Service) recount(ctx context.Context) error {
	r, err := s.rebuildState(ctx, s.db.Pool)
	if err != nil || r.Done >= r.Wanted {
		return err
	}
	for name, from := range s.peers.figures {
		if err := s.gather(ctx, name, from); err != nil {
			return err
		}
	}
	return s.sum(ctx, r.Wanted)
}

// gather pages through one service's figures.
func (s *Service) gather(ctx context.Context, name string, from adminv1.FigureInternalServiceClient) error {
	token := ""
	for {
		r, err := from.ListFigures(ctx, &adminv1.ListFiguresRequest{PageSize: figuresAtOnce, PageToken: token})
		if err != nil {
			return fmt.Errorf("ask %s for its figures: %w", name, err)
		}
		list := make([]figure, 0, len(r.GetFigures()))
		for _, ev := range r.GetFigures() {
			t, ok := figureTypes[ev.GetType()]
			if !ok || t.source != name {
				return fmt.Errorf("a figure of type %s from %s", ev.GetType(), name)
			}
			f, err := t.read(ev)
			if err != nil {
				return fmt.Errorf("a figure from %s: %w", name, err)
			}
			list = append(list, f)
		}
		if err := s.keep(ctx, list); err != nil {
			return fmt.Errorf("keep %s's figures: %w", name, err)
		}
		if token = r.GetNextPageToken(); token == "" {
			return nil
		}
	}
}
