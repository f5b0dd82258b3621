package payment

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/ledger"
)

const why = "for the tests of payouts"

// money.md B44: the parts add up to the whole, to the paisa.
func TestB44SplitToThePaisa(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		rule              string
		taxable, igst     int64
		theirs, ours, tax int64
	}{
		{rule: "", taxable: 100_001, igst: 18_000, theirs: 60_001, ours: 40_000, tax: 18_000},
		{rule: "session", taxable: 100_002, theirs: 60_001, ours: 40_001},
		{rule: "executive_session", taxable: 100_004, theirs: 80_003, ours: 20_001},
		{rule: "course", taxable: 99_999, theirs: 69_999, ours: 30_000},
	} {
		b := uuid.New()
		deferred, tax := r.on(ledger.Deferred), r.on(ledger.IGST)
		r.sold(b, tt.rule, tt.taxable, tt.igst)
		got := []int64{r.on(ledger.Pending(b)), r.on(ledger.Deferred) - deferred, r.on(ledger.IGST) - tax, r.on(ledger.Payee(b))}
		if d := cmp.Diff([]int64{tt.theirs, tt.ours, tt.tax, 0}, got); d != "" {
			t.Errorf("%s of %d: %s", tt.rule, tt.taxable, d)
		}
	}
}

func TestSplitIsRefused(t *testing.T) {
	r := newRig(t)
	b := uuid.New()
	for name, change := range map[string]func(*newPayment){
		"a rule we do not know": func(in *newPayment) { in.BeneficiaryID, in.SplitRule = &b, "all_mine" },
		"a rule for nobody":     func(in *newPayment) { in.SplitRule = "session" },
		"who pays":              func(in *newPayment) { in.BeneficiaryID = &in.UserID },
	} {
		in := someOrder()
		change(&in)
		if _, err := r.create(t.Context(), in); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := someOrder()
	r.open(in)
	in.BeneficiaryID = &b
	if _, err := r.create(t.Context(), in); !fail.Is(err, fail.Conflict) {
		t.Errorf("the same order with another beneficiary: %v", err)
	}
}

func TestRelease(t *testing.T) {
	r := newRig(t)
	b := uuid.New()
	p := r.sold(b, "", 100_000, 18_000)
	for range 2 { // repeatable
		if n, currency, err := r.releaseEarnings(t.Context(), p.ID); err != nil || n != 60_000 || currency != "INR" {
			t.Fatalf("released %d %s, %v", n, currency, err)
		}
	}
	if pending, earned := r.on(ledger.Pending(b)), r.on(ledger.Payee(b)); pending != 0 || earned != 60_000 {
		t.Errorf("pending %d, earned %d", pending, earned)
	}
	if n := r.audited("payment.earnings_released"); n != 1 {
		t.Errorf("audited %d times", n)
	}
	partly := r.sold(b, "", 100_000, 0)
	r.reverse(partly, 20_000)
	if n, _, err := r.releaseEarnings(t.Context(), partly.ID); err != nil || n != 40_000 {
		t.Errorf("of what was given back in part: %d, %v", n, err)
	}
	back := r.sold(b, "", 100_000, 0)
	r.reverse(back, 60_000)
	nobody := r.open(someOrder())
	unpaid := someOrder()
	unpaid.BeneficiaryID = &b
	flagged := r.sold(b, "", 100_000, 0)
	if _, err := r.db.Pool.Exec(t.Context(), `UPDATE payment.payment SET state = $2, refunded_minor = captured_minor WHERE id = $1`,
		flagged.ID, string(factstate.Refunded)); err != nil {
		t.Fatal(err)
	}
	disputed := r.sold(b, "", 100_000, 0)
	if _, err := r.db.Pool.Exec(t.Context(), `UPDATE payment.payment SET disputed = true WHERE id = $1`, disputed.ID); err != nil {
		t.Fatal(err)
	}
	for name, paymentID := range map[string]uuid.UUID{
		"given back": back.ID, "nobody's": nobody.ID, "unpaid": r.open(unpaid).ID, "refunded": flagged.ID, "disputed": disputed.ID,
	} {
		if n, _, err := r.releaseEarnings(t.Context(), paymentID); !fail.Is(err, fail.Conflict) {
			t.Errorf("%s: released %d, %v", name, n, err)
		}
	}
	if _, _, err := r.releaseEarnings(t.Context(), uuid.New()); !fail.Is(err, fail.NotFound) {
		t.Errorf("of no payment: %v", err)
	}
}

func TestPayout(t *testing.T) {
	r := newRig(t)
	ctx, b, maker, checker := t.Context(), uuid.New(), uuid.New(), uuid.New()
	if _, err := r.requestPayout(ctx, maker, b, 0, why); !fail.Is(err, fail.NotFound) {
		t.Errorf("to who earned nothing: %v", err)
	}
	first, second := r.earns(b, 30_000), r.earns(b, 20_000) // 18000 and 12000
	for _, amount := range []int64{9_999, 30_001} {
		if _, err := r.requestPayout(ctx, maker, b, amount, why); !fail.Is(err, fail.InvalidArgument) {
			t.Errorf("%d of 30000: %v", amount, err)
		}
	}
	if _, err := r.requestPayout(ctx, b, b, 0, why); !fail.Is(err, fail.PermissionDenied) {
		t.Errorf("to oneself: %v", err)
	}
	p, err := r.requestPayout(ctx, maker, b, 20_000, why)
	if err != nil {
		t.Fatal(err)
	}
	items, err := r.itemsOf(ctx, p.ID)
	want := map[uuid.UUID]int64{first.ID: 18_000, second.ID: 2_000}
	if err != nil || len(items) != 2 || want[items[0].PaymentID] != items[0].AmountMinor || want[items[1].PaymentID] != items[1].AmountMinor {
		t.Errorf("items %v, %v", items, err)
	}
	if _, err := r.requestPayout(ctx, maker, b, 10_000, why); !fail.Is(err, fail.Conflict) {
		t.Errorf("a second that waits: %v", err)
	}
	for _, by := range []uuid.UUID{maker, b} {
		a := approving
		a.by = by
		if _, err := r.actOn(ctx, p.ID, a); !fail.Is(err, fail.PermissionDenied) {
			t.Errorf("approved by the maker or the payee: %v", err)
		}
	}
	if got := r.does(ctx, t, p.ID, checker, approving); got.State != payoutProcessing || *got.DecidedBy != checker || got.DecidedAt == nil {
		t.Errorf("approved: %+v", got)
	}
	again := approving
	again.by = checker
	if _, err := r.actOn(ctx, p.ID, again); !fail.Is(err, fail.Conflict) {
		t.Errorf("approved twice: %v", err)
	}
	if earned, way := r.on(ledger.Payee(b)), r.on("payouts_in_transit"); earned != 10_000 || way != 20_000 {
		t.Errorf("earned %d, on its way %d", earned, way)
	}
	if got := r.does(ctx, t, p.ID, checker, completing); got.State != payoutCompleted || got.BankReference == "" || got.SettledAt == nil {
		t.Errorf("completed: %+v", got)
	}
	if way, bank := r.on("payouts_in_transit"), r.on("bank"); way != 0 || bank != 20_000 {
		t.Errorf("on its way %d, from the bank %d", way, bank)
	}
	rest, err := r.requestPayout(ctx, maker, b, 0, why)
	if err != nil || rest.AmountMinor != 10_000 {
		t.Fatalf("the rest: %+v, %v", rest, err)
	}
	if got := r.does(ctx, t, rest.ID, checker, rejecting); got.Failure != rejecting.reason || r.available(b) != 10_000 {
		t.Errorf("rejected: %+v, available %d", got, r.available(b))
	}
	rest, err = r.requestPayout(ctx, maker, b, 0, why)
	if err != nil {
		t.Fatal(err)
	}
	r.does(ctx, t, rest.ID, checker, approving)
	r.does(ctx, t, rest.ID, checker, failing)
	if r.available(b) != 10_000 || r.on(ledger.Payee(b)) != 10_000 || r.on("payouts_in_transit") != 0 {
		t.Errorf("after it failed: available %d, earned %d", r.available(b), r.on(ledger.Payee(b)))
	}
	for action, n := range map[string]int{
		"payout.requested": 3, "payout.approved": 2, "payout.rejected": 1, "payout.completed": 1, "payout.failed": 1, "ledger.posted": 8,
	} {
		if got := r.audited(action); got != n {
			t.Errorf("%s audited %d times, want %d", action, got, n)
		}
	}
}

// What is given back after it was paid out is taken from what is earned next.
func TestDebtIsCarriedForward(t *testing.T) {
	r := newRig(t)
	ctx, b, maker, checker := t.Context(), uuid.New(), uuid.New(), uuid.New()
	paidOut := r.earns(b, 50_000) // 30000
	p, err := r.requestPayout(ctx, maker, b, 0, why)
	if err != nil {
		t.Fatal(err)
	}
	r.does(ctx, t, p.ID, checker, approving)
	r.does(ctx, t, p.ID, checker, completing)
	r.reverse(paidOut, 30_000)
	if n := r.available(b); n != -30_000 {
		t.Fatalf("available %d", n)
	}
	r.earns(b, 60_000) // 36000: 6000 are left
	if _, err := r.requestPayout(ctx, maker, b, 0, why); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("less than the least: %v", err)
	}
	r.earns(b, 50_000) // 30000 more
	p, err = r.requestPayout(ctx, maker, b, 0, why)
	if err != nil || p.AmountMinor != 36_000 {
		t.Fatalf("%+v, %v", p, err)
	}
	third := r.earns(b, 10_000)
	r.reverse(third, 6_000)
	fourth := r.earns(b, 20_000) // 12000
	r.reverse(fourth, 12_000)
	r.reverse(r.earns(b, 20_000), 13_000) // a thousand more than there was
	a := approving
	a.by = checker
	if _, err := r.actOn(ctx, p.ID, a); !fail.Is(err, fail.Conflict) {
		t.Errorf("approved though less is left: %v", err)
	}
	r.does(ctx, t, p.ID, checker, rejecting)
}

