package payment

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	"github.com/manas360/platform/services/payment/factstate"
)

const completed = "checkout.order.completed"

// settledOnce checks that one capture left exactly one of everything.
func (r *rig) settledOnce(paymentID uuid.UUID) {
	r.t.Helper()
	p := r.read(paymentID)
	if p.State != factstate.Succeeded || p.CapturedMinor != price || p.PaidAt == nil || p.RedirectURL != "" || p.Method != "UPI_QR" {
		r.t.Errorf("payment %+v", p)
	}
	for what, sql := range map[string]string{
		"journals":       `SELECT count(*) FROM payment.journal`,
		"state events":   `SELECT count(*) FROM payment.outbox WHERE destination = 'subscription'`,
		"clearing / 299": `SELECT sum(amount_minor) / 29900 FROM payment.posting WHERE account LIKE 'gateway_clearing:%'`,
	} {
		if n := r.number(sql); n != 1 {
			r.t.Errorf("%d %s, want 1", n, what)
		}
	}
	for _, action := range []string{"payment.created", "payment.succeeded", "ledger.posted"} {
		if n := r.audited(action); n != 1 {
			r.t.Errorf("%d of %s, want 1", n, action)
		}
	}
	var b []byte
	if err := r.db.Pool.QueryRow(r.t.Context(), `SELECT payload FROM payment.outbox WHERE destination = 'subscription'`).Scan(&b); err != nil {
		r.t.Fatal(err)
	}
	var ev paymentv1.PaymentStateChanged
	if err := proto.Unmarshal(b, &ev); err != nil {
		r.t.Fatal(err)
	}
	if ev.GetState() != paymentv1.Payment_SUCCEEDED || ev.GetAmount().GetAmountMinor() != price || uuid.UUID(ev.GetRequestId()) != p.RequestID || ev.GetVersion() != p.Version {
		r.t.Errorf("event %v", &ev)
	}
}

// Callbacks, polls and syncs at once take the money once. money.md B15, B39
func TestPaidOnce(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	if p.State != factstate.Pending || !strings.HasPrefix(p.RedirectURL, r.bank.URL+"/checkout/") || len(p.MerchantOrderID) > 40 {
		t.Fatalf("opened %+v", p)
	}
	r.work()
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	var wg sync.WaitGroup
	fresh := make(chan bool, 16)
	for range 16 {
		wg.Go(func() {
			duplicate, err := r.receive(t.Context(), "phonepe", signed(), claims(completed, p.MerchantOrderID, "COMPLETED", price))
			if err != nil {
				t.Errorf("receive: %v", err)
			}
			fresh <- !duplicate
		})
		wg.Go(func() { // redirect, poll and sync come through the same door
			if _, err := r.sync(t.Context(), p); err != nil {
				t.Errorf("sync: %v", err)
			}
		})
	}
	wg.Wait()
	close(fresh)
	n := 0
	for f := range fresh {
		if f {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d callbacks were kept as new, want 1", n)
	}
	r.until("the callback is processed", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'PROCESSED'`) == 1
	})
	r.settledOnce(p.ID)
	r.tell("checkout.order.failed", p.MerchantOrderID, "FAILED", price)
	r.until("the late failure is processed", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'PROCESSED'`) == 2
	})
	r.settledOnce(p.ID)
}

func TestLostCallbackIsPolled(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.work()
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	r.advance(firstPoll + time.Second)
	r.until("the poller finds the money", func() bool { return r.read(p.ID).State == factstate.Succeeded })
	r.settledOnce(p.ID)
}

// Money after a failure is taken, and nothing forgets it. money.md B29, B37
func TestFailedThenPaid(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.work()
	r.bank.settle(p.MerchantOrderID, "FAILED")
	r.tell("checkout.order.failed", p.MerchantOrderID, "FAILED", price)
	r.until("it failed", func() bool { return r.read(p.ID).State == factstate.Failed })
	if n := r.audited("payment.failed"); n != 1 {
		t.Errorf("%d of payment.failed, want 1", n)
	}
	again := r.open(newPayment{
		RequestID: p.RequestID, UserID: p.UserID, Purpose: "subscription", Provider: "phonepe", AmountMinor: price, Currency: "INR", TaxableMinor: 25339, IGSTMinor: 4561,
	})
	if again.ID != p.ID || again.State != factstate.Failed || r.bank.count("pay") != 1 {
		t.Errorf("a terminal payment opened again: %+v", again)
	}
	r.bank.settle(p.MerchantOrderID, "COMPLETED") // banks do that
	r.tell(completed, p.MerchantOrderID, "COMPLETED", price)
	r.until("late money is taken", func() bool { return r.read(p.ID).State == factstate.Succeeded })
	if n := r.number(`SELECT count(*) FROM payment.journal`); n != 1 {
		t.Errorf("%d journals, want 1", n)
	}
}

