package sandbox

import (
	"time"

	"github.com/rs/zerolog"
)

// play is what becomes of a customer's success when scenarios are on.
type play struct {
	name    string
	outcome string
	code    string // of a failure
	then    string // what follows by itself, later
	hidden  bool   // the money has moved, the provider does not say so until later
	fate    fate
}

// scenarios by the last two digits of an order's rupees.
var scenarios = map[int64]play{
	1: {name: "declined", outcome: failure, code: "PAYMENT_DECLINED"},
	2: {name: "pending, later paid", outcome: pending, then: success},
	3: {name: "paid, told later", outcome: success, hidden: true},
	4: {name: "callback lost", outcome: success, fate: fate{lost: true}},
	5: {name: "callback three times", outcome: success, fate: fate{extra: 2}},
	6: {name: "callback out of order", outcome: success, fate: fate{held: true}},
	7: {name: "wrong amount in the callback", outcome: success, fate: fate{skew: 100}},
	8: {name: "expired, later paid", outcome: expire, code: orderExpired, then: success},
}

// Two more play when the money is to go back, and when a mandate is used.
const (
	refundFails    = 9
	mandateRevoked = 10
)

func (s *Server) plays(rupeesOf int64, scenario int64) bool {
	return s.knobs.get().Scenarios && rupeesOf/100%100 == scenario
}

// played is the customer's outcome as the scenario of the order's amount turns it.
func (s *Server) played(o order, outcome string) play {
	p, ok := scenarios[o.Amount/100%100]
	if outcome != success || !s.knobs.get().Scenarios || !ok || o.State != statePending && o.State != stateFailed {
		return play{outcome: outcome}
	}
	s.log.Info().Str("order", o.ID).Str("scenario", p.name).Msg("scenario plays")
	return p
}

// later is how long a scenario waits.
func (s *Server) later() time.Duration {
	if n := s.knobs.get().LateMs; n != nil {
		return time.Duration(*n) * time.Millisecond
	}
	return s.late
}

// pace is between the states of a refund.
func (s *Server) pace() time.Duration {
	if n := s.knobs.get().RefundStepMs; n != nil {
		return time.Duration(*n) * time.Millisecond
	}
	return s.step
}

// pay is the customer's decision about an order.
func (s *Server) pay(id, outcome string) (order, error) {
	var o order
	err := s.change(func(t *tx) error {
		now, err := t.order(id)
		o = now
		if err != nil {
			return err
		}
		if now.Debit != nil {
			return errClosed // the customer has no part in a debit
		}
		o, err = s.settle(t, now, outcome)
		return err
	})
	return o, err
}

// settle lets the scenario have its way, and tells the merchant in the dialect of the order.
func (s *Server) settle(t *tx, o order, outcome string) (order, error) {
	p := s.played(o, outcome)
	before := o
	o, changed, err := t.settle(o.ID, p.outcome, p.code)
	if err != nil {
		return o, err
	}
	if p.then != "" && changed != (p.outcome == pending) {
		o.Next = &step{At: t.now().Add(s.later()).UTC(), Outcome: p.then}
		t.keep(o)
	}
	t.fate = p.fate
	if p.hidden && changed {
		o.HiddenUntil = t.now().Add(s.later()).UTC()
		t.fate.after = s.later()
		t.keep(o)
	}
	return o, s.tell(t, before, o, changed)
}

// tell lets the order's dialect say what happened.
func (s *Server) tell(t *tx, before, o order, changed bool) error {
	switch o.Provider {
	case phonepe1:
		return s.phonepe1Tell(t, o, changed)
	case razorpay:
		return s.razorpayTell(t, before, o, changed)
	case stripe:
		return s.stripeTell(t, before, o, changed)
	}
	return s.phonepeTell(t, o, changed)
}

// later outcomes, of orders, refunds and mandates, are taken up again after a restart.
func (s *Server) resume() {
	s.bank.mu.Lock()
	defer s.bank.mu.Unlock()
	for _, o := range s.bank.orders {
		if o.Next != nil {
			s.orderDue(*o)
		}
	}
	for _, r := range s.bank.refunds {
		if r.Next != nil {
			s.refundDue(*r)
		}
	}
	for _, m := range s.bank.mandates {
		if m.Next != nil {
			s.mandateDue(*m)
		}
	}
}

// due starts what the staged changes have planned; it is called when they are kept.
func (s *Server) due(e entry) {
	for _, o := range e.Orders {
		if o.Next != nil {
			s.orderDue(o)
		}
	}
	for _, r := range e.Refunds {
		if r.Next != nil {
			s.refundDue(r)
		}
	}
	for _, m := range e.Mandates {
		if m.Next != nil {
			s.mandateDue(m)
		}
	}
}

func (s *Server) orderDue(o order) {
	s.sender.at(o.Next.At, s.knobs, func() {
		err := s.change(func(t *tx) error {
			now, err := t.order(o.ID)
			if err != nil || now.Next == nil || *now.Next != *o.Next {
				return err
			}
			if now.Debit != nil {
				return s.phonepeDebitStep(t, now)
			}
			next, changed, err := t.settle(now.ID, now.Next.Outcome, "")
			if err != nil {
				return err
			}
			return s.tell(t, now, next, changed)
		})
		logged(s.log, err, "take an order on")
	})
}

func (s *Server) refundDue(r refund) {
	s.sender.at(r.Next.At, s.knobs, func() {
		logged(s.log, s.change(func(t *tx) error {
			now := *t.refunds[r.ID]
			if now.Next == nil || *now.Next != *r.Next {
				return nil
			}
			return s.refundStep(t, now)
		}), "take a refund on")
	})
}

// refundStep goes PENDING, CONFIRMED, then COMPLETED or FAILED.
func (s *Server) refundStep(t *tx, r refund) error {
	end := r.Next.Outcome
	if r.State == statePending && r.Provider == phonepe2 {
		r.State = stateConfirmed
		t.then(r, end, s.pace())
		return s.tellRefund(t, r)
	}
	r, err := t.turn(r, end)
	if err != nil {
		return err
	}
	return s.tellRefund(t, r)
}

func (s *Server) tellRefund(t *tx, r refund) error {
	switch r.Provider {
	case phonepe1:
		return s.phonepe1TellRefund(t, r)
	case razorpay:
		return s.razorpayTellRefund(t, r)
	case stripe:
		return s.stripeTellRefund(t, r)
	}
	return s.phonepeTellRefund(t, r)
}

// work sends a new refund on its way, to the end that the knobs and the scenario give it.
func (s *Server) work(t *tx, o order, r refund) refund {
	end := stateCompleted
	if s.knobs.takeRefund() || s.plays(o.Amount, refundFails) {
		end = stateFailed
	}
	return t.then(r, end, s.pace())
}

func logged(log zerolog.Logger, err error, doing string) {
	if err != nil {
		log.Error().Err(err).Msg(doing)
	}
}