// money.md B28: the balance is read under the lock, not before it.
func TestB28TwoRequestsNeverShareAPaisa(t *testing.T) {
	r := newRig(t)
	ctx, b, maker, checker := t.Context(), uuid.New(), uuid.New(), uuid.New()
	r.earns(b, 50_000) // 30000
	tx, err := r.db.Pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lockPayee(ctx, tx, b); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var late error
	wg.Go(func() { // waits, and must then see what was taken while it waited
		_, late = r.requestPayout(ctx, maker, b, 20_000, why)
	})
	r.until("it waits for the lock", func() bool {
		return r.number(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) > 0
	})
	open, err := r.earned(ctx, tx, b, "INR")
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO payment.payout (id, beneficiary_id, amount_minor, currency, state, requested_by, reason, decided_by, created_at, updated_at)
		 VALUES ($1, $2, 20000, 'INR', 'PROCESSING', $3, 'x', $4, now(), now())`,
	} {
		id := uuid.New()
		if _, err := tx.Exec(ctx, sql, id, b, maker, checker); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO payment.payout_item VALUES ($1, $2, 20000)`, id, open[0].PaymentID); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if !fail.Is(late, fail.InvalidArgument) {
		t.Errorf("the later request got %v", late)
	}
}

func TestPayoutsByMany(t *testing.T) {
	r := newRig(t)
	b := uuid.New()
	for range 3 {
		r.earns(b, 50_000)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sent int64
	for range 8 {
		wg.Go(func() {
			p, err := r.requestPayout(context.WithoutCancel(t.Context()), uuid.New(), b, 40_000, why)
			if err != nil {
				return
			}
			a := approving
			a.by = uuid.New()
			if p, err = r.actOn(t.Context(), p.ID, a); err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sent += p.AmountMinor
		})
	}
	wg.Wait()
	if sent == 0 || sent > 90_000 || r.on(ledger.Payee(b)) != 90_000-sent || r.on(ledger.Payee(b)) < 0 {
		t.Errorf("sent %d of 90000, %d left", sent, r.on(ledger.Payee(b)))
	}
}

// The database refuses what the code must never ask.
func TestPayoutConstraints(t *testing.T) {
	r := newRig(t)
	ctx, b, maker := t.Context(), uuid.New(), uuid.New()
	p := r.earns(b, 50_000)
	const insert = `INSERT INTO payment.payout (id, beneficiary_id, amount_minor, currency, state, requested_by, reason, decided_by, created_at, updated_at)
		VALUES ($1, $2, 20000, 'INR', 'PROCESSING', $3, 'x', $4, now(), now())`
	for name, decider := range map[string]*uuid.UUID{"by its maker": &maker, "by its payee": &b, "by nobody": nil} {
		if _, err := r.db.Pool.Exec(ctx, insert, uuid.New(), b, maker, decider); refusedAs(err) != "23514" {
			t.Errorf("approved %s: %v", name, err)
		}
	}
	checker := uuid.New()
	for _, part := range []int64{19_999, 20_001, 20_000} {
		err := pgx.BeginFunc(ctx, r.db.Pool, func(tx pgx.Tx) error {
			id := uuid.New()
			if _, err := tx.Exec(ctx, insert, id, b, maker, checker); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `INSERT INTO payment.payout_item VALUES ($1, $2, $3)`, id, p.ID, part)
			return err
		})
		if refused := refusedAs(err) == "23514"; refused != (part != 20_000) {
			t.Errorf("items of %d for 20000: %v", part, err)
		}
	}
}

