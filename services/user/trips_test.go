package user

import (
	"testing"

	"github.com/google/uuid"

	"github.com/manas360/platform/pkg/pgtest"
	"github.com/manas360/platform/pkg/token"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// TestMeIsOneTrip: GET /users/me reads one row, and asks nobody.
func TestMeIsOneTrip(t *testing.T) {
	r := newRig(t)
	who := uuid.New()
	r.auth.accounts[who] = &authv1.Account{Id: who[:], State: authv1.Account_ACTIVE, Email: new("asha@example.com"), FirstName: "Asha", LastName: "Rao"}
	ctx := token.NewContext(t.Context(), &token.Caller{UserID: who, SessionID: uuid.New()})
	if _, err := r.GetMe(ctx, &userv1.GetMeRequest{}); err != nil { // makes the row if its event is late
		t.Fatal(err)
	}
	var trips *pgtest.Trips
	r.db, trips = pgtest.Counted(t, r.db)
	asked := r.auth.asked
	if _, err := r.GetMe(ctx, &userv1.GetMeRequest{}); err != nil {
		t.Fatal(err)
	}
	if sent := trips.Take(); len(sent) != 1 || r.auth.asked != asked {
		t.Errorf("%d statements and %d calls of auth, want 1 and 0: %q", len(sent), r.auth.asked-asked, sent)
	}
}
