package payment

import (
	"bytes"
	"context"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/manas360/platform/services/payment/ledger"
)

// money.md B50, B51: balances are derived; what a seal kept and what came since
// are what every line adds up to, before, at and after each boundary.
func TestB50SnapshotAndTailEqualReplay(t *testing.T) {
	r := newRig(t)
	r.sealEvery = 4
	b := uuid.New()
	same := func(when string) {
		t.Helper()
		got, err := r.balances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r.replayed(), got); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	same("with nothing")
	for n := range 9 { // journals one by one: each count before, at and after a boundary
		r.sold(b, "", 1_000+int64(n), 180)
		same("unsealed")
		if _, err := r.seal(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		same("sealed")
	}
	for range 7 { // batches that jump over boundaries
		r.earns(b, 2_000)
	}
	r.sealAll()
	same("sealed by threes")
	r.earns(uuid.New(), 1_000) // accounts that no seal has kept
	same("with new accounts")
	if n := r.number(`SELECT count(DISTINCT seq) FROM payment.ledger_seal`); n < 5 {
		t.Errorf("balances kept %d times", n)
	}
	if v := r.verified(); len(v.problems) > 0 || v.journals != 23 {
		t.Errorf("%d journals, %v", v.journals, v.problems)
	}
	if n := r.audited("ledger.sealed"); n < 5 {
		t.Errorf("the head was left with audit %d times", n)
	}
}

// money.md B51: a journal that is dated before the last sealed one, or at the
// same instant, is sealed once and counted once.
func TestB51BackDatedJournalIsSealedOnce(t *testing.T) {
	r := newRig(t)
	r.sealEvery = 1
	b := uuid.New()
	r.earns(b, 10_000)
	r.sealAll()
	var last time.Time
	if err := r.db.Pool.QueryRow(t.Context(), `SELECT max(posted_at) FROM payment.journal`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Time{last, last.Add(-time.Microsecond), last.Add(time.Microsecond), last.Add(-24 * time.Hour)} {
		j, err := ledger.PayoutDone(uuid.New(), int64(i+1), "INR")
		if err != nil {
			t.Fatal(err)
		}
		if err := pgx.BeginFunc(t.Context(), r.db.Pool, func(tx pgx.Tx) error { return r.enter(t.Context(), tx, nil, j, at, at) }); err != nil {
			t.Fatal(err)
		}
		r.sealAll()
	}
	got, err := r.balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.replayed(), got); d != "" {
		t.Error(d)
	}
	if v := r.verified(); len(v.problems) > 0 || v.journals != 6 {
		t.Errorf("%d journals, %v", v.journals, v.problems)
	}
}

func TestOneSealerAtATime(t *testing.T) {
	r := newRig(t)
	b := uuid.New()
	for range 10 {
		r.sold(b, "", 1_000, 0)
	}
	r.advance(time.Minute)
	if err := r.measureUnsealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, age := testutil.ToFloat64(r.seals.waiting), testutil.ToFloat64(r.seals.age); n != 10 || age < 60 || age > 600 {
		t.Errorf("%v wait, the oldest for %v s", n, age)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if _, err := r.seal(context.WithoutCancel(t.Context()), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.sealAll()
	if v := r.verified(); len(v.problems) > 0 || v.journals != 10 {
		t.Errorf("%d journals, %v", v.journals, v.problems)
	}
	if err := r.measureUnsealed(t.Context()); err != nil || testutil.ToFloat64(r.seals.age) != 0 {
		t.Errorf("age %v, %v", testutil.ToFloat64(r.seals.age), err)
	}
}

// money.md M11: whoever gets past the database's triggers and changes one byte
// of any column is found.
func TestM11AnyFlippedByteIsFound(t *testing.T) {
	r := newRig(t)
	r.sealEvery = 2
	b := uuid.New()
	for range 3 {
		r.earns(b, 20_000)
	}
	r.sealAll()
	if v := r.verified(); len(v.problems) > 0 || v.journals != 6 {
		t.Fatalf("%d journals, %v", v.journals, v.problems)
	}
	const victim = `(SELECT journal_id FROM payment.journal_seal WHERE seq = 3)`
	changes := map[string]string{
		"journal.ref":          `UPDATE payment.journal SET ref = overlay(ref PLACING chr(ascii(substr(ref, 9, 1)) # 1) FROM 9 FOR 1) WHERE id = ` + victim,
		"journal.kind":         `UPDATE payment.journal SET kind = kind || 'x' WHERE id = ` + victim,
		"journal.payment_id":   `UPDATE payment.journal SET payment_id = NULL WHERE id = ` + victim,
		"journal.occurred_at":  `UPDATE payment.journal SET occurred_at = occurred_at + interval '1 microsecond' WHERE id = ` + victim,
		"journal.posted_at":    `UPDATE payment.journal SET posted_at = posted_at - interval '1 microsecond' WHERE id = ` + victim,
		"posting.journal_id":   `UPDATE payment.posting SET journal_id = (SELECT journal_id FROM payment.journal_seal WHERE seq = 5), seq = seq + 10 WHERE journal_id = ` + victim,
		"posting.seq":          `UPDATE payment.posting SET seq = seq + 10 WHERE seq = 1 AND journal_id = ` + victim,
		"posting.account":      `UPDATE payment.posting SET account = 'bank' WHERE seq = 1 AND journal_id = ` + victim,
		"posting.amount_minor": `UPDATE payment.posting SET amount_minor = amount_minor # 1 WHERE journal_id = ` + victim,
		"posting.currency":     `UPDATE payment.posting SET currency = 'INS' WHERE journal_id = ` + victim,
		"posting gone":         `DELETE FROM payment.posting WHERE journal_id = ` + victim,
		"journal gone":         `DELETE FROM payment.journal WHERE id = ` + victim,
		"seal.seq":             `UPDATE payment.journal_seal SET seq = 99 WHERE seq = 6`,
		"seal.journal_id":      `UPDATE payment.journal_seal SET journal_id = gen_random_uuid() WHERE seq = 3`,
		"seal.prev_hash":       `UPDATE payment.journal_seal SET prev_hash = set_byte(prev_hash, 31, get_byte(prev_hash, 31) # 1) WHERE seq = 3`,
		"seal.hash":            `UPDATE payment.journal_seal SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) WHERE seq = 6`,
		"seal gone":            `DELETE FROM payment.journal_seal WHERE seq = 6`,
		"kept balance":         `UPDATE payment.ledger_seal SET balance_minor = balance_minor + 1 WHERE seq = (SELECT max(seq) FROM payment.ledger_seal) AND account LIKE 'payee:%'`,
		"kept seq":             `UPDATE payment.ledger_seal SET seq = seq - 1 WHERE seq = (SELECT max(seq) FROM payment.ledger_seal)`,
		"a journal unsealed, the queue emptied": `WITH j AS (INSERT INTO payment.journal (id, ref, kind, occurred_at, posted_at)
			VALUES (gen_random_uuid(), 'forged', 'capture', now(), now()) RETURNING id)
			INSERT INTO payment.posting SELECT id, n, 'bank', CASE n WHEN 1 THEN 5 ELSE -5 END, 'INR' FROM j, generate_series(1, 2) n`,
	}
	for name, sql := range changes {
		tx, err := r.db.Pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SET LOCAL session_replication_role = replica`); err != nil { // no triggers, no foreign keys
			t.Fatal(err)
		}
		if tag, err := tx.Exec(t.Context(), sql); err != nil || tag.RowsAffected() == 0 {
			t.Errorf("%s: changed %d rows, %v", name, tag.RowsAffected(), err)
			_ = tx.Rollback(t.Context())
			continue
		}
		v, err := r.verifyOn(t.Context(), tx)
		if err != nil || len(v.problems) == 0 {
			t.Errorf("%s was not found (%v)", name, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if v := r.verified(); len(v.problems) > 0 {
		t.Errorf("after all of them were taken back: %v", v.problems)
	}
}

// What the books hold is added to, and never changed or taken away.
func TestBooksOnlyGrow(t *testing.T) {
	r := newRig(t)
	r.earns(uuid.New(), 10_000)
	r.sealAll()
	for _, sql := range []string{
		`UPDATE payment.journal SET kind = 'x'`, `DELETE FROM payment.posting`, `UPDATE payment.journal_seal SET hash = prev_hash`,
		`DELETE FROM payment.ledger_seal`, `UPDATE payment.split_rule SET payee_bps = 10000`, `DELETE FROM payment.journal_seal`,
		`UPDATE payment.payout_item SET amount_minor = 1`, `TRUNCATE payment.ledger_seal`, `TRUNCATE payment.posting`,
		`UPDATE payment.account SET kind = 'asset'`,
	} {
		if _, err := r.db.Pool.Exec(t.Context(), sql); refusedAs(err) != "23001" {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// hledger, which others wrote, reads the books strictly and finds them in order;
// a paisa off, a stranger's account and another currency it refuses.
func TestHledgerChecksTheExport(t *testing.T) {
	tool, err := osexec.LookPath("hledger")
	if err != nil {
		if os.Getenv("MANAS_TEST_REQUIRE") == "1" {
			t.Fatal("hledger is not installed; `make test` installs it")
		}
		t.Skip("hledger is not installed")
	}
	r := newRig(t)
	r.sealEvery = 4
	ctx, b, maker, checker := t.Context(), uuid.New(), uuid.New(), uuid.New()
	r.sold(b, "course", 33_333, 6_000)
	r.earns(b, 40_001)
	p, err := r.requestPayout(ctx, maker, b, 12_345, why)
	if err != nil {
		t.Fatal(err)
	}
	r.does(ctx, t, p.ID, checker, approving)
	r.does(ctx, t, p.ID, checker, completing)
	r.sealAll()
	var text []byte
	pages := 0
	for after, more := int64(0), true; more; pages++ {
		var part []byte
		if part, after, more, err = r.export(ctx, after, 2); err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	if pages != 3 || bytes.Count(text, []byte("; id:")) != 5 {
		t.Errorf("%d pages of\n%s", pages, text)
	}
	run := func(journal string, args ...string) (string, error) {
		cmd := osexec.CommandContext(ctx, tool, append([]string{"-f", "-"}, args...)...)
		cmd.Stdin = strings.NewReader(journal)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	good := string(text)
	if out, err := run(good, "check", "--strict", "ordereddates", "uniqueleafnames"); err != nil {
		t.Errorf("%v: %s\n%s", err, out, good)
	}
	out, err := run(good, "balance", "--flat", "--no-total", "bank", "payouts_in_transit", accountInFile(ledger.Payee(b)))
	if err != nil || !strings.Contains(out, "-123.45 INR  bank") || strings.Contains(out, "payouts_in_transit") || !strings.Contains(out, "-116.56 INR") {
		t.Errorf("balances: %v\n%s", err, out)
	}
	for name, bad := range map[string]string{
		"a paisa off":      strings.Replace(good, "  123.45 INR", "  123.46 INR", 1),
		"a sign":           strings.Replace(good, "  -123.45 INR", "  123.45 INR", 1),
		"another account":  strings.Replace(good, "    bank  ", "    banc  ", 1),
		"another currency": strings.ReplaceAll(strings.ReplaceAll(good, "  123.45 INR", "  123.45 INS"), "  -123.45 INR", "  -123.45 INS"),
	} {
		if out, err := run(bad, "check", "--strict"); err == nil || bad == good {
			t.Errorf("%s was not found: %s", name, out)
		}
	}
}

func accountInFile(code string) string { return strings.ReplaceAll(code, ":", "_") }

// Whatever is sold, delivered, given back and paid out, the books are in order.
func TestLedgerMachine(t *testing.T) {
	r := newRig(t)
	r.sealEvery = 5
	rapid.Check(t, func(rt *rapid.T) {
		ctx, b, maker, checker := t.Context(), uuid.New(), uuid.New(), uuid.New()
		var sold []payment
		var open []payout
		refunded, earned, sent := false, int64(0), int64(0)
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"sell", "sell", "release", "refund", "request", "decide"}).Draw(rt, "step") {
			case "sell":
				rule := rapid.SampledFrom([]string{"session", "executive_session", "course"}).Draw(rt, "rule")
				sold = append(sold, r.sold(b, rule, rapid.Int64Range(100, 100_000).Draw(rt, "taxable"), 0))
			case "release":
				for _, p := range sold {
					before := r.on(ledger.Pending(b))
					if _, _, err := r.releaseEarnings(ctx, p.ID); err == nil {
						earned += before - r.on(ledger.Pending(b))
					}
				}
			case "refund":
				for _, p := range sold[:len(sold)/2] {
					r.reverse(p, 1)
					refunded = true
				}
			case "request":
				if p, err := r.requestPayout(ctx, maker, b, 0, why); err == nil {
					open = append(open, p)
				}
			case "decide":
				for _, p := range open {
					r.does(ctx, t, p.ID, checker, approving)
					if rapid.Bool().Draw(rt, "the bank pays") {
						r.does(ctx, t, p.ID, checker, completing)
						sent += p.AmountMinor
					} else {
						r.does(ctx, t, p.ID, checker, failing)
					}
				}
				open = nil
			}
		}
		if got := r.on(ledger.Payee(b)); got != earned-sent || got < 0 {
			rt.Errorf("earned %d, sent %d, but the account holds %d", earned, sent, got)
		}
		var reserved int64
		for _, p := range open {
			reserved += p.AmountMinor
		}
		if a := r.available(b); !refunded && a != earned-sent-reserved || a < 0 && !refunded {
			rt.Errorf("available %d of %d", a, earned-sent-reserved)
		}
	})
	if n := r.number(`SELECT count(*) FROM (SELECT 1 FROM payment.posting GROUP BY journal_id, currency HAVING sum(amount_minor) <> 0) x`); n != 0 {
		t.Errorf("%d journals do not balance", n)
	}
	r.sealAll()
	sums := map[string]int64{}
	got, err := r.balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range got {
		sums[k.Currency] += n
	}
	if d := cmp.Diff(map[string]int64{"INR": 0}, sums); d != "" {
		t.Errorf("trial balance: %s", d)
	}
	if d := cmp.Diff(r.replayed(), got); d != "" {
		t.Error(d)
	}
	if v := r.verified(); len(v.problems) > 0 {
		t.Error(v.problems)
	}
}