func TestPick(t *testing.T) {
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	open := []payoutItem{{a, 8_000}, {b, -3_000}, {c, 9_000}}
	for _, tt := range []struct {
		amount int64
		want   []payoutItem
	}{
		{0, []payoutItem{{b, -3_000}, {a, 8_000}, {c, 9_000}}},
		{14_000, []payoutItem{{b, -3_000}, {a, 8_000}, {c, 9_000}}},
		{10_000, []payoutItem{{b, -3_000}, {a, 8_000}, {c, 5_000}}},
		{14_001, nil},
		{9_999, nil},
	} {
		got, sum, err := pick(open, tt.amount)
		if d := cmp.Diff(tt.want, got); d != "" || (err == nil) != (tt.want != nil) || sum != total(tt.want) {
			t.Errorf("%d: %s, sum %d, %v", tt.amount, d, sum, err)
		}
	}
	var many []payoutItem
	for range mostItems + 1 {
		many = append(many, payoutItem{uuid.New(), 1_000})
	}
	if got, sum, err := pick(many, 0); err != nil || len(got) != mostItems || sum != mostItems*1_000 {
		t.Errorf("all of %d payments: %d of them, %d, %v", len(many), len(got), sum, err)
	}
	if _, _, err := pick(many, (mostItems+1)*1_000); !fail.Is(err, fail.InvalidArgument) {
		t.Errorf("more payments than a payout has: %v", err)
	}
}

