package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
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
	} {
		if f.got < 0 || f.got > f.max {
			return Control{}, fmt.Errorf("%s is from 0 to %d", f.name, f.max)
		}
	}
	return c, nil
}

type knobs struct {
	mu  sync.Mutex // guards now
	now Control
}

func (k *knobs) set(c Control) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = c
}

func (k *knobs) get() Control {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// takeCall uses up one refused call and reports whether there was one.
func (k *knobs) takeCall() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now.FailNextCalls == 0 {
		return false
	}
	k.now.FailNextCalls--
	return true
}

// takeDrop uses up one lost callback and reports whether there was one.
func (k *knobs) takeDrop() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now.Drop == 0 {
		return false
	}
	k.now.Drop--
	return true
}
