package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/pg"
)

// The ways a message goes out.
const (
	channelEmail    = "EMAIL"
	channelSMS      = "SMS"
	channelWhatsApp = "WHATSAPP"
)

var channels = []string{channelEmail, channelSMS, channelWhatsApp}

const (
	mailTimeout   = 10 * time.Second // of one attempt at the transport
	mailRetry     = time.Second      // doubled with each attempt
	mailRetryMax  = time.Hour
	mailTries     = 24 // then the message is given up: over half a day
	mailTriesCode = 12 // over half an hour: an old code is of no use to anybody
)

// mail is a message before it is written out.
type mail struct {
	Channel          string // EMAIL when empty
	To               string // an address, or for the other channels a telephone number
	Template, Locale string
	Name             string            // of the reader
	Code             string            // empty in most
	Params           map[string]string // detail, date, and link: a path of our own
}

// letter is a message as it goes out, contract section 11.
type letter struct {
	To       string `json:"to"`
	Channel  string `json:"channel"`
	Template string `json:"template"`
	Locale   string `json:"locale"`
	Subject  string `json:"subject"`
	Text     string `json:"text"`
	HTML     string `json:"html,omitempty"` // e-mail only
	Code     string `json:"code"`
	SentAt   string `json:"sentAt"`
}

// transport carries letters of one channel. It may see a letter twice, and
// then with the same id. Its error is an undelivered: nothing else may reach a
// log or the job's row, since servers like to repeat the reader's address.
type transport interface {
	send(ctx context.Context, id uuid.UUID, l letter) error
}

// undelivered says why a message did not go out, without naming anybody.
type undelivered struct {
	Why   string
	Final bool // another try would end the same
}

func (e *undelivered) Error() string { return e.Why }

// errGivenUp is of a message that nobody will try to send again.
var errGivenUp = errors.New("message given up")

// queueMail writes a message in the transaction of what it tells of, and the
// job that sends it. Only the sealed text is kept, and only until it is sent.
// Without To it does the same work, so that timing does not tell who exists,
// and keeps nothing: the job finds nothing to send.
func (s *Service) queueMail(ctx context.Context, tx pg.Tx, m mail, now time.Time) error {
	if m.Channel == "" {
		m.Channel = channelEmail
	}
	l, err := s.scribe.write(m)
	if err != nil {
		return err
	}
	content, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	q := queued{ID: s.ids.New(), Channel: l.Channel, Template: l.Template, Locale: l.Locale}
	if sealed := seal(s.secrets.mail, content, messageRow(q.ID)); m.To != "" {
		q.Content = sealed
	}
	if err := s.insertMessage(ctx, tx, q, now); err != nil {
		return err
	}
	return s.jobs.add(ctx, tx, q.ID, q.Channel, m.Code != "")
}

func messageRow(id uuid.UUID) string { return "message " + id.String() }

// sendMessage sends a message unless that has been done. One that dies between
// sending and noting it sends it twice: never not at all. last is the last try
// there will be. Fails with errGivenUp, and then the message is blank.
func (s *Service) sendMessage(ctx context.Context, id uuid.UUID, last bool) error {
	q, waits, err := s.message(ctx, id)
	if err != nil || !waits {
		return err
	}
	why := s.deliver(ctx, q)
	if why != nil && ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("send a message: %w", ctx.Err()) // the process ends; the next one sends it
	}
	if why == nil {
		if err := s.messageSent(ctx, q.ID, s.now()); err != nil {
			return err
		}
		s.posted.sent(q.Channel)
		return nil
	}
	var u *undelivered
	given := last || errors.As(why, &u) && u.Final
	s.posted.failed(q.Channel, given)
	log := zerolog.Ctx(ctx).With().Str("message_id", id.String()).Str("channel", q.Channel).Str("template", q.Template).Logger()
	if !given {
		log.Warn().Err(why).Msg("message not sent yet")
		return errors.Join(why, s.messageFailed(ctx, id, false))
	}
	log.Error().Err(why).Msg("message given up")
	if err := s.messageFailed(ctx, id, true); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errGivenUp, why)
}

func (s *Service) deliver(ctx context.Context, q queued) error {
	content, err := unseal(s.secrets.mail, q.Content, messageRow(q.ID))
	if err != nil {
		return &undelivered{Why: "the message does not open: was JWT_SECRET changed?"}
	}
	var l letter
	if err := json.Unmarshal(content, &l); err != nil {
		return &undelivered{Why: "the message is not a letter", Final: true}
	}
	l.SentAt = s.now().UTC().Format(time.RFC3339Nano)
	by, ok := s.transports[q.Channel]
	if !ok {
		return &undelivered{Why: "no transport is configured for " + q.Channel}
	}
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	return by.send(ctx, q.ID, l)
}

// tries is how often a message is tried before it is given up.
func tries(code bool) int {
	if code {
		return mailTriesCode
	}
	return mailTries
}

// backoff is how long to wait after a failed try; the first is 1.
func backoff(try int) time.Duration {
	return min(mailRetry<<min(max(try-1, 0), 20), mailRetryMax)
}