// A refund takes from the beneficiary's share what it takes of the whole, before
// the service was delivered and after.
func TestRefundTakesTheShareBack(t *testing.T) {
	r := newRig(t)
	b := uuid.New()
	paid := func() payment {
		in := someOrder()
		in.Purpose, in.BeneficiaryID = "session", &b
		in.TaxableMinor, in.IGSTMinor, in.AmountMinor = 100_000, 18_000, 118_000
		p := r.open(in)
		r.bank.settle(p.MerchantOrderID, "COMPLETED")
		p, err := r.sync(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := paid()
	r.mustGiveBack(before, 59_000)
	if n, _, err := r.releaseEarnings(t.Context(), before.ID); err != nil || n != 30_000 || r.available(b) != 30_000 {
		t.Errorf("released %d of half, %v; available %d", n, err, r.available(b))
	}
	after := paid()
	if n, _, err := r.releaseEarnings(t.Context(), after.ID); err != nil || n != 60_000 {
		t.Errorf("released %d, %v", n, err)
	}
	r.mustGiveBack(after, 118_000)
	if n := r.available(b); n != 30_000 {
		t.Errorf("available %d, want what is left of the first", n)
	}
	r.sealAll()
	if v := r.verified(); len(v.problems) > 0 {
		t.Error(v.problems)
	}
}
