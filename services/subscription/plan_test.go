package subscription

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/manas360/platform/pkg/fail"
	subscriptionv1 "github.com/manas360/platform/proto/gen/manas/subscription/v1"
)

func cmpInt(n int64) string { return strconv.FormatInt(n, 10) }

func TestListPlans(t *testing.T) {
	s := newStand(t)
	var header metadata.MD
	whole, err := s.public.ListPlans(t.Context(), &subscriptionv1.ListPlansRequest{}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.GetPlans()) != 8 || whole.GetTotalSize() != 8 || whole.GetNextPageToken() != "" {
		t.Fatalf("whole list: %d of %d, next %q", len(whole.GetPlans()), whole.GetTotalSize(), whole.GetNextPageToken())
	}
	etag := header.Get("etag")
	if len(etag) != 1 || len(etag[0]) < 10 || etag[0][0] != '"' {
		t.Errorf("etag = %q", etag)
	}

	var paged []string
	seen := map[string]bool{}
	for tok := ""; ; {
		r, err := s.public.ListPlans(t.Context(), &subscriptionv1.ListPlansRequest{PageSize: 3, PageToken: tok}, grpc.Header(&header))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.GetPlans() {
			paged = append(paged, p.GetCode())
		}
		seen[header.Get("etag")[0]] = true
		if tok = r.GetNextPageToken(); tok == "" {
			break
		}
	}
	var codes []string
	for _, p := range whole.GetPlans() {
		codes = append(codes, p.GetCode())
	}
	if diff := cmp.Diff(codes, paged); diff != "" {
		t.Errorf("pages differ from the whole (-whole +pages):\n%s", diff)
	}
	if len(seen) != 3 {
		t.Errorf("%d etags for 3 pages", len(seen))
	}
	again, err := s.public.ListPlans(t.Context(), &subscriptionv1.ListPlansRequest{PageSize: 3}, grpc.Header(&header))
	if err != nil || !seen[header.Get("etag")[0]] {
		t.Errorf("etag changed without the content: %v", err)
	}
	_, err = s.public.ListPlans(t.Context(), &subscriptionv1.ListPlansRequest{PageToken: again.GetNextPageToken() + "x"})
	_ = refused(t, err, fail.InvalidArgument)
}

func TestCatalogueLoadsOnceForAll(t *testing.T) {
	c := &clock{at: time.Unix(1e9, 0)}
	var loads int
	gate := make(chan struct{})
	cat := &catalog{now: c.now, load: func(context.Context) ([]plan, error) {
		<-gate
		loads++
		return []plan{{Code: "free"}}, nil
	}}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := cat.all(t.Context()); err != nil {
				t.Errorf("all: %v", err)
			}
		})
	}
	close(gate)
	all.Wait()
	if loads != 1 {
		t.Errorf("loaded %d times for 20 callers", loads)
	}
	if _, err := cat.all(t.Context()); err != nil || loads != 1 {
		t.Errorf("loaded again while fresh: %v", err)
	}
	c.move(freshness)
	if _, err := cat.all(t.Context()); err != nil || loads != 2 {
		t.Errorf("not loaded again when stale: %v", err)
	}
	c.move(freshness)
	cat.load = func(context.Context) ([]plan, error) { return nil, errors.New("down") }
	if _, err := cat.all(t.Context()); err == nil {
		t.Error("an outage was hidden")
	}
}
