package payment

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/services/payment/factstate"
	"github.com/manas360/platform/services/payment/signature"
)

// What organizations can be told of.
const (
	tellSucceeded = "payment.succeeded"
	tellFailed    = "payment.failed"
	tellRefunded  = "payment.refunded"
	tellDisputed  = "payment.disputed"
	tellTest      = "webhook.test"
)

// States of a delivery.
const (
	deliveryPending   = "PENDING"
	deliveryDelivered = "DELIVERED"
	deliveryFailed    = "FAILED"
)

const (
	endpointPrefix   = "whk"
	deliveryPrefix   = "dlv"
	mostEndpoints    = 10 // of one organization
	webhookKeyBytes  = 32
	rotationLife     = 24 * time.Hour // of the secret before
	deliveryLease    = 30 * time.Second
	deliveriesAtOnce = 8
	maxWebhookURL    = 2048
)

// deliveryPauses are between tries: some three days in all, as Standard Webhooks
// advises.
var deliveryPauses = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 3 * time.Hour,
	6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 24 * time.Hour,
}

// endpoint is where an organization is told of its payments.
type endpoint struct {
	ID             uuid.UUID
	OrganizationID uuid.UUID
	PayerID        uuid.UUID
	URL            string `db:"url"`
	Description    string
	Events         []string
	Enabled        bool
	DisabledReason string
	Secret         []byte // sealed
	PreviousSecret []byte // sealed
	PreviousUntil  *time.Time
	FailingSince   *time.Time
	CreatedAt      time.Time
}

// delivery is one message to one endpoint.
type delivery struct {
	ID            uuid.UUID
	EndpointID    uuid.UUID
	MessageID     string
	Event         string
	Body          []byte
	State         string
	Attempts      int
	NextAttemptAt *time.Time
	LastStatus    int
	LastError     string
	LatencyMs     int
	CreatedAt     time.Time
	DeliveredAt   *time.Time
}

// sealer keeps endpoint secrets; each is bound to its own row.
type sealer struct{ aead cipher.AEAD }

func newSealer(secret string) sealer {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "manas360 webhook endpoint secret", webhookKeyBytes)
	if err != nil {
		panic("payment: derive key: " + err.Error()) // 32 bytes are always to be had
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("payment: make cipher: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("payment: make aead: " + err.Error())
	}
	return sealer{aead: aead}
}

func (s sealer) seal(endpointID uuid.UUID, secret string) []byte {
	return s.aead.Seal(nil, nil, []byte(secret), endpointID[:]) //nolint:gosec // the aead makes the nonce itself
}

func (s sealer) open(endpointID uuid.UUID, sealed []byte) (string, error) {
	plain, err := s.aead.Open(nil, nil, sealed, endpointID[:])
	if err != nil {
		return "", fmt.Errorf("open the secret of endpoint %s: %w", endpointID, err)
	}
	return string(plain), nil
}

// newWebhookSecret is a secret in the form of Standard Webhooks.
func (s *Service) newWebhookSecret() (string, error) {
	key := make([]byte, webhookKeyBytes)
	if _, err := s.rand.Read(key); err != nil {
		return "", fmt.Errorf("draw a webhook secret: %w", err)
	}
	return "whsec_" + base64.StdEncoding.EncodeToString(key), nil
}

// checkAddress refuses what is not a public https address by its looks. What it
// resolves to is checked when it is dialled, each time.
func checkAddress(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(raw) > maxWebhookURL {
		return fail.New(fail.InvalidArgument, "the request is invalid").Field("url", "is not a public https address")
	}
	if ip, err := literal(u.Hostname()); err == nil && !public(ip) {
		return fail.New(fail.InvalidArgument, "the request is invalid").Field("url", "is not a public https address")
	}
	return nil
}

// told is the event of a payment's new state; empty when nobody is told.
func told(before, after factstate.State) string {
	switch {
	case after == factstate.PartiallyRefunded, after == factstate.Refunded:
		return tellRefunded
	case after == factstate.Succeeded && !before.Paid():
		return tellSucceeded
	case after == factstate.Failed, after == factstate.Expired, after == factstate.Cancelled:
		return tellFailed
	default:
		return ""
	}
}

