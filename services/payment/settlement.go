package payment

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/services/payment/ledger"
)

// settlementLine is one movement of money as a provider's settlement says it.
type settlementLine struct {
	Provider        string
	TransactionID   string
	SettlementID    string
	UTR             string `db:"utr"`
	MerchantOrderID string
	Kind            string // a ledger.Movement
	AmountMinor     int64
	FeeMinor        int64
	TaxMinor        int64
	NetMinor        int64
	Currency        string
	MovedAt         time.Time
	SettledAt       time.Time
}

func (l settlementLine) booked() ledger.Settled {
	return ledger.Settled{
		Movement: ledger.Movement(l.Kind), AmountMinor: l.AmountMinor, FeeMinor: l.FeeMinor, TaxMinor: l.TaxMinor, NetMinor: l.NetMinor, Currency: l.Currency,
	}
}

// settler is a provider that tells of a day's settlement by its API.
type settler interface {
	// settlements gives all lines of a day in India.
	settlements(ctx context.Context, day time.Time) ([]settlementLine, error)
}

const (
	settlementDays    = 7             // a line may come days after its movement
	settlementEvery   = 6 * time.Hour // between looks at a day
	settlementLook    = 5 * time.Second
	settlementRetry   = 10 * time.Minute
	settlementLimit   = 30 * time.Second
	maxSettlementFile = 64 << 20
	maxSettlementLine = 64 << 10
	matchRetry        = time.Hour
	matchesAtOnce     = 50
)

// india is where a settlement's day begins. There is no summer time there.
var india = time.FixedZone("IST", 5*3600+1800)

// settlementFile fetches a day's file as NDJSON from an address with {provider}
// and {date} in it: what the operators' bank gateway puts there. Each line has
// transactionId, settlementId, utr, merchantOrderId, kind, amountMinor,
// feeMinor, taxMinor, netMinor (as strings), currency, at and settledAt.
type settlementFile struct {
	address  string
	provider string
	client   *http.Client
}

func (f settlementFile) settlements(ctx context.Context, day time.Time) (lines []settlementLine, err error) {
	at := strings.NewReplacer("{provider}", url.QueryEscape(f.provider), "{date}", day.Format(time.DateOnly)).Replace(f.address)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the settlement file: %w", err)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the settlement file: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the settlement file answered %d", res.StatusCode)
	}
	return readSettlement(io.LimitReader(res.Body, maxSettlementFile+1), f.provider)
}

// readSettlement takes a whole file or none of it: a file cut short, or a line
// that is not understood, would hide money.
func readSettlement(r io.Reader, provider string) ([]settlementLine, error) {
	var lines []settlementLine
	in := &io.LimitedReader{R: r, N: maxSettlementFile + 1}
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxSettlementLine)
	for no := 1; s.Scan(); no++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		l, err := readSettlementLine(s.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d of the settlement: %w", no, err)
		}
		if l.Provider != provider {
			return nil, fmt.Errorf("line %d of the settlement: it is of provider %q", no, l.Provider)
		}
		lines = append(lines, l)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read the settlement: %w", err)
	}
	if in.N <= 0 {
		return nil, errors.New("the settlement is too large")
	}
	return lines, nil
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

