package payment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/services/payment/ledger"
)

const lockSeals = `SELECT pg_try_advisory_xact_lock(hashtextextended('payment.seal', 0))`

const selectHead = `SELECT seq, hash FROM payment.journal_seal ORDER BY seq DESC LIMIT 1`

const entryColumns = `
SELECT j.id, j.ref, j.kind, j.payment_id, j.occurred_at, j.posted_at,
       coalesce((SELECT array_agg(ROW(o.seq, o.account, o.amount_minor, o.currency) ORDER BY o.seq)
                   FROM payment.posting o WHERE o.journal_id = j.id), '{}') AS lines,
       coalesce(c.seq, 0), c.prev_hash, c.hash
  FROM payment.journal j
  LEFT JOIN payment.journal_seal c ON c.journal_id = j.id`

const selectUnsealed = entryColumns + `
 WHERE j.id IN (SELECT journal_id FROM payment.journal_unsealed ORDER BY posted_at, journal_id LIMIT @limit)
 ORDER BY j.posted_at, j.id`

const insertSeal = `
INSERT INTO payment.journal_seal (seq, journal_id, prev_hash, hash)
SELECT * FROM unnest(@seq::bigint[], @journal_id::uuid[], @prev_hash::bytea[], @hash::bytea[])`

const deleteUnsealed = `DELETE FROM payment.journal_unsealed WHERE journal_id = ANY(@journal_id)`

// seal appends at most limit journals to the chain, and answers how many. It is
// nobody's hot path: whoever holds the lock seals, others have nothing to do.
func (s *Service) seal(ctx context.Context, limit int) (n int, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		n = 0
		var mine bool
		if err := tx.QueryRow(ctx, lockSeals).Scan(&mine); err != nil || !mine {
			return err //nolint:wrapcheck // InTx says what it was
		}
		seq, head, err := s.head(ctx, tx)
		if err != nil {
			return err
		}
		before := seq
		entries, err := s.entries(ctx, tx, selectUnsealed, pgx.StrictNamedArgs{"limit": limit})
		if err != nil || len(entries) == 0 {
			return err
		}
		ids, seqs, prevs, hashes := make([]uuid.UUID, len(entries)), make([]int64, len(entries)), make([][]byte, len(entries)), make([][]byte, len(entries))
		for i, e := range entries {
			prev := head
			seq++
			head = ledger.Hash(prev, seq, e.Entry)
			sum := head
			ids[i], seqs[i], prevs[i], hashes[i] = e.ID, seq, prev[:], sum[:]
		}
		_, err = exec(ctx, tx, insertSeal, pgx.StrictNamedArgs{"seq": seqs, "journal_id": ids, "prev_hash": prevs, "hash": hashes})
		if err != nil {
			return err
		}
		if _, err := exec(ctx, tx, deleteUnsealed, pgx.StrictNamedArgs{"journal_id": ids}); err != nil {
			return err
		}
		n = len(entries)
		if before/s.sealEvery == seq/s.sealEvery {
			return nil
		}
		if _, err := exec(ctx, tx, keepBalances, pgx.StrictNamedArgs{"seq": seq}); err != nil {
			return err
		}
		return s.outbox.Append(ctx, tx, auditSealed(ctx, seq, hex.EncodeToString(head[:]), s.now())) //nolint:wrapcheck // its own words
	})
	if err != nil {
		return 0, fmt.Errorf("seal journals: %w", err)
	}
	return n, nil
}

func (s *Service) head(ctx context.Context, q pg.Querier) (seq int64, head [sha256.Size]byte, err error) {
	var hash []byte
	err = q.QueryRow(ctx, selectHead).Scan(&seq, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, head, nil
	}
	if err != nil {
		return 0, head, pg.Err(fmt.Errorf("read the chain's head: %w", err))
	}
	return seq, [sha256.Size]byte(hash), nil
}

// Balances up to a seal: those kept before, and what was sealed since. Only
// accounts that moved get a row.
const keepBalances = `
INSERT INTO payment.ledger_seal (seq, account, currency, balance_minor)
SELECT @seq, t.account, t.currency, t.moved + coalesce(
           (SELECT b.balance_minor FROM payment.ledger_seal b
             WHERE b.account = t.account AND b.currency = t.currency ORDER BY b.seq DESC LIMIT 1), 0)
  FROM (SELECT o.account, o.currency, sum(o.amount_minor) AS moved
          FROM payment.journal_seal c
          JOIN payment.posting o ON o.journal_id = c.journal_id
         WHERE c.seq > coalesce((SELECT max(seq) FROM payment.ledger_seal), 0) AND c.seq <= @seq
         GROUP BY o.account, o.currency) t`

// What is kept, and what came since, sealed or not: one statement, so one moment.
const selectBalances = `
WITH last AS (SELECT coalesce(max(seq), 0) AS seq FROM payment.ledger_seal),
tail AS (SELECT c.journal_id FROM payment.journal_seal c, last WHERE c.seq > last.seq
         UNION ALL
         SELECT u.journal_id FROM payment.journal_unsealed u)
SELECT account, currency, sum(amount_minor)::bigint AS balance_minor
  FROM (SELECT DISTINCT ON (account, currency) account, currency, balance_minor AS amount_minor
          FROM payment.ledger_seal
         ORDER BY account, currency, seq DESC) kept
 GROUP BY account, currency
UNION ALL
SELECT o.account, o.currency, sum(o.amount_minor)::bigint
  FROM tail JOIN payment.posting o ON o.journal_id = tail.journal_id
 GROUP BY o.account, o.currency`

// balance is a row of the trial balance; debits above nothing.
type balance struct {
	Account      string
	Currency     string
	BalanceMinor int64
}

