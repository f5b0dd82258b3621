package admin

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/manas360/platform/pkg/pg"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// metricsServer tells what was counted.
type metricsServer struct {
	adminv1.UnimplementedAdminMetricsServiceServer
	*server
}

var steps = map[adminv1.Granularity]int{adminv1.Granularity_WEEK: byWeek, adminv1.Granularity_MONTH: byMonth} // else byDay

// wish is what every request for numbers says.
type wish interface {
	GetStartDate() string
	GetEndDate() string
	GetGranularity() adminv1.Granularity
}

// look reads a request, has it answered from one picture of the rollups, and
// records the look.
func (s *metricsServer) look(ctx context.Context, r wish, what string, answer func(ctx context.Context, q asked) error) error {
	caller, err := operator(ctx)
	if err != nil {
		return err
	}
	q := asked{}
	if q.span, err = parseSpan(r.GetStartDate(), r.GetEndDate(), s.now()); err != nil {
		return err
	}
	if what != "overview" {
		if q.parts, err = q.span.parts(steps[r.GetGranularity()]); err != nil {
			return err
		}
	}
	if q.at, err = s.tellable(ctx); err != nil {
		return err
	}
	err = s.picture(ctx, func(ctx context.Context, tx pg.Querier) error {
		q.q = tx
		return answer(ctx, q)
	})
	if err != nil {
		return err
	}
	return s.record(ctx, metricsRead(caller, what, s.now()))
}

func (s *metricsServer) GetOverview(ctx context.Context, r *adminv1.GetOverviewRequest) (*adminv1.GetOverviewResponse, error) {
	out := &adminv1.GetOverviewResponse{}
	err := s.look(ctx, r, "overview", func(ctx context.Context, q asked) error {
		b, err := s.book(ctx, q, accountMetrics, liveMetrics, payingMetrics, moneyMetrics, paymentMetrics)
		if err != nil {
			return err
		}
		if out.Users, err = s.users(ctx, q, b); err != nil {
			return err
		}
		if out.Subscriptions, err = s.subscriptions(ctx, q, b); err != nil {
			return err
		}
		out.Revenue, out.Payments = packEarned(b.earned(q.span)), packPayments(b.sum(q.span, paymentMetrics...))
		out.StartDate, out.EndDate = q.first.Format(time.DateOnly), q.last.Format(time.DateOnly)
		if q.at != nil {
			out.RebuiltAt = timestamppb.New(*q.at)
		}
		return nil
	})
	return out, err
}

func (s *metricsServer) GetRevenue(ctx context.Context, r *adminv1.GetRevenueRequest) (*adminv1.GetRevenueResponse, error) {
	out := &adminv1.GetRevenueResponse{}
	err := s.look(ctx, r, "revenue", func(ctx context.Context, q asked) error {
		b, err := s.book(ctx, q, payingMetrics, moneyMetrics)
		if err != nil {
			return err
		}
		paying := b.stood(q.last, "paying_from", "paying_until")
		out.Revenue, out.Arr = packEarned(b.earned(q.span)), rupees(paying.Minor)
		out.Arpu = rupees(share(share(paying.Minor, 12), paying.N))
		out.PayoutsDue = rupees(b.stood(q.last, "due", "").Minor)
		for _, p := range q.parts {
			x := packEarned(b.earned(p))
			out.Points = append(out.Points, &adminv1.GetRevenueResponse_RevenuePoint{
				Date: p.first.Format(time.DateOnly), Gross: x.GetGross(), Net: x.GetNet(), Tax: x.GetTax(), Refunds: x.GetRefunds(), Mrr: x.GetMrr(),
			})
		}
		return nil
	})
	return out, err
}

func (s *metricsServer) GetUserMetrics(ctx context.Context, r *adminv1.GetUserMetricsRequest) (*adminv1.GetUserMetricsResponse, error) {
	out := &adminv1.GetUserMetricsResponse{}
	err := s.look(ctx, r, "users", func(ctx context.Context, q asked) error {
		b, err := s.book(ctx, q, accountMetrics)
		if err != nil {
			return err
		}
		if out.Users, err = s.users(ctx, q, b); err != nil {
			return err
		}
		today, err := s.active(ctx, q.q, span{q.last, q.last})
		if err != nil {
			return err
		}
		month, err := s.active(ctx, q.q, span{q.last.Add(-(defaultDays - 1) * oneDay), q.last})
		if err != nil {
			return err
		}
		out.DailyActive, out.MonthlyActive = counted(today), counted(month)
		for _, p := range q.parts {
			// A day's people are a rollup; a longer part's must be told apart.
			here := b.sum(p, "active")["active"].N
			if p.days() > 1 {
				if here, err = s.active(ctx, q.q, p); err != nil {
					return err
				}
			}
			out.Points = append(out.Points, &adminv1.GetUserMetricsResponse_UserPoint{
				Date: p.first.Format(time.DateOnly), New: counted(b.sum(p, "created")["created"].N), Active: counted(here),
				Total: counted(b.stood(p.last, "created", "deleted").N),
			})
		}
		return nil
	})
	return out, err
}

