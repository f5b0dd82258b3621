package payment

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/services/payment/ledger"
)

const (
	sealBatch    = 500  // journals sealed in one transaction
	sealBalances = 1000 // journals between balances kept
	verifyBatch  = 1000
	verifyEvery  = 24 * time.Hour
	mostProblems = 100
	exportPage   = 2000
)

type sealMetrics struct {
	age     prometheus.Gauge
	waiting prometheus.Gauge
	broken  prometheus.Gauge
}

func newSealMetrics() sealMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return sealMetrics{
		age:     gauge("payment_ledger_unsealed_age_seconds", "Age of the oldest journal without a seal."),
		waiting: gauge("payment_ledger_unsealed_journals", "Journals without a seal."),
		broken:  gauge("payment_ledger_problems", "What the last look at the whole chain found."),
	}
}

// sealing is the worker that appends journals to the chain. Any number of
// processes may run it; one at a time seals.
func (s *Service) sealing(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		n, err := s.seal(ctx, sealBatch)
		if err != nil {
			return 0, err
		}
		return n, s.measureUnsealed(ctx)
	})
}

// verifying is the worker that goes through the whole chain each day.
func (s *Service) verifying(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		if s.now().Before(s.nextVerify) {
			return 0, nil
		}
		v, err := s.verify(ctx)
		if err != nil {
			return 0, err
		}
		s.nextVerify = s.now().Add(verifyEvery)
		s.seals.broken.Set(float64(len(v.problems))) //nolint:forbidigo // a gauge is a float; it counts, it is not money
		if len(v.problems) > 0 {
			zerolog.Ctx(ctx).Error().Int("problems", len(v.problems)).Str("first", v.problems[0]).Msg("the ledger is not what was sealed")
		}
		return 0, nil
	})
}

// sealed is an entry with its place in the chain, as both stand in the database.
type sealed struct {
	ledger.Entry

	Seq            int64
	PrevHash, Hash []byte
}

// balanceKey is an account in a currency.
type balanceKey struct{ Account, Currency string }

// verdictOfChain is what verify found.
type verdictOfChain struct {
	journals int64
	head     [sha256.Size]byte
	problems []string
}

func (v *verdictOfChain) problem(format string, args ...any) {
	if len(v.problems) < mostProblems {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// link checks the next seal of the chain and its journal, and adds its lines to
// the running balances.
func (v *verdictOfChain) link(e sealed, running map[balanceKey]int64) {
	v.journals++
	if e.Seq != v.journals {
		v.problem("seal %d stands where %d should", e.Seq, v.journals)
		v.journals = e.Seq
	}
	if [sha256.Size]byte(e.PrevHash) != v.head {
		v.problem("seal %d does not follow the one before", e.Seq)
	}
	if ledger.Hash(v.head, e.Seq, e.Entry) != [sha256.Size]byte(e.Hash) {
		v.problem("journal %s of seal %d is not what was sealed", e.ID, e.Seq)
	}
	v.head = [sha256.Size]byte(e.Hash)
	sums := map[string]int64{}
	for _, l := range e.Lines {
		running[balanceKey{l.Account, l.Currency}] += l.AmountMinor
		sums[l.Currency] += l.AmountMinor
	}
	for currency, sum := range sums {
		if sum != 0 {
			v.problem("journal %s is off by %d %s", e.ID, sum, currency)
		}
	}
}