func readSettlementLine(b []byte) (settlementLine, error) {
	var in struct {
		Provider        string    `json:"provider"`
		TransactionID   string    `json:"transactionId"`
		SettlementID    string    `json:"settlementId"`
		UTR             string    `json:"utr"`
		MerchantOrderID string    `json:"merchantOrderId"`
		Kind            string    `json:"kind"`
		AmountMinor     int64     `json:"amountMinor,string"`
		FeeMinor        int64     `json:"feeMinor,string"`
		TaxMinor        int64     `json:"taxMinor,string"`
		NetMinor        int64     `json:"netMinor,string"`
		Currency        string    `json:"currency"`
		At              time.Time `json:"at"`
		SettledAt       time.Time `json:"settledAt"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return settlementLine{}, errors.New("it is not the JSON of a movement")
	}
	l := settlementLine{
		Provider: in.Provider, TransactionID: in.TransactionID, SettlementID: in.SettlementID, UTR: in.UTR, MerchantOrderID: in.MerchantOrderID, Kind: in.Kind,
		AmountMinor: in.AmountMinor, FeeMinor: in.FeeMinor, TaxMinor: in.TaxMinor, NetMinor: in.NetMinor, Currency: in.Currency, MovedAt: in.At, SettledAt: in.SettledAt,
	}
	return l, l.check()
}

func (l settlementLine) check() error {
	for name, s := range map[string]string{
		"provider": l.Provider, "transactionId": l.TransactionID, "settlementId": l.SettlementID, "utr": l.UTR, "merchantOrderId": l.MerchantOrderID,
	} {
		if len(s) > maxRefLen || strings.ContainsRune(s, 0) {
			return fmt.Errorf("%s is too long or holds a zero byte", name)
		}
	}
	switch {
	case l.TransactionID == "":
		return errors.New("it has no transactionId")
	case !currencyCode.MatchString(l.Currency):
		return errors.New("it has no currency")
	case l.MovedAt.IsZero() || l.SettledAt.IsZero():
		return errors.New("it has no time")
	}
	switch ledger.Movement(l.Kind) {
	case ledger.MovedIn, ledger.MovedBack, ledger.Charged, ledger.Reinstated:
	default:
		return fmt.Errorf("%.32q is not a kind of movement", l.Kind)
	}
	if _, err := ledger.Settlement(l.Provider, l.TransactionID, l.booked()); err != nil {
		return err //nolint:wrapcheck // it says what does not add up
	}
	return nil
}

// settlers are the providers whose settlements can be had: by their API, else
// by a file.
func (s *Service) settlers(address string, client *http.Client) map[string]settler {
	m := map[string]settler{}
	for code, p := range s.providers {
		if api, ok := p.(settler); ok {
			m[code] = api
		} else if address != "" {
			m[code] = settlementFile{address: address, provider: code, client: client}
		}
	}
	return m
}

// reconcile is the worker that fetches settlements and compares them with the
// journal, line by line.
func (s *Service) reconcile(ctx context.Context) error {
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		if len(s.settlements) == 0 || s.now().Before(s.nextLook) {
			return 0, nil
		}
		s.nextLook = s.now().Add(settlementLook)
		if err := s.expectDays(ctx); err != nil {
			return 0, err
		}
		days, err := s.leaseDays(ctx)
		if err != nil {
			return 0, err
		}
		for _, d := range days {
			s.fetchDay(ctx, d)
		}
		lines, err := s.leaseLines(ctx)
		if err != nil {
			return 0, err
		}
		for _, l := range lines {
			if err := s.settleLine(ctx, l); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Str("transaction_id", l.TransactionID).Msg("settlement line not compared")
			}
		}
		if len(days)+len(lines) > 0 {
			s.nextLook = time.Time{}
		}
		return len(days) + len(lines), nil
	})
}

// fetchDay keeps a day's lines; a failure is written down and tried again.
func (s *Service) fetchDay(ctx context.Context, d settlementDay) {
	call, cancel := context.WithTimeout(ctx, settlementLimit)
	defer cancel()
	var lines []settlementLine
	err := errors.New("its settlements cannot be had")
	if from, ok := s.settlements[d.Provider]; ok {
		lines, err = from.settlements(call, d.Day)
	}
	if err == nil {
		err = s.keepDay(ctx, d, lines)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	zerolog.Ctx(ctx).Warn().Err(err).Str("provider", d.Provider).Time("day", d.Day).Msg("settlement not fetched")
	if err := s.failDay(ctx, d, err); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("settlement's failure not kept; it is tried again when its lease ends")
	}
}

// settleLine compares one line with the journal. A capture that we have not
// taken yet is asked about first: the file is one more hint, as a callback is.
func (s *Service) settleLine(ctx context.Context, l settlementLine) error {
	p, a, err := s.orderOf(ctx, l.MerchantOrderID)
	if fail.Is(err, fail.NotFound) {
		return s.missLine(ctx, l, lineMissingHere, "there is no such order")
	}
	if err != nil {
		return err
	}
	if p.Provider != l.Provider {
		return s.missLine(ctx, l, lineMissingHere, "the order is of provider "+p.Provider)
	}
	if l.Kind == string(ledger.MovedIn) && a.State != attemptSucceeded {
		if err := s.askAbout(ctx, a, origin{by: byProvider}); err != nil {
			return errors.Join(err, s.missLine(ctx, l, lineMissingHere, "the provider did not confirm the capture"))
		}
	}
	if l.Kind == string(ledger.Charged) {
		if err := s.chargedBack(ctx, l, p); err != nil {
			return err
		}
	}
	return s.matchLine(ctx, l, p.ID)
}

// chargedBack takes a chargeback in the file for a dispute that was lost, unless
// the money was held at its opening.
func (s *Service) chargedBack(ctx context.Context, l settlementLine, p payment) error {
	said := saidOfDispute{PaymentID: p.ID, Provider: p.Provider, DisputeID: l.TransactionID, AmountMinor: l.AmountMinor, State: disputeLost}
	d, err := s.disputeOf(ctx, s.db.Pool, p.ID, l.AmountMinor)
	switch {
	case err == nil && (d.Held || d.State == disputeLost):
		return nil
	case err == nil:
		said.DisputeID = d.ProviderDisputeID
	case !fail.Is(err, fail.NotFound):
		return err
	}
	return s.applyDispute(ctx, said, origin{by: byProvider})
}
