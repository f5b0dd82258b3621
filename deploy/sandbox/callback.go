package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// callbackTries is how often one callback is sent until the merchant answers 2xx. PhonePe publishes no
// table for v2; its static-QR pages say three. A merchant must not rely on more, so neither do we.
const callbackTries = 3

// callback is one signed message to the merchant.
type callback struct {
	url   string
	body  []byte
	sign  func(body []byte, at time.Time) http.Header // when it is sent: a late one is not a stale one
	tries int
}

// fate is what a scenario does to the callbacks of one change, beside the knobs.
type fate struct {
	lost  bool
	extra int           // copies
	held  bool          // until another callback has been sent
	after time.Duration // later than usual
	skew  int64         // what is wrong with the amount, under a good signature
}

// notice is what the merchant is told of one change.
type notice struct {
	genuine []callback
	forged  callback
	fate    fate
}

// sender delivers callbacks in their own goroutines, in the way the knobs say.
type sender struct {
	client  *http.Client
	knobs   *knobs
	log     zerolog.Logger
	now     func() time.Time // the true time, whatever the bank's clock says: signatures are dated with it
	backoff time.Duration    // before the second try; four times as long before the third

	ctx  context.Context // the life of the sender, not of a request
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex // guards held
	held *callback
}

func newSender(ctx context.Context, k *knobs, log zerolog.Logger, now func() time.Time, backoff time.Duration) *sender {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	return &sender{client: &http.Client{Timeout: 5 * time.Second}, knobs: k, log: log, now: now, backoff: backoff, ctx: ctx, stop: stop}
}

// post takes the genuine callbacks, and a forged one for the forge knob, and returns at once.
func (s *sender) post(n notice) {
	c := s.knobs.get()
	delay := time.Duration(c.DelayMs)*time.Millisecond + n.fate.after
	if c.Forge && n.forged.url != "" {
		s.spawn(delay, 0, n.forged)
	}
	for _, genuine := range n.genuine {
		by := s.knobs.draw()
		if n.fate.lost || by.lost || s.knobs.takeDrop() {
			s.log.Info().Str("url", genuine.url).Msg("callback dropped")
			continue
		}
		extra := c.Duplicate + n.fate.extra
		if by.twice {
			extra++
		}
		first, late, ok := s.order(genuine, c.Reorder || n.fate.held || by.held)
		if !ok {
			continue
		}
		s.wg.Go(func() {
			s.copies(delay, extra, first)
			if late != nil {
				s.copies(0, extra, *late)
			}
		})
	}
}

// order holds a callback until the next one comes, and lets that one go first.
func (s *sender) order(next callback, reorder bool) (first callback, late *callback, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reorder && s.held == nil {
		s.held = &next
		return callback{}, nil, false
	}
	late, s.held = s.held, nil
	return next, late, true
}

// release sends a held callback: its knob was turned off.
func (s *sender) release() {
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	if held != nil {
		s.spawn(0, 0, *held)
	}
}

func (s *sender) spawn(delay time.Duration, extra int, c callback) {
	s.wg.Go(func() { s.copies(delay, extra, c) })
}

// copies sends all copies at the same time, which is the harder case for the merchant.
func (s *sender) copies(delay time.Duration, extra int, c callback) {
	if !s.wait(delay) {
		return
	}
	var wg sync.WaitGroup
	for range extra + 1 {
		wg.Go(func() { s.deliver(c) })
	}
	wg.Wait()
}

func (s *sender) deliver(c callback) {
	pause := s.backoff
	for try := 1; ; try++ {
		status, err := s.send(c)
		if err == nil && status/100 == 2 {
			return
		}
		s.log.Warn().Err(err).Str("url", c.url).Int("status", status).Int("try", try).Msg("callback refused")
		if try >= c.tries || !s.wait(pause) {
			return
		}
		pause *= 4
	}
}

func (s *sender) send(c callback) (status int, err error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		return 0, fmt.Errorf("make the callback: %w", err)
	}
	req.Header = c.sign(c.body, s.now())
	res, err := s.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("send the callback: %w", err)
	}
	// Reading to the end lets the connection serve the next callback.
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

func (s *sender) wait(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// close ends all deliveries; what was not delivered is lost, as with a provider that gave up.
func (s *sender) close() {
	s.stop()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}
