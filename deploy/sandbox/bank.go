// Package sandbox is a bank behind provider dialects: it takes orders, lets a customer pay them on a page,
// moves money once, and tells the merchant about it with signed callbacks that can be made to misbehave.
// It shares no code with services/payment, so that a misreading of the protocol cannot hide in both.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The dialects, named as the merchant's webhook paths name them.
const (
	phonepe2 = "phonepe"
	phonepe1 = "phonepe-v1"
	razorpay = "razorpay"
	stripe   = "stripe"
)

// States of an order, a refund and a debit of a mandate, as PhonePe spells them. Each dialect has its own words for them.
const (
	statePending    = "PENDING"
	stateAuthorized = "AUTHORIZED" // the merchant has yet to capture
	stateConfirmed  = "CONFIRMED"  // of a refund: the bank has taken it
	stateCompleted  = "COMPLETED"
	stateFailed     = "FAILED"
	stateCancelled  = "CANCELLED"
	stateNotifying  = "NOTIFICATION_IN_PROGRESS"
	stateNotified   = "NOTIFIED"
)

// Kinds of rows in the statement.
const (
	rowCapture    = "CAPTURE"
	rowRefund     = "REFUND"
	rowChargeback = "CHARGEBACK"          // a dispute took the money
	rowReinstated = "CHARGEBACK_REVERSED" // a dispute gave it back
)

const (
	inr          = "INR"
	orderExpired = "ORDER_EXPIRED"
	declined     = "TXN_AUTO_FAILED"
)

var (
	errReused    = errors.New("the merchant's id was used before")
	errUnknown   = errors.New("no such order")
	errPaid      = errors.New("the order is paid")
	errClosed    = errors.New("the order is closed")
	errNotPaid   = errors.New("the order is not paid")
	errTooMuch   = errors.New("more than the order's amount")
	errNoOutcome = errors.New("outcome is SUCCESS, FAILURE or PENDING")
)

// Row is one movement of money in the bank's statement.
type Row struct {
	ID              string    `json:"id"`
	Provider        string    `json:"provider"`
	MerchantOrderID string    `json:"merchantOrderId"`
	Kind            string    `json:"kind"` // CAPTURE, REFUND, CHARGEBACK or CHARGEBACK_REVERSED
	AmountMinor     int64     `json:"amountMinor,string"`
	Currency        string    `json:"currency"`
	At              time.Time `json:"at"`
	OrderID         string    `json:"orderId,omitempty"` // the provider's
}

type attempt struct {
	TransactionID string    `json:"transactionId"`
	State         string    `json:"state"`
	At            time.Time `json:"at"`
	Code          string    `json:"code,omitempty"`
}

// step is what the bank will do by itself later.
type step struct {
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
}

type order struct {
	ID              string            `json:"id"`
	Provider        string            `json:"provider"`
	MerchantOrderID string            `json:"merchantOrderId"`
	Kind            string            `json:"kind,omitempty"` // the dialect's; empty is the plain one
	Amount          int64             `json:"amount"`
	Currency        string            `json:"currency,omitempty"` // empty is INR
	State           string            `json:"state"`
	ErrorCode       string            `json:"errorCode,omitempty"`
	CreatedAt       time.Time         `json:"createdAt,omitzero"`
	ExpireAt        time.Time         `json:"expireAt"`
	ReturnURL       string            `json:"returnUrl,omitempty"`
	CallbackURL     string            `json:"callbackUrl,omitempty"`
	Message         string            `json:"message,omitempty"`
	MetaInfo        map[string]string `json:"metaInfo,omitempty"`
	Attempts        []attempt         `json:"attempts,omitempty"`
	Manual          bool              `json:"manual,omitempty"`      // the merchant captures
	Captured        int64             `json:"captured,omitempty"`    // what a manual capture took
	Refunded        int64             `json:"refunded,omitempty"`    // refunds that have not failed
	HiddenUntil     time.Time         `json:"hiddenUntil,omitzero"`  // the bank knows, the provider does not say yet
	Next            *step             `json:"next,omitempty"`        // what follows by itself
	Disputed        bool              `json:"disputed,omitempty"`    // it has been
	MandateID       string            `json:"mandateId,omitempty"`   // the merchant's id of it
	Debit           *debit            `json:"debit,omitempty"`       // of a mandate
	Salted          *phonepe1Order    `json:"phonepeV1,omitempty"`   // PhonePe v1's own
	Unique          bool              `json:"unique,omitempty"`      // Razorpay's unique_receipt
	Link            *razorpayLink     `json:"link,omitempty"`        // Razorpay's payment link
	Stripe          *stripeOrder      `json:"stripeOrder,omitempty"` // Stripe's own
}