// An amount that is not the order's moves nothing. money.md B17
func TestCallbackClaimsAnotherAmount(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.work()
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	r.tell(completed, p.MerchantOrderID, "COMPLETED", price+100)
	r.until("the claim is refused", func() bool {
		return r.number(`SELECT count(*) FROM payment.webhook_event WHERE state = 'INTEGRITY_FAILED'`) == 1
	})
	if got := r.read(p.ID).State; got != factstate.Pending || r.bank.count("status") != 0 {
		t.Errorf("a false claim made it %s after %d status calls", got, r.bank.count("status"))
	}
	if n := r.audited("payment.integrity_failed"); n != 1 {
		t.Errorf("%d of payment.integrity_failed, want 1", n)
	}
	if r.tell(completed, p.MerchantOrderID, "COMPLETED", price) {
		t.Error("the false claim took the place of the true one")
	}
	r.until("the true one counts", func() bool { return r.read(p.ID).State == factstate.Succeeded })
	r.settledOnce(p.ID)
}

// The provider's own amount is compared, too. money.md B17
func TestProviderCapturedAnotherAmount(t *testing.T) {
	r := newRig(t)
	p := r.open(someOrder())
	r.bank.do(func() { r.bank.orders[p.MerchantOrderID].Amount = price - 1 })
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	for range 2 {
		if _, err := r.sync(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.read(p.ID); got.State != factstate.Pending || got.CapturedMinor != 0 {
		t.Errorf("wrong money was taken: %+v", got)
	}
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE integrity_failed AND needs_review`); n != 1 {
		t.Errorf("%d payments flagged, want 1", n)
	}
	if n := r.audited("payment.integrity_failed"); n != 1 {
		t.Errorf("%d of payment.integrity_failed, want 1", n)
	}
	if n := r.number(`SELECT count(*) FROM payment.journal`); n != 0 {
		t.Errorf("%d journals, want none", n)
	}
}

func TestProviderDown(t *testing.T) {
	for _, tt := range []struct {
		name    string
		op      string
		replies []reply
		state   string // of the attempt after
	}{
		{"token refused", "token", []reply{http.StatusServiceUnavailable}, attemptPrepared},
		{"token cut", "token", []reply{cutBefore}, attemptPrepared},
		{"pay 503", "pay", []reply{http.StatusServiceUnavailable}, attemptUnknown},
		{"pay 429", "pay", []reply{http.StatusTooManyRequests}, attemptPrepared},
		{"pay 401", "pay", []reply{http.StatusUnauthorized}, attemptPrepared},
		{"pay cut before", "pay", []reply{cutBefore}, attemptUnknown},
		{"pay refused", "pay", []reply{http.StatusForbidden}, attemptFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.bank.next(tt.op, tt.replies...)
			in := someOrder()
			_, err := r.create(t.Context(), in)
			if !fail.Is(err, fail.PaymentProviderUnavailable) {
				t.Fatalf("got %v, want PAYMENT_PROVIDER_UNAVAILABLE", err)
			}
			if n := r.number(`SELECT count(*) FROM payment.attempt WHERE state = $1`, tt.state); n != 1 {
				t.Errorf("the attempt is not %s", tt.state)
			}
			p := r.open(in)
			if p.State != factstate.Pending || p.RedirectURL == "" {
				t.Errorf("repeated: %+v", p)
			}
			if again := r.open(in); again.RedirectURL != p.RedirectURL {
				t.Errorf("repeated again: %q, want %q", again.RedirectURL, p.RedirectURL)
			}
			r.bank.do(func() {
				if len(r.bank.orders) != 1 {
					t.Errorf("%d orders at the provider, want 1", len(r.bank.orders))
				}
			})
			if n := r.number(`SELECT count(*) FROM payment.payment`); n != 1 {
				t.Errorf("%d payments, want 1", n)
			}
		})
	}
}

// TestAnswerLost has the provider open the order and the answer never come.
// money.md B14, B18
func TestAnswerLost(t *testing.T) {
	r := newRig(t)
	r.bank.next("pay", cutAfter)
	in := someOrder()
	if _, err := r.create(t.Context(), in); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Fatalf("got %v, want PAYMENT_PROVIDER_UNAVAILABLE", err)
	}
	r.bank.next("status", http.StatusServiceUnavailable)
	if _, err := r.create(t.Context(), in); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Fatalf("got %v, want PAYMENT_PROVIDER_UNAVAILABLE", err)
	}
	if n := r.number(`SELECT count(*) FROM payment.attempt WHERE state = 'unknown' AND next_poll_at IS NOT NULL`); n != 1 {
		t.Fatal("the attempt is not unknown and polled")
	}
	p := r.open(in)
	if p.State != factstate.Pending || r.bank.count("pay") != 1 {
		t.Errorf("%d calls to pay, state %s; want the order that is there", r.bank.count("pay"), p.State)
	}
	r.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := r.sync(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.settledOnce(p.ID)
}

// TestNeverHeardOf lets an order lapse only when it can no longer come up.
func TestNeverHeardOf(t *testing.T) {
	r := newRig(t)
	r.bank.next("pay", cutBefore)
	in := someOrder()
	if _, err := r.create(t.Context(), in); err == nil {
		t.Fatal("opened without an answer")
	}
	var paymentID uuid.UUID
	if err := r.db.Pool.QueryRow(t.Context(), `SELECT id FROM payment.payment`).Scan(&paymentID); err != nil {
		t.Fatal(err)
	}
	p := r.read(paymentID)
	for _, tt := range []struct {
		ahead time.Duration
		want  factstate.State
	}{{orderLife, factstate.Created}, {expiryMargin + time.Minute, factstate.Expired}} {
		r.advance(tt.ahead)
		if _, err := r.sync(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := r.read(paymentID).State; got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// One of many requests calls the provider. money.md B24
func TestCreatedOnceByMany(t *testing.T) {
	r := newRig(t)
	in := someOrder()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p, err := r.create(t.Context(), in)
			if err != nil || p.RedirectURL == "" {
				t.Errorf("create: %v, redirect %q", err, p.RedirectURL)
			}
		})
	}
	wg.Wait()
	if n := r.bank.count("pay"); n != 1 {
		t.Errorf("%d calls to pay, want 1", n)
	}
	if n := r.bank.count("token"); n != 1 {
		t.Errorf("%d tokens fetched, want 1", n)
	}
	other := in
	other.AmountMinor, other.TaxableMinor = price+100, in.TaxableMinor+100
	if _, err := r.create(t.Context(), other); !fail.Is(err, fail.Conflict) {
		t.Errorf("another amount under the same request: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*newPayment){
		"provider":      func(p *newPayment) { p.Provider = "stripe" },
		"currency":      func(p *newPayment) { p.Currency = "USD" },
		"little":        func(p *newPayment) { p.AmountMinor, p.TaxableMinor, p.IGSTMinor = 99, 99, 0 },
		"tax short":     func(p *newPayment) { p.TaxableMinor-- },
		"tax negative":  func(p *newPayment) { p.TaxableMinor, p.IGSTMinor = price+1, -1 },
		"tax overflows": func(p *newPayment) { p.TaxableMinor, p.CGSTMinor = 1<<63-1, 1<<63-1 },
	} {
		in := someOrder()
		change(&in)
		if _, err := r.create(t.Context(), in); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := r.number(`SELECT count(*) FROM payment.payment`) + int64(r.bank.count("pay")); n != 0 {
		t.Errorf("%d traces of refused orders", n)
	}
}

func TestOwn(t *testing.T) {
	r := newRig(t)
	srv := &publicServer{Service: r.Service}
	in := someOrder()
	var all []payment
	for range 3 {
		in.RequestID = uuid.New()
		all = append(all, r.open(in))
	}
	as := func(u uuid.UUID) context.Context {
		return token.NewContext(t.Context(), &token.Caller{UserID: u, Permissions: []string{"payments.read"}})
	}
	first, err := srv.ListPayments(as(in.UserID), &paymentv1.ListPaymentsRequest{PageSize: 2})
	if err != nil || len(first.GetPayments()) != 2 || first.GetTotalSize() != 3 || first.GetPayments()[0].GetId() != id.Format("pay", all[2].ID) {
		t.Fatalf("first page: %v %v", first, err)
	}
	rest, err := srv.ListPayments(as(in.UserID), &paymentv1.ListPaymentsRequest{PageSize: 2, PageToken: first.GetNextPageToken()})
	if err != nil || len(rest.GetPayments()) != 1 || rest.GetNextPageToken() != "" || rest.GetPayments()[0].GetId() != id.Format("pay", all[0].ID) {
		t.Fatalf("second page: %v %v", rest, err)
	}
	stranger := uuid.New()
	if _, err := srv.ListPayments(as(stranger), &paymentv1.ListPaymentsRequest{PageToken: first.GetNextPageToken()}); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("somebody else's token: %v", err)
	}
	for _, pay := range []string{id.Format("pay", all[0].ID), "pay_x", "", id.Format("pay", uuid.New())} {
		who := stranger
		if _, err := srv.GetPayment(as(who), &paymentv1.GetPaymentRequest{Id: pay}); !fail.Is(err, fail.NotFound) {
			t.Errorf("get %q as a stranger: %v", pay, err)
		}
		if _, err := srv.SyncPayment(as(who), &paymentv1.SyncPaymentRequest{Id: pay}); !fail.Is(err, fail.NotFound) {
			t.Errorf("sync %q as a stranger: %v", pay, err)
		}
	}
	got, err := srv.GetPayment(as(in.UserID), &paymentv1.GetPaymentRequest{Id: id.Format("pay", all[0].ID)})
	if err != nil || got.GetPayment().GetRedirectUrl() == "" || got.GetPayment().GetAmount().GetAmountMinor() != price {
		t.Errorf("own: %v %v", got, err)
	}
	r.bank.next("status", http.StatusServiceUnavailable)
	if _, err := srv.SyncPayment(as(in.UserID), &paymentv1.SyncPaymentRequest{Id: id.Format("pay", all[0].ID)}); !fail.Is(err, fail.PaymentProviderUnavailable) {
		t.Errorf("sync while the provider is down: %v", err)
	}
	r.advance(orderLife + time.Minute)
	got, err = srv.GetPayment(as(in.UserID), &paymentv1.GetPaymentRequest{Id: id.Format("pay", all[0].ID)})
	if err != nil || got.GetPayment().RedirectUrl != nil {
		t.Errorf("an order past its time still says where to pay: %v %v", got, err)
	}
}

// A provider that is silent for a day: nothing is taken for failed, and once it
// speaks everything is known within five minutes, at twenty calls a second.
// money.md O7 and goal M7, whose 5,000 payments need 250 s at this pace.
func TestOutageOfADay(t *testing.T) {
	r := newRig(t)
	const orders = 40
	for i := range orders {
		p := r.open(someOrder())
		if i%4 != 0 {
			r.bank.settle(p.MerchantOrderID, "COMPLETED")
		}
	}
	silent := make([]reply, 100_000)
	for i := range silent {
		silent[i] = 503
	}
	r.bank.next("status", silent...)
	r.advance(firstPoll)
	for range 24 * 4 {
		for {
			n, err := r.pollBatch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		r.advance(15 * time.Minute)
	}
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE state <> 'PENDING' OR needs_review`); n != 0 {
		t.Fatalf("%d payments were judged without their provider", n)
	}
	r.bank.do(func() {
		r.bank.answer["status"] = nil
		for _, o := range r.bank.orders {
			if o.State == "PENDING" {
				o.State, o.ErrorCode = "FAILED", "ORDER_EXPIRED"
			}
		}
	})
	r.until("everything is known", func() bool { // the breaker goes by its own clock
		r.advance(outagePause)
		for n := 1; n > 0; {
			var err error
			if n, err = r.pollBatch(t.Context()); err != nil || n > pollsAtOnce {
				t.Fatalf("%d calls in a round, %v", n, err)
			}
		}
		return r.number(`SELECT count(*) FROM payment.payment WHERE state = 'PENDING'`) == 0
	})
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE state = 'SUCCEEDED'`); n != orders*3/4 {
		t.Errorf("%d succeeded, want %d", n, orders*3/4)
	}
	if n := r.number(`SELECT count(*) FROM payment.payment WHERE state = 'EXPIRED'`); n != orders/4 {
		t.Errorf("%d expired, want %d", n, orders/4)
	}
	if pace := time.Second / lookAround * pollsAtOnce; pace > 20 {
		t.Errorf("%d calls a second", pace)
	}
}
