package sandbox

import "time"

// at does something when the bank's clock gets there. Setting the clock wakes everybody who waits for it.
func (s *sender) at(when time.Time, k *knobs, do func()) {
	s.wg.Go(func() {
		for {
			moved := k.moved()
			if s.sleep(when.Sub(k.clock()), moved) {
				break
			}
		}
		if s.ctx.Err() == nil {
			do()
		}
	})
}

// sleep reports whether the time was slept to its end, or the sender's life is over.
func (s *sender) sleep(d time.Duration, woken <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return true
	case <-woken:
		return false
	}
}
