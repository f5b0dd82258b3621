package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// States of a mandate, beside PENDING and FAILED.
const (
	mandateActive    = "ACTIVE"
	mandatePaused    = "PAUSED"
	mandateIsRevoked = "REVOKED" // by the customer
	mandateCancelled = "CANCELLED"
	mandateExpired   = "EXPIRED"
)

const (
	pennyDrop       = "PENNY_DROP"  // 200 paise, given back
	firstDebit      = "TRANSACTION" // the setup is the first payment
	pennyDropAmount = 200
	mandateMax      = 1_500_000
	mandateTries    = 4 // one, and three more by us
)

// ist is the zone of the rules for debits; India has no other and no summer time.
var ist = time.FixedZone("IST", 5*60*60+30*60)

// phonepeMandate is what a setup agrees.
type phonepeMandate struct {
	MerchantSubscriptionID string `json:"merchantSubscriptionId,omitempty"`
	AuthWorkflowType       string `json:"authWorkflowType,omitempty"`
	AmountType             string `json:"amountType,omitempty"`
	MaxAmount              int64  `json:"maxAmount,omitempty"`
	Frequency              string `json:"frequency,omitempty"`
	ProductType            string `json:"productType,omitempty"`
	ExpireAt               int64  `json:"expireAt,omitempty"` // milliseconds
}

type mandate struct {
	phonepeMandate
	ID         string    `json:"id"`
	State      string    `json:"state"`
	SetupOrder string    `json:"setupOrder"`
	At         time.Time `json:"at"`
	Next       *step     `json:"next,omitempty"`
}

// debit is the part of an order that uses a mandate.
type debit struct {
	Retry      string    `json:"retry"` // STANDARD: PhonePe tries again; CUSTOM: the merchant does
	Auto       bool      `json:"auto,omitempty"`
	NotifiedAt time.Time `json:"notifiedAt,omitzero"`
}

func no(code, message string) phonepeRuleError { return phonepeRuleError{code, message} }

func (m phonepeMandate) check(amount int64, now time.Time) error {
	frequencies := []string{"DAILY", "WEEKLY", "FORTNIGHTLY", "MONTHLY", "BIMONTHLY", "QUARTERLY", "HALFYEARLY", "YEARLY", "ON_DEMAND"}
	switch {
	case !merchantID.MatchString(m.MerchantSubscriptionID):
		return no("BAD_REQUEST", "merchantSubscriptionId is 1 to 63 of A-Z a-z 0-9 _ -")
	case m.AuthWorkflowType != pennyDrop && m.AuthWorkflowType != firstDebit:
		return no("BAD_REQUEST", "authWorkflowType is PENNY_DROP or TRANSACTION")
	case m.AuthWorkflowType == pennyDrop && amount != pennyDropAmount:
		return no("BAD_REQUEST", "a penny drop is of 200 paise")
	case m.AmountType != "FIXED" && m.AmountType != "VARIABLE":
		return no("BAD_REQUEST", "amountType is FIXED or VARIABLE")
	case m.MaxAmount < 1 || m.MaxAmount > mandateMax:
		return no("BAD_REQUEST", "maxAmount is at most 1500000 paise")
	case m.AuthWorkflowType == firstDebit && amount > m.MaxAmount:
		return no("BAD_REQUEST", "amount is more than maxAmount")
	case !slices.Contains(frequencies, m.Frequency):
		return no("BAD_REQUEST", "frequency is not known")
	case m.ProductType != "" && m.ProductType != "UPI_MANDATE":
		return no("BAD_REQUEST", "productType is UPI_MANDATE")
	case m.ExpireAt != 0 && !time.UnixMilli(m.ExpireAt).After(now):
		return no("BAD_REQUEST", "the mandate's expireAt is in the past")
	}
	return nil
}

// setUp opens the mandate that an order is to agree.
func (t *tx) setUp(o *order, flow phonepeFlow) error {
	m := flow.phonepeMandate
	if flow.SubscriptionDetails != nil {
		m = *flow.SubscriptionDetails
	}
	if err := m.check(o.Amount, t.now()); err != nil {
		return err
	}
	if _, taken := t.mandates[m.MerchantSubscriptionID]; taken {
		return errReused
	}
	id, err := t.reference("OMS")
	if err != nil {
		return err
	}
	if m.ExpireAt == 0 {
		m.ExpireAt = t.now().AddDate(30, 0, 0).UnixMilli()
	}
	o.MandateID = m.MerchantSubscriptionID
	t.e.Mandates = append(t.e.Mandates, mandate{phonepeMandate: m, ID: id, State: statePending, At: t.now().UTC()})
	return nil
}

