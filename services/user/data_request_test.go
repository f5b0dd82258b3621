package user

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// keeper plays a service that holds something about people.
type keeper struct {
	userv1.UnimplementedPersonalDataInternalServiceServer

	name  string
	mu    sync.Mutex // guards all below
	fails int        // calls that fail first
	calls []string
	kept  bool // the person has signed in again
	log   *[]string
}

func (k *keeper) call(what string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, what)
	if k.fails > 0 {
		k.fails--
		return fail.New(fail.Unavailable, "away")
	}
	return nil
}

func (k *keeper) GetPersonalData(context.Context, *userv1.GetPersonalDataRequest) (*userv1.GetPersonalDataResponse, error) {
	if err := k.call("get"); err != nil {
		return nil, err
	}
	return &userv1.GetPersonalDataResponse{Json: []byte(`{"of":"` + k.name + `"}`)}, nil
}

func (k *keeper) ErasePersonalData(context.Context, *userv1.ErasePersonalDataRequest) (*userv1.ErasePersonalDataResponse, error) {
	if k.kept {
		return nil, fail.New(fail.Conflict, "cancelled")
	}
	if err := k.call("erase"); err != nil {
		return nil, err
	}
	*k.log = append(*k.log, k.name)
	return &userv1.ErasePersonalDataResponse{}, nil
}

// withKeepers gives the rig two services that hold something.
func withKeepers(t *testing.T, r *rig) (auth, payment *keeper, order *[]string) {
	t.Helper()
	order = &[]string{}
	auth, payment = &keeper{name: "auth", log: order}, &keeper{name: "payment", log: order}
	for _, k := range []*keeper{auth, payment} {
		g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, k.name)})
		if err != nil {
			t.Fatal(err)
		}
		userv1.RegisterPersonalDataInternalServiceServer(g, k)
		r.people[k.name] = newPersonPeer(grpc.ClientConnInterface(rpctest.Dial(t, "user", k.name, rpctest.Serve(t, g))))
	}
	r.dataKey = []byte(strings.Repeat("d", keyBytes))
	return auth, payment, order
}

func (r *rig) work() error {
	r.t.Helper()
	for {
		more, err := r.workOne(r.t.Context())
		if err != nil || !more {
			return err
		}
	}
}

// A service that is away is asked again, those that have answered are not; the
// archive lies sealed, and goes after a week.
func TestExportGathersFromEveryone(t *testing.T) {
	r := newRig(t)
	auth, payment, _ := withKeepers(t, r)
	payment.fails = 10 // more than a client tries by itself
	asha, ravi := r.join("asha@example.com"), r.join("ravi@example.com")
	data := &dataRequestServer{Service: r.Service}
	asked := must[*userv1.ExportMeResponse](t)(data.ExportMe(asha.ctx(), &userv1.ExportMeRequest{})).GetDataRequest()
	again := must[*userv1.ExportMeResponse](t)(data.ExportMe(asha.ctx(), &userv1.ExportMeRequest{})).GetDataRequest()
	if asked.GetId() != again.GetId() || asked.GetState() != userv1.DataRequest_PENDING {
		t.Fatalf("asked %v, again %v", asked, again)
	}
	if err := r.work(); err == nil {
		t.Fatal("an answer that is missing was not missed")
	}
	payment.fails = 0
	r.clock.move(dataRetryMax)
	if err := r.work(); err != nil {
		t.Fatal(err)
	}
	get := func(h human) (*userv1.DataRequest, error) {
		x, err := data.GetDataRequest(h.ctx(), &userv1.GetDataRequestRequest{Id: asked.GetId()})
		return x.GetDataRequest(), err
	}
	ready, err := get(asha)
	if err != nil || ready.GetState() != userv1.DataRequest_READY || len(ready.GetArchive().GetFields()) != 3 {
		t.Fatalf("got %v, %v", ready, err)
	}
	if len(auth.calls) != 1 {
		t.Errorf("auth was asked %d times, payment %d", len(auth.calls), len(payment.calls))
	}
	if _, err := get(ravi); !fail.Is(err, fail.NotFound) {
		t.Errorf("another's archive: %v", err)
	}
	var sealed []byte
	if err := r.db.Pool.QueryRow(t.Context(), `SELECT content FROM users.data_part WHERE service = 'auth'`).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "auth") {
		t.Error("the part lies open")
	}
	r.clock.move(exportLife + time.Second)
	if err := r.work(); err != nil {
		t.Fatal(err)
	}
	if gone, err := get(asha); err != nil || gone.GetState() != userv1.DataRequest_EXPIRED || gone.GetArchive() != nil {
		t.Errorf("after a week: %v, %v", gone, err)
	}
}

// The person is warned two days before; auth is asked first; what is done is
// not done again; and the key goes with the person.
func TestErasureOfEverything(t *testing.T) {
	r := newRig(t)
	_, payment, order := withKeepers(t, r)
	payment.fails = 1
	asha := r.join("asha@example.com")
	data := &dataRequestServer{Service: r.Service}
	must[*userv1.ExportMeResponse](t)(data.ExportMe(asha.ctx(), &userv1.ExportMeRequest{}))
	_ = r.work() // payment is away once
	r.clock.move(dataRetryMax)
	payment.fails = 1
	must[*userv1.EraseMeResponse](t)(data.EraseMe(asha.ctx(), &userv1.EraseMeRequest{}))
	r.clock.move(erasureDelay - warnBefore + time.Second)
	_ = r.work()
	if len(*order) != 0 {
		t.Fatal("erased before its day")
	}
	r.clock.move(warnBefore)
	_ = r.work() // payment is away once more
	r.clock.move(dataRetryMax)
	if err := r.work(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(*order, []string{"auth", "payment"}) {
		t.Errorf("erased in the order %v", *order)
	}
	for what, sql := range map[string]string{
		"key":  `SELECT count(*) FROM users.person_key`,
		"part": `SELECT count(*) FROM users.data_part`,
		"name": `SELECT count(*) FROM users.profile WHERE first_name <> '' OR email IS NOT NULL`,
		"open": `SELECT count(*) FROM users.data_request WHERE kind = 'ERASURE' AND state <> 'COMPLETED'`,
	} {
		var n int
		if err := r.db.Pool.QueryRow(t.Context(), sql).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d left, %v", what, n, err)
		}
	}
}

// Whoever signs in while the erasure begins keeps everything.
func TestErasureLosesToASignIn(t *testing.T) {
	r := newRig(t)
	auth, _, order := withKeepers(t, r)
	asha := r.join("asha@example.com")
	data := &dataRequestServer{Service: r.Service}
	must[*userv1.EraseMeResponse](t)(data.EraseMe(asha.ctx(), &userv1.EraseMeRequest{}))
	auth.kept = true
	r.clock.move(erasureDelay - warnBefore + time.Second)
	if err := r.work(); err != nil {
		t.Fatal(err)
	}
	r.clock.move(warnBefore)
	if err := r.work(); err != nil {
		t.Fatal(err)
	}
	list := must[*userv1.ListDataRequestsResponse](t)(data.ListDataRequests(asha.ctx(), &userv1.ListDataRequestsRequest{}))
	if len(*order) != 0 || list.GetDataRequests()[0].GetState() != userv1.DataRequest_CANCELLED {
		t.Errorf("erased %v; %v", *order, list)
	}
}
