package sandbox

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// What the bank keeps of a payment: 2 %, and GST of 18 % on that, each rounded half up to the paisa.
const (
	feePercent = 2
	gstPercent = 18
)

func fees(amount int64) (fee, tax int64) {
	fee = percent(amount, feePercent)
	return fee, percent(fee, gstPercent)
}

func percent(amount, p int64) int64 { return (amount*p + 50) / 100 }

// settled is one line of a settlement file.
type settled struct {
	SettlementID    string    `json:"settlementId"`
	Provider        string    `json:"provider"`
	Kind            string    `json:"kind"`
	MerchantOrderID string    `json:"merchantOrderId"`
	OrderID         string    `json:"orderId"`
	TransactionID   string    `json:"transactionId"`
	AmountMinor     int64     `json:"amountMinor,string"`
	FeeMinor        int64     `json:"feeMinor,string"`
	TaxMinor        int64     `json:"taxMinor,string"`
	NetMinor        int64     `json:"netMinor,string"` // negative: the merchant pays
	Currency        string    `json:"currency"`
	At              time.Time `json:"at"`
	SettledAt       time.Time `json:"settledAt"` // the midnight that ends the day
	UTR             string    `json:"utr"`
}

// settlement is the rows of one day in India, or of all days of a longer time.
func settlement(rows []Row, from, to time.Time) []settled {
	var all []settled
	for _, r := range rows {
		if r.At.Before(from) || !r.At.Before(to) {
			continue
		}
		day := r.At.In(ist)
		end := time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, ist)
		id := digitsOf(r.Provider + day.Format(time.DateOnly))
		l := settled{
			SettlementID: "setl_" + id, Provider: r.Provider, Kind: r.Kind, MerchantOrderID: r.MerchantOrderID, OrderID: r.OrderID, TransactionID: r.ID,
			AmountMinor: r.AmountMinor, NetMinor: -r.AmountMinor, Currency: r.Currency, At: r.At, SettledAt: end.UTC(), UTR: id,
		}
		switch r.Kind {
		case rowCapture:
			l.FeeMinor, l.TaxMinor = fees(r.AmountMinor)
			l.NetMinor = r.AmountMinor - l.FeeMinor - l.TaxMinor
		case rowReinstated:
			l.NetMinor = r.AmountMinor
		}
		all = append(all, l)
	}
	return all
}

// showSettlement is the file of a day, in NDJSON, of one provider if it is named.
func (s *Server) showSettlement(w http.ResponseWriter, r *http.Request) {
	from, err := time.ParseInLocation(time.DateOnly, r.URL.Query().Get("date"), ist)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "INVALID_ARGUMENT", "message": "date is a day as 2026-01-31"})
		return
	}
	provider := r.URL.Query().Get("provider")
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	for _, l := range settlement(s.bank.statement(), from, from.AddDate(0, 0, 1)) {
		if provider != "" && provider != l.Provider {
			continue
		}
		if err := e.Encode(l); err != nil {
			return // the reader has gone
		}
	}
}

// razorpayRecon is the settlement file as Razorpay serves it: of a month, or of a day.
func (s *Server) razorpayRecon(t *tx, r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	year, errYear := strconv.Atoi(q.Get("year"))
	month, errMonth := strconv.Atoi(q.Get("month"))
	if errYear != nil || errMonth != nil || month < 1 || month > 12 {
		return nil, badRazorpay("month", "The year and month fields are required.")
	}
	from := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, ist)
	to := from.AddDate(0, 1, 0)
	if day, err := strconv.Atoi(q.Get("day")); err == nil && day > 0 {
		from = time.Date(year, time.Month(month), day, 0, 0, 0, 0, ist)
		to = from.AddDate(0, 0, 1)
	}
	count, skip, _, _ := between(r)
	if n, err := strconv.Atoi(q.Get("count")); err == nil && n > count {
		count = min(n, 1000)
	}
	items := []map[string]any{}
	for _, l := range settlement(t.rows, from, to) {
		if l.Provider == razorpay {
			items = append(items, reconLine(l, t))
		}
	}
	return razorpayList(pageOf(items, count, skip)), nil
}

func reconLine(l settled, t *tx) map[string]any {
	kind, debit, credit, payment := "payment", int64(0), l.NetMinor, any(nil)
	switch l.Kind {
	case rowRefund:
		kind, debit, credit = "refund", l.AmountMinor, 0
		if r, ok := t.refunds[l.TransactionID]; ok {
			payment = r.PaymentID
		}
	case rowChargeback:
		kind, debit, credit = "adjustment", l.AmountMinor, 0
	}
	return map[string]any{
		"entity_id": l.TransactionID, "type": kind, "debit": debit, "credit": credit, "amount": l.AmountMinor, "currency": l.Currency, "fee": l.FeeMinor + l.TaxMinor, "tax": l.TaxMinor,
		"on_hold": false, "settled": true, "created_at": l.At.Unix(), "settled_at": l.SettledAt.Unix(), "settlement_id": l.SettlementID, "settlement_utr": l.UTR, "description": nil,
		"notes": map[string]any{}, "payment_id": payment, "order_id": l.OrderID, "order_receipt": l.MerchantOrderID, "method": "upi", "card_network": nil, "card_issuer": nil, "card_type": nil, "dispute_id": nil,
	}
}
