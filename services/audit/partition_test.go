package audit

import (
	"encoding/binary"
	"testing"
	"time"
)

// audit_admin_ops.md A-15: an event of a month that has no partition makes one
// on its way in; the rest of its batch is not held up and nothing dies.
func TestMonthIsMadeOnTheWay(t *testing.T) {
	s, in := open(t)
	far := time.Now().AddDate(0, -20, 0)
	month := "audit.event_security_" + far.UTC().Format("200601")
	there := func() (there bool) {
		t.Helper()
		if err := s.db.Pool.QueryRow(t.Context(), `SELECT to_regclass($1) IS NOT NULL`, month).Scan(&there); err != nil {
			t.Fatal(err)
		}
		return there
	}
	if there() {
		t.Fatalf("%s is there before anything needs it", month)
	}
	late := event("session.opened", "usr_a", far)
	copy(late.GetId(), binary.BigEndian.AppendUint64(nil, uint64(far.UnixMilli())<<16)[:6])
	deliver(t, in, event("session.opened", "usr_a", time.Now()), late)
	if !there() {
		t.Errorf("%s was not made", month)
	}
	if h, err := s.head(t.Context()); err != nil || h.Size != 2 {
		t.Errorf("the log has %d events, %v", h.Size, err)
	}
}
