package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"

	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// BenchmarkMe is a request through the whole edge to a service in this process,
// which allocates beside it.
func BenchmarkMe(b *testing.B) {
	h := newHarness(b)
	h.b.when(userv1.UserService_GetMe_FullMethodName, answer(&userv1.GetMeResponse{User: &userv1.User{Id: "usr_x", FirstName: "Asha"}}))
	var tokens [100]string // each account may ask 600 times at once
	for i := range tokens {
		h.user = uuid.New()
		tokens[i] = h.token()
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/users/me", nil)
		n++
		r.RemoteAddr = fmt.Sprintf("100.64.%d.%d:1", n>>8&255, n&255)
		r.Header.Set("Authorization", "Bearer "+tokens[n%len(tokens)])
		w := httptest.NewRecorder()
		h.edge.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