func (s *metricsServer) GetSubscriptionMetrics(ctx context.Context, r *adminv1.GetSubscriptionMetricsRequest) (*adminv1.GetSubscriptionMetricsResponse, error) {
	out := &adminv1.GetSubscriptionMetricsResponse{}
	err := s.look(ctx, r, "subscriptions", func(ctx context.Context, q asked) error {
		b, err := s.book(ctx, q, liveMetrics, payingMetrics)
		if err != nil {
			return err
		}
		if out.Subscriptions, err = s.subscriptions(ctx, q, b); err != nil {
			return err
		}
		t, err := s.trials(ctx, q.q, q.span)
		if err != nil {
			return err
		}
		out.Trials, out.Converted, out.TrialConversionRate = counted(t.Began), counted(t.Converted), ratio(t.Converted, t.Began-t.Running)
		out.Paying = counted(b.stood(q.last, "paying_from", "paying_until").N)
		for _, p := range q.parts {
			x := b.sum(p, liveMetrics...)
			out.Points = append(out.Points, &adminv1.GetSubscriptionMetricsResponse_SubscriptionPoint{
				Date: p.first.Format(time.DateOnly), Started: counted(x["live_from"].N), Ended: counted(x["live_until"].N),
				Live: counted(b.stood(p.last, "live_from", "live_until").N), Paying: counted(b.stood(p.last, "paying_from", "paying_until").N),
			})
		}
		return nil
	})
	return out, err
}

func (s *metricsServer) GetPaymentMetrics(ctx context.Context, r *adminv1.GetPaymentMetricsRequest) (*adminv1.GetPaymentMetricsResponse, error) {
	out := &adminv1.GetPaymentMetricsResponse{ByProvider: map[string]*adminv1.PaymentFigures{}, ByMethod: map[string]*adminv1.PaymentFigures{}}
	err := s.look(ctx, r, "payments", func(ctx context.Context, q asked) error {
		b, err := s.book(ctx, q, paymentMetrics)
		if err != nil {
			return err
		}
		out.Payments = packPayments(b.sum(q.span, paymentMetrics...))
		for name, x := range b.by(q.span, func(c rolled) string { return c.A }, paymentMetrics...) {
			out.ByProvider[name] = packPayments(x)
		}
		for name, x := range b.by(q.span, method, paymentMetrics...) {
			out.ByMethod[name] = packPayments(x)
		}
		for _, p := range q.parts {
			out.Points = append(out.Points, &adminv1.GetPaymentMetricsResponse_PaymentPoint{
				Date: p.first.Format(time.DateOnly), Payments: packPayments(b.sum(p, paymentMetrics...)),
			})
		}
		return nil
	})
	return out, err
}

func method(c rolled) string {
	if c.B == "" {
		return "unknown"
	}
	return c.B
}

func (s *metricsServer) RebuildMetrics(ctx context.Context, r *adminv1.RebuildMetricsRequest) (*adminv1.RebuildMetricsResponse, error) {
	caller, err := operator(ctx)
	if err != nil {
		return nil, err
	}
	err = s.act(ctx, metricsRebuild(caller, r.GetReason(), s.now()), func(ctx context.Context, tx pg.Tx) error { return s.want(ctx, tx) })
	if err != nil {
		return nil, err
	}
	s.recountSoon()
	return &adminv1.RebuildMetricsResponse{}, nil
}

// users is who there is.
func (s *metricsServer) users(ctx context.Context, q asked, b *book) (*adminv1.UserFigures, error) {
	here, err := s.active(ctx, q.q, q.span)
	return &adminv1.UserFigures{
		Total: counted(b.stood(q.last, "created", "deleted").N), New: counted(b.sum(q.span, "created")["created"].N), Active: counted(here),
	}, err
}

// subscriptions is what people hold, and who left.
func (s *metricsServer) subscriptions(ctx context.Context, q asked, b *book) (*adminv1.SubscriptionFigures, error) {
	c, err := s.churn(ctx, q.q, q.span)
	out := &adminv1.SubscriptionFigures{
		ByPlan: map[string]int32{}, Live: counted(b.stood(q.last, "live_from", "live_until").N), ChurnRate: ratio(c.Lost, c.Began),
	}
	for plan, n := range b.plans(q.last) {
		if n > 0 {
			out.ByPlan[plan] = counted(n)
		}
	}
	return out, err
}

func packPayments(t tally) *adminv1.PaymentFigures {
	won, lost := t["succeeded"].N, t["failed"].N
	return &adminv1.PaymentFigures{
		Succeeded: counted(won), Failed: counted(lost), Pending: counted(t["pending"].N), SuccessRate: ratio(won, won+lost),
	}
}

func packEarned(e earned) *adminv1.RevenueFigures {
	return &adminv1.RevenueFigures{Gross: rupees(e.Gross), Net: rupees(e.Net), Tax: rupees(e.Tax), Refunds: rupees(e.Refunds), Mrr: rupees(e.MRR)}
}

func rupees(minor int64) *typev1.Money {
	return &typev1.Money{CurrencyCode: currency, AmountMinor: minor}
}