// mandate finds one by the merchant's id. One whose time has run out is over.
func (t *tx) mandate(ref string) (mandate, error) {
	at, ok := t.mandates[ref]
	for i := range t.e.Mandates {
		if t.e.Mandates[i].MerchantSubscriptionID == ref {
			at, ok = &t.e.Mandates[i], true
		}
	}
	if !ok {
		return mandate{}, no("SUBSCRIPTION_NOT_FOUND", "no such subscription")
	}
	m := *at
	if (m.State == mandateActive || m.State == mandatePaused) && t.now().After(time.UnixMilli(m.ExpireAt)) {
		m.State = mandateExpired
		t.keepMandate(m)
	}
	return m, nil
}

func (t *tx) keepMandate(m mandate) {
	for i := range t.e.Mandates {
		if t.e.Mandates[i].ID == m.ID {
			t.e.Mandates[i] = m
			return
		}
	}
	t.e.Mandates = append(t.e.Mandates, m)
}

// setUpDone makes the mandate what its setup order became. A penny drop gives its coin back.
func (s *Server) setUpDone(t *tx, o order) error {
	m, err := t.mandate(o.MandateID)
	if err != nil {
		return err
	}
	switch o.State {
	case stateCompleted:
		if m.State == mandateActive {
			return nil
		}
		m.State, m.SetupOrder = mandateActive, o.ID
		if s.plays(m.MaxAmount, mandateRevoked) {
			m.Next = &step{At: t.now().Add(s.later()).UTC(), Outcome: mandateIsRevoked}
		}
		if a, ok := o.last(); ok && m.AuthWorkflowType == pennyDrop {
			t.row(a.TransactionID+"R", rowRefund, o, o.Amount)
			o.Refunded = o.Amount
			t.keep(o)
		}
	case stateFailed:
		m.State = stateFailed
	}
	t.keepMandate(m)
	return nil
}

func (s *Server) mandateDue(m mandate) {
	s.sender.at(m.Next.At, s.knobs, func() {
		logged(s.log, s.change(func(t *tx) error {
			now, err := t.mandate(m.MerchantSubscriptionID)
			if err != nil || now.Next == nil {
				return err
			}
			_, err = s.mandateTo(t, now, now.Next.Outcome)
			return err
		}), "take a mandate on")
	})
}

// mandateTo changes a mandate's state and tells the merchant.
func (s *Server) mandateTo(t *tx, m mandate, state string) (mandate, error) {
	from := map[string][]string{
		mandatePaused: {mandateActive}, mandateActive: {mandatePaused},
		mandateIsRevoked: {mandateActive, mandatePaused}, mandateCancelled: {mandateActive, mandatePaused},
	}[state]
	if !slices.Contains(from, m.State) {
		return m, no("INVALID_SUBSCRIPTION_STATE", "the subscription is "+m.State)
	}
	m.State, m.Next = state, nil
	t.keepMandate(m)
	name := map[string]string{mandatePaused: "paused", mandateActive: "unpaused", mandateIsRevoked: "revoked", mandateCancelled: "cancelled"}[state]
	lie := m
	lie.MaxAmount++
	t.notices = append(t.notices, notice{
		genuine: []callback{s.phonepeCallback("subscription."+name, s.mandateBody(m), s.phonepe, callbackTries)},
		forged:  s.phonepeCallback("subscription."+name, s.mandateBody(lie), forgedPhonePe, 1),
	})
	return m, nil
}

func (s *Server) mandateBody(m mandate) map[string]any {
	return map[string]any{
		"merchantId": s.phonepe.ClientID, "merchantSubscriptionId": m.MerchantSubscriptionID, "subscriptionId": m.ID, "state": m.State,
		"authWorkflowType": m.AuthWorkflowType, "amountType": m.AmountType, "maxAmount": m.MaxAmount, "frequency": m.Frequency, "expireAt": m.ExpireAt,
	}
}

// mandateByCustomer is what the customer does with the mandate in the app.
func (s *Server) mandateByCustomer(w http.ResponseWriter, r *http.Request) {
	raw, ok := readBody(w, r)
	var q struct {
		MerchantSubscriptionID string `json:"merchantSubscriptionId"`
		Action                 string `json:"action"`
	}
	state := ""
	if ok && json.Unmarshal(raw, &q) == nil {
		state = map[string]string{"PAUSE": mandatePaused, "UNPAUSE": mandateActive, "REVOKE": mandateIsRevoked}[q.Action]
	}
	if state == "" {
		phonepeError(w, http.StatusBadRequest, "BAD_REQUEST", "merchantSubscriptionId, and action PAUSE, UNPAUSE or REVOKE are needed")
		return
	}
	m, err := s.mandateChange(q.MerchantSubscriptionID, state)
	if err != nil {
		s.phonepeFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.mandateBody(m))
}

func (s *Server) mandateChange(ref, state string) (m mandate, err error) {
	err = s.change(func(t *tx) error {
		m, err = t.mandate(ref)
		if err == nil {
			m, err = s.mandateTo(t, m, state)
		}
		return err
	})
	return m, err
}