// balances is the trial balance: what the last seal kept, and what came since.
func (s *Service) balances(ctx context.Context) (map[balanceKey]int64, error) {
	rows, err := all[balance](ctx, s.db.Pool, selectBalances, pgx.StrictNamedArgs{})
	out := make(map[balanceKey]int64, len(rows))
	for _, b := range rows {
		out[balanceKey{b.Account, b.Currency}] += b.BalanceMinor
	}
	return out, err
}

const selectWaiting = `SELECT count(*), min(posted_at) FROM payment.journal_unsealed`

func (s *Service) measureUnsealed(ctx context.Context) error {
	var n int64
	var oldest *time.Time
	if err := s.db.Pool.QueryRow(ctx, selectWaiting).Scan(&n, &oldest); err != nil {
		return pg.Err(fmt.Errorf("count unsealed journals: %w", err))
	}
	s.seals.waiting.Set(float64(n)) //nolint:forbidigo // a gauge is a float; it counts, it is not money
	s.seals.age.Set(0)
	if oldest != nil {
		s.seals.age.Set(max(s.now().Sub(*oldest), 0).Seconds())
	}
	return nil
}

const selectChain = entryColumns + `
 WHERE c.seq > @after
 ORDER BY c.seq
 LIMIT @limit`

// A journal is sealed or waits for it; a line has its journal.
const selectStrays = `
SELECT 'journal ' || j.id || ' has no seal and waits for none' AS problem
  FROM payment.journal j
 WHERE NOT EXISTS (SELECT 1 FROM payment.journal_seal c WHERE c.journal_id = j.id)
   AND NOT EXISTS (SELECT 1 FROM payment.journal_unsealed u WHERE u.journal_id = j.id)
UNION ALL
SELECT 'seal ' || c.seq || ' has no journal'
  FROM payment.journal_seal c
 WHERE NOT EXISTS (SELECT 1 FROM payment.journal j WHERE j.id = c.journal_id)
UNION ALL
SELECT 'a line of journal ' || o.journal_id || ' has no journal'
  FROM payment.posting o
 WHERE NOT EXISTS (SELECT 1 FROM payment.journal j WHERE j.id = o.journal_id)
 LIMIT 100`

const selectKeptBalances = `
SELECT seq, account, currency, balance_minor
  FROM payment.ledger_seal
 WHERE seq > @after AND seq <= @to
 ORDER BY seq`

type keptBalance struct {
	Seq          int64
	Account      string
	Currency     string
	BalanceMinor int64
}

// verify goes through the chain from its beginning, makes every hash anew and
// compares the balances kept on the way.
func (s *Service) verify(ctx context.Context) (verdictOfChain, error) {
	return s.verifyOn(ctx, s.db.Pool)
}

func (s *Service) verifyOn(ctx context.Context, q pg.Querier) (v verdictOfChain, err error) {
	running := map[balanceKey]int64{}
	for after := int64(0); ; {
		batch, err := s.entries(ctx, q, selectChain, pgx.StrictNamedArgs{"after": after, "limit": verifyBatch})
		if err != nil {
			return v, err
		}
		if len(batch) == 0 {
			break
		}
		to := batch[len(batch)-1].Seq
		kept, err := all[keptBalance](ctx, q, selectKeptBalances, pgx.StrictNamedArgs{"after": after, "to": to})
		if err != nil {
			return v, err
		}
		for _, e := range batch {
			v.link(e, running)
			for ; len(kept) > 0 && kept[0].Seq <= e.Seq; kept = kept[1:] {
				k := kept[0]
				if is := running[balanceKey{k.Account, k.Currency}]; k.Seq != e.Seq || is != k.BalanceMinor {
					v.problem("balance of %s kept at seal %d is %d, the journals say %d", k.Account, k.Seq, k.BalanceMinor, is)
				}
			}
		}
		after = to
	}
	strays, err := all[struct{ Problem string }](ctx, q, selectStrays, pgx.StrictNamedArgs{})
	if err != nil {
		return v, err
	}
	for _, p := range strays {
		v.problem("%s", p.Problem)
	}
	return v, nil
}

// entries reads journals with their lines, and with their seals if they have them.
func (s *Service) entries(ctx context.Context, q pg.Querier, sql string, args pgx.StrictNamedArgs) ([]sealed, error) {
	rows, err := q.Query(ctx, sql, args)
	if err != nil {
		return nil, pg.Err(fmt.Errorf("query journals: %w", err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e sealed, err error) {
		return e, row.Scan(&e.ID, &e.Ref, &e.Kind, &e.PaymentID, &e.OccurredAt, &e.PostedAt, &e.Lines, &e.Seq, &e.PrevHash, &e.Hash)
	})
	if err != nil {
		return nil, pg.Err(fmt.Errorf("read journals: %w", err))
	}
	return list, nil
}

const selectAccounts = `SELECT code, kind FROM payment.account ORDER BY code`

// export writes journals after a seal for hledger; before the first the
// accounts. more is true when there is another page.
func (s *Service) export(ctx context.Context, after int64, limit int) (text []byte, last int64, more bool, err error) {
	if after == 0 {
		accounts, err := all[ledger.Account](ctx, s.db.Pool, selectAccounts, pgx.StrictNamedArgs{})
		if err != nil {
			return nil, 0, false, err
		}
		text = ledger.AppendAccounts(text, accounts)
	}
	batch, err := s.entries(ctx, s.db.Pool, selectChain, pgx.StrictNamedArgs{"after": after, "limit": limit + 1})
	if err != nil {
		return nil, 0, false, err
	}
	last = after
	if more = len(batch) > limit; more {
		batch = batch[:limit]
	}
	for _, e := range batch {
		text = ledger.AppendEntry(text, e.Entry, e.Seq, e.Hash)
		last = e.Seq
	}
	return text, last, more, nil
}
