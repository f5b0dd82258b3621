package admin

import (
	"testing"
	"time"

	"github.com/manas360/platform/pkg/fail"
	adminv1 "github.com/manas360/platform/proto/gen/manas/admin/v1"
)

// audit_admin_ops.md A-3: a look that cannot be recorded is refused at once, as
// 503, and not after a wait for the record.
func TestNoRecordIsUnavailable(t *testing.T) {
	s, w := open(t)
	s.db.Close()
	began := time.Now()
	if _, err := s.GetUser(operatorCtx(t), &adminv1.GetUserRequest{Id: w.id()}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("answered after %v", took)
	}
}