func (o order) currency() string {
	if o.Currency == "" {
		return inr
	}
	return o.Currency
}

// taken is how much of the customer's money the merchant has had.
func (o order) taken() int64 {
	switch {
	case o.State != stateCompleted:
		return 0
	case o.Captured != 0:
		return o.Captured
	}
	return o.Amount
}

func (o order) last() (attempt, bool) {
	if len(o.Attempts) == 0 {
		return attempt{}, false
	}
	return o.Attempts[len(o.Attempts)-1], true
}

// shown is the order as the provider tells it: one that hides its success is pending.
func (o order) shown(now time.Time) order {
	if o.HiddenUntil.IsZero() || !now.Before(o.HiddenUntil) {
		return o
	}
	o.State, o.ErrorCode = statePending, ""
	o.Attempts = slices.Clone(o.Attempts)
	for i := range o.Attempts {
		o.Attempts[i].State = statePending
	}
	return o
}

type refund struct {
	ID               string            `json:"id"`
	Provider         string            `json:"provider,omitempty"` // empty is PhonePe, in old journals
	OrderID          string            `json:"orderId,omitempty"`
	MerchantRefundID string            `json:"merchantRefundId"`
	MerchantOrderID  string            `json:"merchantOrderId"`
	Amount           int64             `json:"amount"`
	Currency         string            `json:"currency,omitempty"`
	State            string            `json:"state"`
	ErrorCode        string            `json:"errorCode,omitempty"`
	TransactionID    string            `json:"transactionId"`
	PaymentID        string            `json:"paymentId,omitempty"` // the payment or charge that it gives back
	Notes            map[string]string `json:"notes,omitempty"`
	Reason           string            `json:"reason,omitempty"`
	Speed            string            `json:"speed,omitempty"`
	CallbackURL      string            `json:"callbackUrl,omitempty"`
	At               time.Time         `json:"at"`
	Next             *step             `json:"next,omitempty"`
}

// answer is what an idempotency key was answered with.
type answer struct {
	Key    string `json:"key"` // with its dialect
	Hash   string `json:"hash"`
	Status int    `json:"status"`
	Body   []byte `json:"body"`
}

// bank is the truth: every change is in the journal before it is in memory.
type bank struct {
	now  func() time.Time
	rand io.Reader

	mu        sync.Mutex // guards all below; held across the journal's write, so its order is the order of changes
	journal   *journal
	orders    map[string]*order // by provider order id
	orderIDs  []string          // in the order of their creation
	alias     map[string]string // what else an order is called → provider order id
	refunds   map[string]*refund
	refundIDs []string
	refundRef map[string]string // provider/merchantRefundId → id
	mandates  map[string]*mandate
	disputes  map[string]*dispute
	events    []stripeEvent
	answers   map[string]answer
	rows      []Row
}

func openBank(dir string, now func() time.Time, rand io.Reader) (*bank, error) {
	b := &bank{
		now: now, rand: rand, orders: map[string]*order{}, alias: map[string]string{}, refunds: map[string]*refund{}, refundRef: map[string]string{},
		mandates: map[string]*mandate{}, disputes: map[string]*dispute{}, answers: map[string]answer{},
	}
	j, err := openJournal(dir, b.apply)
	if err != nil {
		return nil, err
	}
	b.journal = j
	return b, nil
}

func (b *bank) apply(e entry) {
	for _, o := range e.orders() {
		if _, known := b.orders[o.ID]; !known {
			b.orderIDs = append(b.orderIDs, o.ID)
		}
		b.orders[o.ID] = &o
		for _, name := range o.names() {
			b.alias[name] = o.ID
		}
	}
	for _, r := range e.refunds() {
		if _, known := b.refunds[r.ID]; !known {
			b.refundIDs = append(b.refundIDs, r.ID)
		}
		b.refunds[r.ID] = &r
		b.refundRef[r.Provider+"/"+r.MerchantRefundID] = r.ID
	}
	if e.Row != nil {
		b.rows = append(b.rows, *e.Row)
	}
	b.rows = append(b.rows, e.Rows...)
	for _, m := range e.Mandates {
		b.mandates[m.MerchantSubscriptionID] = &m
	}
	for _, d := range e.Disputes {
		b.disputes[d.ID] = &d
	}
	b.events = append(b.events, e.Events...)
	for _, a := range e.Answers {
		b.answers[a.Key] = a
	}
}

