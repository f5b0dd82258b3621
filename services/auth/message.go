package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/manas360/platform/pkg/pg"
)

const (
	mailPoll     = time.Second      // when nobody wakes the sender
	mailTimeout  = 10 * time.Second // of one message, database included
	mailRetry    = time.Second      // doubled with each attempt
	mailLastTry  = 12               // then the message is given up
	mailRetryMax = 10 * time.Minute
)

// mail is a message before it is written out.
type mail struct {
	To, Template, Locale string
	Name                 string // of the reader
	Code                 string // empty in most
	Channel              string // EMAIL when empty; else SMS or WHATSAPP, and To is a phone
	Params               map[string]string
}

// letter is a message as it goes out, contract section 11.
type letter struct {
	To       string `json:"to"`
	Channel  string `json:"channel"`
	Template string `json:"template"`
	Locale   string `json:"locale"`
	Subject  string `json:"subject"`
	Text     string `json:"text"`
	Code     string `json:"code"`
	SentAt   string `json:"sentAt"`
}

// mailer is the sending end of the queue. send is the transport: files for
// now.
type mailer struct {
	dir  string
	now  func() time.Time
	seq  atomic.Int64
	bell chan struct{}
}

func newMailer(dir string, now func() time.Time) *mailer {
	return &mailer{dir: dir, now: now, bell: make(chan struct{}, 1)}
}

// wake tells the sender that there may be something to send.
func (m *mailer) wake() {
	select {
	case m.bell <- struct{}{}:
	default: // it is awake already
	}
}

// prepare makes the directory; start-up fails when mail cannot go out.
func (m *mailer) prepare() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of messages: %w", err)
	}
	return nil
}

// send writes one file, whole or not at all; names sort in the order of sending.
func (m *mailer) send(l letter) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	name := fmt.Sprintf("%s-%06d.json", m.now().UTC().Format("20060102T150405.000000000Z"), m.seq.Add(1))
	path := filepath.Join(m.dir, name)
	temp := filepath.Join(m.dir, "."+name+".tmp")
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // emptied under us: make it for the next try
			return errors.Join(err, m.prepare())
		}
		return fmt.Errorf("write a message: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("place a message: %w", err)
	}
	return nil
}

// queueMail writes a message in the transaction of what it tells of. Only the
// sealed text is kept, and only until it is sent.
func (s *Service) queueMail(ctx context.Context, tx pg.Tx, m mail, now time.Time) error {
	if m.Channel == "" {
		m.Channel = channelEmail
	}
	subject, text := render(m)
	content, err := json.Marshal(letter{To: m.To, Channel: m.Channel, Template: m.Template, Locale: m.Locale, Subject: subject, Text: text, Code: m.Code})
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	id := s.ids.New()
	return s.insertMessage(ctx, tx, queued{
		ID: id, Channel: m.Channel, Template: m.Template, Locale: m.Locale, Content: seal(s.secrets.mail, content, "message "+id.String()),
	}, now)
}

// sendMail sends what waits until ctx ends.
func (s *Service) sendMail(ctx context.Context) error {
	tick := time.NewTicker(mailPoll)
	defer tick.Stop()
	for {
		sent, err := s.sendOne(ctx)
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("mail waits: queue not read")
		}
		if sent && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.mail.bell:
		case <-tick.C:
		}
	}
}

// sendOne sends the first message due. Two processes never take the same; one
// that dies between sending and committing sends it twice.
func (s *Service) sendOne(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	err = s.db.InTx(ctx, func(ctx context.Context, tx pg.Tx) error {
		now := s.now()
		q, found, err := s.takeMessage(ctx, tx, now)
		if more = found; err != nil || !found {
			return err
		}
		if err := s.deliver(q, now); err != nil {
			dead := q.Attempts+1 >= mailLastTry
			zerolog.Ctx(ctx).Error().Err(err).Str("template", q.Template).Bool("given_up", dead).Msg("message not sent")
			return s.messageFailed(ctx, tx, q.ID, now.Add(min(mailRetry<<min(q.Attempts, 20), mailRetryMax)), dead)
		}
		return s.messageSent(ctx, tx, q.ID, now)
	})
	return more, err
}

func (s *Service) deliver(q queued, now time.Time) error {
	content, err := unseal(s.secrets.mail, q.Content, "message "+q.ID.String())
	if err != nil {
		return err
	}
	var l letter
	if err := json.Unmarshal(content, &l); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	l.SentAt = now.UTC().Format(time.RFC3339Nano)
	return s.mail.send(l)
}
