package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Control says how the provider misbehaves from now on. The zero value is good behaviour.
type Control struct {
	DelayMs           int  `json:"delayMs"`           // before each callback
	Duplicate         int  `json:"duplicate"`         // extra copies of each callback
	Drop              int  `json:"drop"`              // how many of the next callbacks are lost
	Reorder           bool `json:"reorder"`           // hold a callback until the next has been sent
	Forge             bool `json:"forge"`             // send another one with a wrong signature and a wrong amount
	FailNextCalls     int  `json:"failNextCalls"`     // how many of the merchant's next calls answer 503
	StatusUnavailable bool `json:"statusUnavailable"` // the status calls answer 503

	LoseAnswers  int  `json:"loseAnswers"`  // how many of the next calls take effect, and then the connection is cut
	CallDelayMs  int  `json:"callDelayMs"`  // before each call of the merchant is worked on
	FailRefunds  int  `json:"failRefunds"`  // how many of the next refunds the bank turns down in the end
	FailDebits   int  `json:"failDebits"`   // how many of the next debits of a mandate fail
	RefundStepMs *int `json:"refundStepMs"` // between the states of a refund, and of a mandate's notice; unset is the usual
	LateMs       *int `json:"lateMs"`       // what "later" means in a scenario; unset is the usual

	DropPercent      int    `json:"dropPercent"`      // of all callbacks are lost
	DuplicatePercent int    `json:"duplicatePercent"` // come twice
	ReorderPercent   int    `json:"reorderPercent"`   // are held until the next has been sent
	Seed             uint64 `json:"seed"`             // of the draws behind the percentages: the same seed draws the same
	LifeMs           int    `json:"lifeMs"`           // the longest that an order of PhonePe v2 stays open; 0 is what the merchant asked

	Scenarios bool       `json:"scenarios"` // the last two digits of an order's rupees choose what happens to it
	Clock     *time.Time `json:"clock"`     // the bank's time from now on, running; unset is the true one
}

// parseControl reads the whole state: what the body does not name is off.
func parseControl(raw []byte) (Control, error) {
	var c Control
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Control{}, fmt.Errorf("read control: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Control{}, errors.New("read control: more than one JSON value")
	}
	for _, f := range []struct {
		name     string
		got, max int
	}{
		{"delayMs", c.DelayMs, 10 * 60 * 1000},
		{"duplicate", c.Duplicate, 100},
		{"drop", c.Drop, 1_000_000},
		{"failNextCalls", c.FailNextCalls, 1_000_000},
		{"loseAnswers", c.LoseAnswers, 1_000_000},
		{"callDelayMs", c.CallDelayMs, 10 * 60 * 1000},
		{"failRefunds", c.FailRefunds, 1_000_000},
		{"failDebits", c.FailDebits, 1_000_000},
		{"refundStepMs", orZero(c.RefundStepMs), 10 * 60 * 1000},
		{"lateMs", orZero(c.LateMs), 10 * 60 * 1000},
		{"dropPercent", c.DropPercent, 100},
		{"duplicatePercent", c.DuplicatePercent, 100},
		{"reorderPercent", c.ReorderPercent, 100},
		{"lifeMs", c.LifeMs, 60 * 60 * 1000},
	} {
		if f.got < 0 || f.got > f.max {
			return Control{}, fmt.Errorf("%s is from 0 to %d", f.name, f.max)
		}
	}
	return c, nil
}

func orZero(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

type knobs struct {
	truly func() time.Time

	mu      sync.Mutex // guards all below
	now     Control
	draws   *rand.Rand
	set0    time.Time     // when the clock was set, in true time
	changed chan struct{} // closed when the clock is set
}

func newKnobs(truly func() time.Time) *knobs {
	return &knobs{truly: truly, changed: make(chan struct{}), draws: rand.New(rand.NewPCG(0, 0))} //nolint:gosec // it has to be repeatable
}

func (k *knobs) set(c Control) {
	k.mu.Lock()
	defer k.mu.Unlock()
	moved := c.Clock != nil || k.now.Clock != nil
	k.now = c
	k.draws = rand.New(rand.NewPCG(c.Seed, 0)) //nolint:gosec // it has to be repeatable
	if moved {
		k.set0 = k.truly()
		close(k.changed)
		k.changed = make(chan struct{})
	}
}

func (k *knobs) get() Control {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// clock is the bank's time.
func (k *knobs) clock() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.truly()
	if k.now.Clock == nil {
		return now
	}
	return k.now.Clock.Add(now.Sub(k.set0))
}

// moved is closed when the clock is set again.
func (k *knobs) moved() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// take uses up one of a counter and reports whether there was one.
func (k *knobs) take(of func(*Control) *int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := of(&k.now)
	if *n == 0 {
		return false
	}
	*n--
	return true
}

// luck is what chance does to one callback.
type luck struct{ lost, twice, held bool }

// draw takes three numbers for every callback, whatever the percentages: those of one do not move another's.
func (k *knobs) draw() luck {
	k.mu.Lock()
	defer k.mu.Unlock()
	hit := func(percent int) bool { return k.draws.IntN(100) < percent }
	return luck{lost: hit(k.now.DropPercent), twice: hit(k.now.DuplicatePercent), held: hit(k.now.ReorderPercent)}
}

// expiry is when an order closes that the merchant wants open until at.
func (k *knobs) expiry(now, at time.Time) time.Time {
	life := time.Duration(k.get().LifeMs) * time.Millisecond
	if life == 0 || at.Before(now.Add(life)) {
		return at
	}
	return now.Add(life)
}

func (k *knobs) takeCall() bool   { return k.take(func(c *Control) *int { return &c.FailNextCalls }) }
func (k *knobs) takeDrop() bool   { return k.take(func(c *Control) *int { return &c.Drop }) }
func (k *knobs) takeAnswer() bool { return k.take(func(c *Control) *int { return &c.LoseAnswers }) }
func (k *knobs) takeRefund() bool { return k.take(func(c *Control) *int { return &c.FailRefunds }) }
func (k *knobs) takeDebit() bool  { return k.take(func(c *Control) *int { return &c.FailDebits }) }
