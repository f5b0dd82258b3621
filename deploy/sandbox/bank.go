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

// States of an order and of a refund, as PhonePe spells them.
const (
	statePending   = "PENDING"
	stateCompleted = "COMPLETED"
	stateFailed    = "FAILED"
)

var (
	errReused    = errors.New("the merchant's id was used before")
	errUnknown   = errors.New("no such order")
	errPaid      = errors.New("the order is paid")
	errNotPaid   = errors.New("the order is not paid")
	errTooMuch   = errors.New("more than the order's amount")
	errNoOutcome = errors.New("outcome is SUCCESS, FAILURE or PENDING")
)

// Row is one movement of money in the bank's statement.
type Row struct {
	ID              string    `json:"id"`
	Provider        string    `json:"provider"`
	MerchantOrderID string    `json:"merchantOrderId"`
	Kind            string    `json:"kind"` // CAPTURE or REFUND
	AmountMinor     int64     `json:"amountMinor,string"`
	Currency        string    `json:"currency"`
	At              time.Time `json:"at"`
}

type attempt struct {
	TransactionID string    `json:"transactionId"`
	State         string    `json:"state"`
	At            time.Time `json:"at"`
}

type order struct {
	ID              string            `json:"id"`
	Provider        string            `json:"provider"`
	MerchantOrderID string            `json:"merchantOrderId"`
	Amount          int64             `json:"amount"`
	State           string            `json:"state"`
	ErrorCode       string            `json:"errorCode,omitempty"`
	ExpireAt        time.Time         `json:"expireAt"`
	ReturnURL       string            `json:"returnUrl,omitempty"`
	Message         string            `json:"message,omitempty"`
	MetaInfo        map[string]string `json:"metaInfo,omitempty"`
	Attempts        []attempt         `json:"attempts,omitempty"`
}

type refund struct {
	ID               string    `json:"id"`
	MerchantRefundID string    `json:"merchantRefundId"`
	MerchantOrderID  string    `json:"merchantOrderId"`
	Amount           int64     `json:"amount"`
	State            string    `json:"state"`
	TransactionID    string    `json:"transactionId"`
	At               time.Time `json:"at"`
}

// bank is the truth: every change is in the journal before it is in memory.
type bank struct {
	now  func() time.Time
	rand io.Reader

	mu      sync.Mutex // guards all below; held across the journal's write, so its order is the order of changes
	journal *journal
	orders  map[string]*order // by provider order id
	byRef   map[string]string // merchantOrderId → provider order id
	refunds map[string]*refund
	rows    []Row
}

func openBank(dir string, now func() time.Time, rand io.Reader) (*bank, error) {
	b := &bank{now: now, rand: rand, orders: map[string]*order{}, byRef: map[string]string{}, refunds: map[string]*refund{}}
	j, err := openJournal(dir, b.apply)
	if err != nil {
		return nil, err
	}
	b.journal = j
	return b, nil
}

func (b *bank) apply(e entry) {
	if e.Order != nil {
		b.orders[e.Order.ID] = e.Order
		b.byRef[e.Order.MerchantOrderID] = e.Order.ID
	}
	if e.Refund != nil {
		b.refunds[e.Refund.MerchantRefundID] = e.Refund
	}
	if e.Row != nil {
		b.rows = append(b.rows, *e.Row)
	}
}

func (b *bank) commit(e entry) error {
	if err := b.journal.append(e); err != nil {
		return err
	}
	b.apply(e)
	return nil
}

func (b *bank) open(o order) (order, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.byRef[o.MerchantOrderID]; taken {
		return order{}, errReused
	}
	id, err := b.reference("OMO")
	if err != nil {
		return order{}, err
	}
	o.ID, o.State = id, statePending
	return o, b.commit(entry{Order: &o})
}

func (b *bank) orderByRef(ref string) (order, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(b.byRef[ref])
}

func (b *bank) order(id string) (order, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(id)
}

