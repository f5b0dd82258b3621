package admin

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/outbox"
	"github.com/manas360/platform/pkg/token"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// inboxOf delivers to admin as the services' relays do.
type inboxOf struct {
	*outbox.Inbox
	mu   sync.Mutex // guards from
	from string
}

func newInbox(s *server) *inboxOf {
	in := &inboxOf{}
	in.Inbox = outbox.NewInbox(s.db, schema, s.now, func(context.Context) string { return in.from }, s.handlers())
	return in
}

func (in *inboxOf) tell(t *testing.T, from string, m proto.Message) eventv1.DeliverResponse_Result_Outcome {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.from = from
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.Must(uuid.NewV7())
	r, err := in.Deliver(t.Context(), &eventv1.DeliverRequest{Events: []*eventv1.Event{{
		Id: id[:], Type: string(m.ProtoReflect().Descriptor().FullName()), Payload: payload, OccurredAt: timestamppb.Now(),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetResults()[0].GetOutcome()
}

// analyst may look at numbers.
func analyst(t *testing.T) context.Context {
	t.Helper()
	return token.NewContext(t.Context(), &token.Caller{
		UserID: uuid.Must(uuid.NewV7()), Permissions: []string{"analytics.read"}, AMR: []string{"pwd", "otp", "mfa"}, AuthTime: time.Now(),
	})
}

// counting is a service whose first count from the ground is done.
func counting(t *testing.T) (*metricsServer, *inboxOf) {
	t.Helper()
	s, _ := open(t)
	s.peers.figures = nil
	if err := s.recount(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &metricsServer{server: s}, newInbox(s)
}

// facts is what happened, in the form the services tell it.
type facts struct {
	accounts      []*adminv1.AccountFigure
	active        []*adminv1.ActiveFigure
	payments      []*adminv1.PaymentFigure
	journals      []*adminv1.JournalFigure
	subscriptions []*adminv1.SubscriptionFigure
}

var opening = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func someFacts(r *rand.Rand) facts {
	var f facts
	at := func() *timestamppb.Timestamp {
		return timestamppb.New(opening.Add(time.Duration(r.IntN(40)) * 24 * time.Hour))
	}
	after := func(t *timestamppb.Timestamp) *timestamppb.Timestamp {
		if t == nil || r.IntN(2) == 0 {
			return nil
		}
		return timestamppb.New(t.AsTime().Add(time.Duration(r.IntN(20)) * 24 * time.Hour))
	}
	some := func() []byte { u := uuid.New(); return u[:] }
	var people [][]byte
	for range 12 {
		a := &adminv1.AccountFigure{UserId: some(), Version: 1, CreatedAt: at()}
		if r.IntN(4) == 0 {
			a.DeletedAt = after(a.GetCreatedAt())
		}
		people, f.accounts = append(people, a.GetUserId()), append(f.accounts, a)
	}
	for range 40 {
		f.active = append(f.active, &adminv1.ActiveFigure{UserId: people[r.IntN(len(people))], Day: at().AsTime().Format(time.DateOnly)})
	}
	states := []string{"CREATED", "PENDING", "SUCCEEDED", "FAILED", "EXPIRED", "CANCELLED", "REFUNDED", "PARTIALLY_REFUNDED"}
	for range 40 {
		f.payments = append(f.payments, &adminv1.PaymentFigure{
			PaymentId: some(), Version: int64(1 + r.IntN(5)), State: states[r.IntN(len(states))], Provider: []string{"phonepe", "stripe"}[r.IntN(2)],
			Method: []string{"", "UPI", "CARD"}[r.IntN(3)], Currency: "INR", AmountMinor: r.Int64N(1e6), CreatedAt: at(),
		})
		f.journals = append(f.journals, &adminv1.JournalFigure{
			JournalId: some(), OccurredAt: at(), Currency: "INR", GrossMinor: r.Int64N(1e6), RefundMinor: r.Int64N(1e4), TaxMinor: r.Int64N(1e5) - 5e4, DueMinor: r.Int64N(1e5) - 3e4,
		})
	}
	for range 40 {
		x := &adminv1.SubscriptionFigure{
			SubscriptionId: some(), Version: 1, UserId: people[r.IntN(len(people))], PlanCode: []string{"free", "basic", "premium"}[r.IntN(3)],
			Cycle: "MONTHLY", State: "ACTIVE", Currency: "INR", YearMinor: 12 * r.Int64N(1e6), LiveFrom: at(),
		}
		x.LiveUntil = after(x.GetLiveFrom())
		if r.IntN(2) == 0 {
			x.PayingFrom = x.GetLiveFrom()
			x.PayingUntil = after(x.GetPayingFrom())
		}
		if r.IntN(3) == 0 {
			x.TrialAt, x.State = x.GetLiveFrom(), []string{"TRIALING", "EXPIRED"}[r.IntN(2)]
		}
		f.subscriptions = append(f.subscriptions, x)
	}
	return f
}

func (f facts) all() map[proto.Message]string {
	out := map[proto.Message]string{}
	for _, m := range f.accounts {
		out[m] = "auth"
	}
	for _, m := range f.active {
		out[m] = "auth"
	}
	for _, m := range f.payments {
		out[m] = "payment"
	}
	for _, m := range f.journals {
		out[m] = "payment"
	}
	for _, m := range f.subscriptions {
		out[m] = "subscription"
	}
	return out
}

func on(t *timestamppb.Timestamp) string {
	if t == nil {
		return "9999"
	}
	return t.AsTime().UTC().Format(time.DateOnly)
}

// naive counts everything again, in the plainest way there is.
func (f facts) naive(first, last string) *adminv1.GetOverviewResponse {
	in := func(d string) bool { return d >= first && d <= last }
	out := &adminv1.GetOverviewResponse{
		Users: &adminv1.UserFigures{}, Subscriptions: &adminv1.SubscriptionFigures{ByPlan: map[string]int32{}}, Payments: &adminv1.PaymentFigures{},
		StartDate: first, EndDate: last,
	}
	for _, a := range f.accounts {
		if on(a.GetCreatedAt()) <= last && on(a.GetDeletedAt()) > last {
			out.Users.Total++
		}
		if in(on(a.GetCreatedAt())) {
			out.Users.New++
		}
	}
	here := map[string]bool{}
	for _, a := range f.active {
		here[string(a.GetUserId())] = here[string(a.GetUserId())] || in(a.GetDay())
	}
	for _, yes := range here {
		if yes {
			out.Users.Active++
		}
	}
	began, stays, year := map[string]bool{}, map[string]bool{}, int64(0)
	for _, x := range f.subscriptions {
		if on(x.GetLiveFrom()) <= last && on(x.GetLiveUntil()) > last {
			out.Subscriptions.ByPlan[x.GetPlanCode()]++
			out.Subscriptions.Live++
		}
		from, until := on(x.GetPayingFrom()), on(x.GetPayingUntil())
		if from < first && until >= first {
			began[string(x.GetUserId())] = true
		}
		if from <= last && until > last {
			stays[string(x.GetUserId())] = true
			year += x.GetYearMinor()
		}
	}
	lost := int64(0)
	for who := range began {
		if !stays[who] {
			lost++
		}
	}
	out.Subscriptions.ChurnRate = ratio(lost, int64(len(began)))
	var gross, tax, back int64
	for _, j := range f.journals {
		if in(on(j.GetOccurredAt())) {
			gross, tax, back = gross+j.GetGrossMinor(), tax+j.GetTaxMinor(), back+j.GetRefundMinor()
		}
	}
	out.Revenue = &adminv1.RevenueFigures{Gross: rupees(gross), Net: rupees(gross - tax - back), Tax: rupees(tax), Refunds: rupees(back), Mrr: rupees(share(year, 12))}
	for _, p := range f.payments {
		if !in(on(p.GetCreatedAt())) {
			continue
		}
		switch p.GetState() {
		case "CREATED", "PENDING":
			out.Payments.Pending++
		case "FAILED", "EXPIRED", "CANCELLED":
			out.Payments.Failed++
		default:
			out.Payments.Succeeded++
		}
	}
	out.Payments.SuccessRate = ratio(int64(out.GetPayments().GetSucceeded()), int64(out.GetPayments().GetSucceeded()+out.GetPayments().GetFailed()))
	return out
}

// TestOverviewIsTheNaiveCount tells random facts in random order, some twice,
// some in an older version first or last, and compares with a recount:
// audit_admin_ops.md B-15. Counting anew then changes nothing.
func TestOverviewIsTheNaiveCount(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s, in := counting(t)
			f := someFacts(r)
			for m, from := range f.all() {
				in.tell(t, from, m)
				if p, ok := m.(*adminv1.PaymentFigure); ok { // news of before come late
					old := proto.CloneOf(p)
					old.Version, old.State = 0, "CREATED"
					in.tell(t, from, old)
				}
				if r.IntN(3) == 0 {
					in.tell(t, from, m)
				}
			}
			compare := func(when string) {
				for _, d := range [][2]string{{"2026-03-01", "2026-03-31"}, {"2026-03-10", "2026-03-10"}, {"2026-01-01", "2026-12-31"}, {"2026-04-01", "2026-05-15"}} {
					got, err := s.GetOverview(analyst(t), &adminv1.GetOverviewRequest{StartDate: d[0], EndDate: d[1]})
					if err != nil {
						t.Fatal(err)
					}
					got.RebuiltAt = nil
					if diff := cmp.Diff(f.naive(d[0], d[1]), got, protocmp.Transform()); diff != "" {
						t.Errorf("%s, %v (-recount +told):\n%s", when, d, diff)
					}
				}
			}
			compare("as told")
			if _, err := s.db.Pool.Exec(t.Context(), `UPDATE admin.rollup SET n = n + 7, minor = minor - 1`); err != nil {
				t.Fatal(err)
			}
			if _, err := s.RebuildMetrics(analyst(t), &adminv1.RebuildMetricsRequest{Reason: "somebody changed the rollups"}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.GetOverview(analyst(t), &adminv1.GetOverviewRequest{}); !fail.Is(err, fail.Unavailable) {
				t.Errorf("while being counted anew: %v, want UNAVAILABLE", err)
			}
			if err := s.recount(t.Context()); err != nil {
				t.Fatal(err)
			}
			compare("counted anew")
		})
	}
}

// TestSeriesAddUp compares each series with the whole: no point is lost where
// weeks and months are cut.
func TestSeriesAddUp(t *testing.T) {
	s, in := counting(t)
	f := someFacts(rand.New(rand.NewPCG(9, 9)))
	for m, from := range f.all() {
		in.tell(t, from, m)
	}
	for _, g := range []adminv1.Granularity{adminv1.Granularity_GRANULARITY_UNSPECIFIED, adminv1.Granularity_DAY, adminv1.Granularity_WEEK, adminv1.Granularity_MONTH} {
		const first, last = "2026-03-04", "2026-04-20"
		want := f.naive(first, last)
		rev, err := s.GetRevenue(analyst(t), &adminv1.GetRevenueRequest{StartDate: first, EndDate: last, Granularity: g})
		if err != nil {
			t.Fatal(err)
		}
		var gross, tax int64
		for _, p := range rev.GetPoints() {
			gross, tax = gross+p.GetGross().GetAmountMinor(), tax+p.GetTax().GetAmountMinor()
		}
		if gross != want.GetRevenue().GetGross().GetAmountMinor() || tax != want.GetRevenue().GetTax().GetAmountMinor() {
			t.Errorf("%s: the points' gross and tax are %d and %d, want %v", g, gross, tax, want.GetRevenue())
		}
		pays, err := s.GetPaymentMetrics(analyst(t), &adminv1.GetPaymentMetricsRequest{StartDate: first, EndDate: last, Granularity: g})
		if err != nil {
			t.Fatal(err)
		}
		for name, part := range map[string]map[string]*adminv1.PaymentFigures{"provider": pays.GetByProvider(), "method": pays.GetByMethod()} {
			sum := int32(0)
			for _, p := range part {
				sum += p.GetSucceeded() + p.GetFailed() + p.GetPending()
			}
			if all := want.GetPayments(); sum != all.GetSucceeded()+all.GetFailed()+all.GetPending() {
				t.Errorf("%s: by %s there are %d payments, want %v", g, name, sum, all)
			}
		}
		people, err := s.GetUserMetrics(analyst(t), &adminv1.GetUserMetricsRequest{StartDate: first, EndDate: last, Granularity: g})
		if err != nil {
			t.Fatal(err)
		}
		came := int32(0)
		for _, p := range people.GetPoints() {
			came += p.GetNew()
		}
		end := people.GetPoints()[len(people.GetPoints())-1]
		if came != want.GetUsers().GetNew() || end.GetTotal() != want.GetUsers().GetTotal() {
			t.Errorf("%s: %d came and %d are there, want %v", g, came, end.GetTotal(), want.GetUsers())
		}
		subs, err := s.GetSubscriptionMetrics(analyst(t), &adminv1.GetSubscriptionMetricsRequest{StartDate: first, EndDate: last, Granularity: g})
		if err != nil {
			t.Fatal(err)
		}
		if n := subs.GetPoints()[len(subs.GetPoints())-1].GetLive(); n != want.GetSubscriptions().GetLive() {
			t.Errorf("%s: %d live at the end, want %d", g, n, want.GetSubscriptions().GetLive())
		}
	}
}

// TestNothingIsInvented asks a system without a customer: zeros, every day of
// the range, and an error while nothing is counted.
func TestNothingIsInvented(t *testing.T) {
	s, _ := counting(t)
	got, err := s.GetOverview(analyst(t), &adminv1.GetOverviewRequest{StartDate: "2026-01-01", EndDate: "2026-01-31"})
	if err != nil {
		t.Fatal(err)
	}
	got.RebuiltAt = nil
	if diff := cmp.Diff((facts{}).naive("2026-01-01", "2026-01-31"), got, protocmp.Transform()); diff != "" {
		t.Errorf("an empty system (-want +got):\n%s", diff)
	}
	rev, err := s.GetRevenue(analyst(t), &adminv1.GetRevenueRequest{StartDate: "2026-01-01", EndDate: "2026-01-31"})
	if err != nil || len(rev.GetPoints()) != 31 || rev.GetArpu().GetAmountMinor() != 0 {
		t.Errorf("got %v, %v; want 31 days of nothing", rev, err)
	}
	other, _ := open(t) // whose first count has not been made
	if _, err := (&metricsServer{server: other}).GetOverview(analyst(t), &adminv1.GetOverviewRequest{}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("before the first count: %v, want UNAVAILABLE", err)
	}
	if err := other.recount(t.Context()); err == nil { // its peers serve no figures
		t.Error("counted although a source failed")
	}
}

func TestRangesOfNumbers(t *testing.T) {
	now := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, start, end string
		first, last      string // empty: refused
	}{
		{"none", "", "", "2026-10-25", "2026-11-23"},
		{"one day", "2026-11-23", "2026-11-23", "2026-11-23", "2026-11-23"},
		{"a time of India", "2026-11-23T02:00:00+05:30", "2026-11-23T12:00:00Z", "2026-11-22", "2026-11-23"},
		{"backwards", "2026-11-24", "2026-11-23", "", ""},
		{"too long", "2020-01-01", "2026-11-23", "", ""},
		{"no date", "yesterday", "", "", ""},
		{"no such day", "2026-02-30", "2026-03-01", "", ""},
		{"year nothing", "0000-01-01", "", "", ""},
		{"year much", "", "9999-12-31", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSpan(tt.start, tt.end, now)
			if tt.first == "" {
				if !fail.Is(err, fail.InvalidArgument) {
					t.Errorf("got %v, %v; want INVALID_ARGUMENT", got, err)
				}
				return
			}
			if err != nil || got.first.Format(time.DateOnly) != tt.first || got.last.Format(time.DateOnly) != tt.last {
				t.Errorf("got %v, %v; want %s to %s", got, err, tt.first, tt.last)
			}
		})
	}
}

// TestFiguresComeFromTheirOwner refuses what somebody else says, and what is
// not a figure, for good.
func TestFiguresComeFromTheirOwner(t *testing.T) {
	_, in := counting(t)
	some := uuid.New()
	p := &adminv1.PaymentFigure{PaymentId: some[:], Version: 1, State: "SUCCEEDED", CreatedAt: timestamppb.Now()}
	for name, tt := range map[string]struct {
		from string
		m    proto.Message
	}{
		"another service": {"auth", p},
		"no id":           {"payment", &adminv1.PaymentFigure{State: "SUCCEEDED", CreatedAt: timestamppb.Now()}},
		"unknown state":   {"payment", &adminv1.PaymentFigure{PaymentId: some[:], State: "WON", CreatedAt: timestamppb.Now()}},
		"no day":          {"auth", &adminv1.ActiveFigure{UserId: some[:], Day: "today"}},
	} {
		if got := in.tell(t, tt.from, tt.m); got != eventv1.DeliverResponse_Result_REJECTED {
			t.Errorf("%s: %v, want REJECTED", name, got)
		}
	}
	if got := in.tell(t, "payment", p); got != eventv1.DeliverResponse_Result_APPLIED {
		t.Errorf("the owner's word: %v", got)
	}
}