// message is the body of a message about a payment, from the row as it is
// committed, with its version: who gets two out of order can tell.
func message(event string, p payment, now time.Time) ([]byte, error) {
	type amount struct {
		CurrencyCode string `json:"currencyCode"`
		AmountMinor  int64  `json:"amountMinor,string"`
	}
	body := struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{event, now.UTC(), struct {
		ID              string     `json:"id"`
		State           string     `json:"state"`
		Amount          amount     `json:"amount"`
		RefundedAmount  amount     `json:"refundedAmount"`
		Disputed        bool       `json:"disputed"`
		Purpose         string     `json:"purpose"`
		ProductCode     string     `json:"productCode"`
		Provider        string     `json:"provider"`
		MerchantOrderID string     `json:"merchantOrderId"`
		FailureCode     string     `json:"failureCode,omitempty"`
		CreatedAt       time.Time  `json:"createdAt"`
		PaidAt          *time.Time `json:"paidAt,omitempty"`
		Version         int64      `json:"version,string"`
	}{
		id.Format("pay", p.ID), string(p.State),
		amount{p.Currency, p.AmountMinor},
		amount{p.Currency, p.RefundedMinor},
		p.Disputed, p.Purpose,
		p.ProductCode, p.Provider, p.MerchantOrderID, p.FailureCode, p.CreatedAt.UTC(), p.PaidAt, p.Version,
	}}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write a message: %w", err)
	}
	return b, nil
}

// messageID names a message by what it tells, so that it is told once.
func messageID(p payment, event string) string {
	return "msg_" + uuid.NewSHA1(p.ID, fmt.Appendf(nil, "%s %d", event, p.Version)).String()
}

// outgoing is the worker that delivers messages. One endpoint that is slow holds
// up its own slots alone: at most two at once are its.
func (s *Service) outgoing(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, deliveriesAtOnce)
	return s.every(ctx, nil, func(ctx context.Context) (int, error) {
		free := cap(slots) - len(slots)
		if free == 0 {
			return 0, nil
		}
		due, err := s.leaseDeliveries(ctx, free)
		for _, d := range due {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				if err := s.deliverMessage(ctx, d); err != nil && ctx.Err() == nil {
					zerolog.Ctx(ctx).Warn().Err(err).Stringer("delivery_id", d.ID).Msg("delivery's end not kept; it comes again")
				}
			})
		}
		return 0, err
	})
}

// deliverMessage sends one message and keeps how it went.
func (s *Service) deliverMessage(ctx context.Context, d delivery) error {
	e, err := s.endpointByID(ctx, d.EndpointID)
	if err != nil {
		return err
	}
	began := s.now()
	status, err := s.send(ctx, e, d, began)
	if ctx.Err() != nil {
		return nil // we are stopping: the lease ends, and it is sent again
	}
	took := s.now().Sub(began)
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	return s.keepDelivery(keep, e, d, status, took, err)
}

var errNotTaken = errors.New("it was not taken")

// send signs with each secret in force. Any 2xx takes the message; nothing else
// does, a redirect neither.
func (s *Service) send(ctx context.Context, e endpoint, d delivery, at time.Time) (status int, err error) {
	secrets := signature.Secrets{}
	sealed := [][]byte{e.Secret}
	if e.PreviousUntil != nil && at.Before(*e.PreviousUntil) {
		sealed = append(sealed, e.PreviousSecret)
	}
	for _, b := range sealed {
		secret, err := s.sealer.open(e.ID, b)
		if err != nil {
			return 0, err
		}
		secrets = append(secrets, secret)
	}
	signed, err := signature.Standard(d.MessageID, at, d.Body, secrets)
	if err != nil {
		return 0, fmt.Errorf("sign a message: %w", err)
	}
	return post(ctx, s.outgoingClient, e.URL, d.MessageID, at, signed, d.Body)
}

// nextTry gives the pause after so many tries, a tenth to either side by the
// delivery's own id; false when that was the last.
func nextTry(d delivery, attempts int) (time.Duration, bool) {
	if attempts > len(deliveryPauses) {
		return 0, false
	}
	pause := deliveryPauses[attempts-1]
	spread := int64(pause / 5)
	return pause - pause/10 + time.Duration(int64(binary.BigEndian.Uint32(d.ID[12:]))%spread), true
}