// names are what an order can be found by, beside its id.
func (o order) names() []string {
	var all []string
	if o.Provider == phonepe2 || o.Provider == phonepe1 || o.Unique {
		all = append(all, o.Provider+"/"+o.MerchantOrderID)
	}
	if o.Stripe != nil && o.Stripe.Intent != "" {
		all = append(all, o.Stripe.Intent)
	}
	if o.Link != nil {
		all = append(all, o.Link.ID)
	}
	for _, a := range o.Attempts {
		all = append(all, a.TransactionID)
	}
	return all
}

// tx is one change of the bank: all of it is in one line of the journal, or nothing.
type tx struct {
	*bank
	e       entry
	notices []notice
	fate    fate // of the callbacks that this change gives rise to
}

// do runs one change. What fn staged is kept only if it returns nil.
func (b *bank) do(fn func(*tx) error) (*tx, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &tx{bank: b}
	if err := fn(t); err != nil {
		return nil, err
	}
	if t.e.empty() {
		return t, nil
	}
	if err := b.journal.append(t.e); err != nil {
		return nil, err
	}
	b.apply(t.e)
	return t, nil
}

// order finds by any name. An order whose time has run out fails: nobody is told, as with one the customer walked away from.
func (t *tx) order(name string) (order, error) {
	id := name
	if to, ok := t.alias[name]; ok {
		id = to
	}
	for _, o := range t.e.Orders {
		if o.ID == id || slices.Contains(o.names(), name) {
			return o, nil
		}
	}
	at, ok := t.orders[id]
	if !ok {
		return order{}, errUnknown
	}
	o := *at
	if o.open() && !o.ExpireAt.IsZero() && t.now().After(o.ExpireAt) {
		o.State, o.ErrorCode, o.Next = stateFailed, orderExpired, nil
		t.keep(o)
	}
	return o, nil
}

func (o order) open() bool {
	return o.State == statePending || o.State == stateNotifying || o.State == stateNotified
}

// keep stages an order.
func (t *tx) keep(o order) {
	for i := range t.e.Orders {
		if t.e.Orders[i].ID == o.ID {
			t.e.Orders[i] = o
			return
		}
	}
	t.e.Orders = append(t.e.Orders, o)
}

func (t *tx) keepRefund(r refund) {
	for i := range t.e.Refunds {
		if t.e.Refunds[i].ID == r.ID {
			t.e.Refunds[i] = r
			return
		}
	}
	t.e.Refunds = append(t.e.Refunds, r)
}

func (t *tx) row(id, kind string, o order, amount int64) {
	t.e.Rows = append(t.e.Rows, Row{
		ID: id, Provider: o.Provider, MerchantOrderID: o.MerchantOrderID, Kind: kind, AmountMinor: amount, Currency: o.currency(), At: t.now().UTC(), OrderID: o.ID,
	})
}

func (b *bank) statement() []Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rows)
}

// number draws below 10^12.
func (b *bank) number() (uint64, error) {
	var raw [8]byte
	if _, err := io.ReadFull(b.rand, raw[:]); err != nil {
		return 0, fmt.Errorf("draw a reference: %w", err)
	}
	var n uint64
	for _, c := range raw {
		n = n<<8 | uint64(c)
	}
	return n % 1e12, nil
}

// reference makes an id in the bank's own style: a prefix, the minute, random digits.
func (b *bank) reference(prefix string) (string, error) {
	n, err := b.number()
	if err != nil {
		return "", err
	}
	return prefix + b.now().UTC().Format("0601021504") + fmt.Sprintf("%012s", strconv.FormatUint(n, 10)), nil
}

// word makes an id as Razorpay and Stripe do: a prefix and random letters and digits.
func (b *bank) word(prefix string, length int) (string, error) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	raw := make([]byte, length)
	if _, err := io.ReadFull(b.rand, raw); err != nil {
		return "", fmt.Errorf("draw a reference: %w", err)
	}
	for i, c := range raw {
		raw[i] = alphabet[int(c)%len(alphabet)] // a little uneven, which a reference may be
	}
	return prefix + string(raw), nil
}

// transaction names an attempt as the order's provider does.
func (t *tx) transaction(o order) (attempt, error) {
	a := attempt{At: t.now().UTC()}
	var err error
	switch o.Provider {
	case razorpay:
		a.TransactionID, err = t.word("pay_", 14)
	case stripe:
		a.TransactionID, err = t.word("ch_3", 23)
	case phonepe1:
		a.TransactionID = o.ID
	default:
		a.TransactionID, err = t.reference("OM")
	}
	return a, err
}