// read fails an order whose time has run out: nobody is told, as with an order the customer walked away from.
func (b *bank) read(id string) (order, error) {
	o, ok := b.orders[id]
	if !ok {
		return order{}, errUnknown
	}
	c := *o
	if c.State == statePending && !c.ExpireAt.IsZero() && b.now().After(c.ExpireAt) {
		c.State, c.ErrorCode = stateFailed, "ORDER_EXPIRED"
		if err := b.commit(entry{Order: &c}); err != nil {
			return order{}, err
		}
	}
	return c, nil
}

// settle does what the customer did on the page. changed reports whether the merchant is to be told.
// A success after a failure is taken, as real banks do; money moves once for an order, whatever is repeated.
func (b *bank) settle(id, outcome string) (o order, changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, err = b.read(id)
	if err != nil {
		return order{}, false, err
	}
	var next string
	switch outcome {
	case "SUCCESS":
		next = stateCompleted
	case "FAILURE":
		next = stateFailed
	case "PENDING":
		next = statePending
	default:
		return order{}, false, errNoOutcome
	}
	if o.State == stateCompleted && next != stateCompleted {
		return o, false, errPaid
	}
	if o.State == next && next != statePending || o.State == stateFailed && next == statePending {
		return o, false, nil
	}
	tx, err := b.reference("OM")
	if err != nil {
		return order{}, false, err
	}
	at := b.now().UTC()
	o.State, o.ErrorCode = next, ""
	o.Attempts = append(o.Attempts[:len(o.Attempts):len(o.Attempts)], attempt{TransactionID: tx, State: next, At: at})
	if next == stateFailed {
		o.ErrorCode = "TXN_AUTO_FAILED"
	}
	stored := o
	e := entry{Order: &stored}
	if next == stateCompleted {
		e.Row = &Row{ID: tx, Provider: o.Provider, MerchantOrderID: o.MerchantOrderID, Kind: "CAPTURE", AmountMinor: o.Amount, Currency: "INR", At: at}
	}
	return o, next != statePending, b.commit(e)
}

// giveBack refunds at once. Only the order's amount bounds it, as PhonePe documents: the sum over several refunds is the merchant's to guard.
func (b *bank) giveBack(r refund) (refund, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.refunds[r.MerchantRefundID]; taken {
		return refund{}, errReused
	}
	o, err := b.read(b.byRef[r.MerchantOrderID])
	if err != nil {
		return refund{}, err
	}
	if o.State != stateCompleted {
		return refund{}, errNotPaid
	}
	if r.Amount > o.Amount {
		return refund{}, errTooMuch
	}
	if r.ID, err = b.reference("OMR"); err != nil {
		return refund{}, err
	}
	if r.TransactionID, err = b.reference("OM"); err != nil {
		return refund{}, err
	}
	r.State, r.At = stateCompleted, b.now().UTC()
	row := Row{ID: r.TransactionID, Provider: o.Provider, MerchantOrderID: o.MerchantOrderID, Kind: "REFUND", AmountMinor: r.Amount, Currency: "INR", At: r.At}
	return r, b.commit(entry{Refund: &r, Row: &row})
}

func (b *bank) refundByRef(ref string) (refund, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.refunds[ref]
	if !ok {
		return refund{}, errUnknown
	}
	return *r, nil
}

func (b *bank) statement() []Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rows)
}

// reference makes an id in the bank's own style: a prefix, the minute, random digits.
func (b *bank) reference(prefix string) (string, error) {
	var raw [8]byte
	if _, err := io.ReadFull(b.rand, raw[:]); err != nil {
		return "", fmt.Errorf("draw a reference: %w", err)
	}
	var n uint64
	for _, c := range raw {
		n = n<<8 | uint64(c)
	}
	return prefix + b.now().UTC().Format("0601021504") + fmt.Sprintf("%012s", strconv.FormatUint(n%1e12, 10)), nil
}
