package payment

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	"github.com/manas360/platform/pkg/token"
	paymentv1 "github.com/manas360/platform/proto/gen/manas/payment/v1"
	userv1 "github.com/manas360/platform/proto/gen/manas/user/v1"
)

// fakeMembers is user as payment sees it: one organization, its owner and a member.
type fakeMembers struct {
	userv1.UnimplementedMembershipInternalServiceServer
	org, owner, member uuid.UUID
}

func (f *fakeMembers) GetMembership(_ context.Context, r *userv1.GetMembershipRequest) (*userv1.GetMembershipResponse, error) {
	role := map[uuid.UUID]string{f.owner: "OWNER", f.member: "MEMBER"}[uuid.UUID(r.GetUserId())]
	if uuid.UUID(r.GetOrganizationId()) != f.org || role == "" {
		return nil, fail.New(fail.NotFound, "there is no such organization")
	}
	return &userv1.GetMembershipResponse{Role: role, PayerId: f.owner[:]}, nil
}

// received is one message as a receiver got it.
type received struct {
	header http.Header
	body   []byte
}

// receiver is an organization's server.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex // guards below
	got    []received
	answer int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	x := &receiver{answer: 200}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.got = append(x.got, received{r.Header, b})
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(x.answer)
	}))
	t.Cleanup(x.Close)
	return x
}

func (x *receiver) say(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = status
}

func (x *receiver) all() []received {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]received{}, x.got...)
}

// telling is a rig with an organization whose endpoint is a receiver.
type telling struct {
	*rig
	server *endpointServer
	people *fakeMembers
	to     *receiver
	org    string
}

func newTelling(t *testing.T) *telling {
	t.Helper()
	r := newRig(t)
	people := &fakeMembers{org: uuid.New(), owner: uuid.New(), member: uuid.New()}
	g, err := rpc.NewServer(rpc.ServerConfig{Process: rpctest.Process(t, "user")})
	if err != nil {
		t.Fatal(err)
	}
	userv1.RegisterMembershipInternalServiceServer(g, people)
	r.organizations = newOrganizationPeer(rpctest.Dial(t, "payment", "user", rpctest.Serve(t, g)))
	r.outgoingClient = newOutgoingClient(func(netip.Addr) bool { return true })
	r.checkURL = func(string) error { return nil }
	return &telling{rig: r, server: &endpointServer{Service: r.Service}, people: people, to: newReceiver(t), org: id.Format("org", people.org)}
}

func (x *telling) as(userID uuid.UUID) context.Context {
	return token.NewContext(x.t.Context(), &token.Caller{UserID: userID, SessionID: uuid.New(), Permissions: []string{"profile.update", "payments.read"}})
}

func (x *telling) endpoint(events ...string) *paymentv1.WebhookEndpoint {
	x.t.Helper()
	a, err := x.server.CreateWebhookEndpoint(x.as(x.people.owner), &paymentv1.CreateWebhookEndpointRequest{Id: x.org, Url: x.to.URL, Events: events})
	if err != nil {
		x.t.Fatal(err)
	}
	return a.GetEndpoint()
}

// buys pays for something as the owner.
func (x *telling) buys() payment {
	x.t.Helper()
	in := someOrder()
	in.UserID = x.people.owner
	p := x.open(in)
	x.bank.settle(p.MerchantOrderID, "COMPLETED")
	if _, err := x.sync(x.t.Context(), p); err != nil {
		x.t.Fatal(err)
	}
	return x.read(p.ID)
}

// round delivers what is due, once.
func (x *telling) round() int {
	x.t.Helper()
	due, err := x.leaseDeliveries(x.t.Context(), 100)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, d := range due {
		if err := x.deliverMessage(x.t.Context(), d); err != nil {
			x.t.Fatal(err)
		}
	}
	return len(due)
}

func verify(t *testing.T, secret string, h received) {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(h.body, h.header); err != nil {
		t.Errorf("a third party refuses the signature: %v", err)
	}
}

// A payment is told with the state it was committed in, once for each state,
// under a signature that somebody else's library takes. money.md B33
func TestOutgoing(t *testing.T) {
	x := newTelling(t)
	e := x.endpoint(tellSucceeded, tellRefunded)
	p := x.buys()
	stranger := x.paid()
	if n := x.round(); n != 1 {
		t.Fatalf("%d messages, want 1", n)
	}
	got := x.to.all()
	verify(t, e.GetSecret(), got[0])
	var m struct {
		Type string `json:"type"`
		Data struct {
			ID, State, Version string
			Amount             struct{ AmountMinor, CurrencyCode string }
		} `json:"data"`
	}
	if err := json.Unmarshal(got[0].body, &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != tellSucceeded || m.Data.ID != id.Format("pay", p.ID) || m.Data.State != "SUCCEEDED" || m.Data.Version != strconv.FormatInt(p.Version, 10) || m.Data.Amount.AmountMinor != "29900" {
		t.Errorf("told %s", got[0].body)
	}
	if strings.Contains(string(got[0].body), stranger.ID.String()) {
		t.Error("a stranger's payment was told")
	}
	back := x.mustGiveBack(p, 0)
	x.bank.settleRefund(back.MerchantRefundID, "COMPLETED")
	for range 3 {
		x.looked(back)
	}
	for x.round() > 0 {
		x.advance(time.Second)
	}
	if got = x.to.all(); len(got) != 2 || !strings.Contains(string(got[1].body), `"state":"REFUNDED"`) {
		t.Errorf("%d messages, the last %s", len(got), got[len(got)-1].body)
	}
	if got[0].header.Get("Webhook-Id") == got[1].header.Get("Webhook-Id") {
		t.Error("two messages have one id")
	}
}

// What is not taken comes again under the same id, later each time, for some
// three days; then the endpoint is switched off. A redirect is not followed.
func TestOutgoingRetries(t *testing.T) {
	for _, status := range []int{302, 400, 500} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			x := newTelling(t)
			e := x.endpoint(tellSucceeded)
			x.to.say(status)
			x.buys()
			began := x.clock()
			for range 60 {
				x.round()
				x.advance(2 * time.Hour)
			}
			got := x.to.all()
			if len(got) != len(deliveryPauses)+1 {
				t.Errorf("tried %d times, want %d", len(got), len(deliveryPauses)+1)
			}
			for _, h := range got {
				if h.header.Get("Webhook-Id") != got[0].header.Get("Webhook-Id") {
					t.Error("a repeat has another id")
				}
			}
			now, err := x.server.ListWebhookEndpoints(x.as(x.people.owner), &paymentv1.ListWebhookEndpointsRequest{Id: x.org})
			if err != nil || now.GetEndpoints()[0].GetEnabled() || now.GetEndpoints()[0].GetDisabledReason() == "" || now.GetEndpoints()[0].GetSecret() != "" {
				t.Errorf("after %s: %v, %v", x.clock().Sub(began), now, err)
			}
			if n := x.audited("webhook_endpoint.disabled"); n != 1 {
				t.Errorf("%d audit events", n)
			}
			// Switched on again, a replay gets through.
			x.to.say(204)
			on := true
			if _, err := x.server.UpdateWebhookEndpoint(x.as(x.people.owner), &paymentv1.UpdateWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId(), Enabled: &on}); err != nil {
				t.Fatal(err)
			}
			log, err := x.server.ListWebhookDeliveries(x.as(x.people.owner), &paymentv1.ListWebhookDeliveriesRequest{Id: x.org, EndpointId: e.GetId()})
			if err != nil || len(log.GetDeliveries()) != 1 || log.GetDeliveries()[0].GetState() != paymentv1.WebhookDelivery_FAILED || log.GetDeliveries()[0].GetLastStatus() != int32(status) {
				t.Fatalf("log %v, %v", log, err)
			}
			if _, err := x.server.ReplayWebhookDelivery(x.as(x.people.owner), &paymentv1.ReplayWebhookDeliveryRequest{Id: x.org, EndpointId: e.GetId(), DeliveryId: log.GetDeliveries()[0].GetId()}); err != nil {
				t.Fatal(err)
			}
			x.round()
			log, err = x.server.ListWebhookDeliveries(x.as(x.people.owner), &paymentv1.ListWebhookDeliveriesRequest{Id: x.org, EndpointId: e.GetId()})
			if err != nil || log.GetDeliveries()[0].GetState() != paymentv1.WebhookDelivery_DELIVERED {
				t.Errorf("replayed: %v, %v", log, err)
			}
		})
	}
}

func TestOutgoingGone(t *testing.T) {
	x := newTelling(t)
	x.endpoint(tellSucceeded)
	x.to.say(410)
	x.buys()
	for range 3 {
		x.round()
		x.advance(time.Hour)
	}
	if n := len(x.to.all()); n != 1 {
		t.Errorf("called %d times after it said that it is gone", n)
	}
}

// While a secret is replaced, both sign; a day later the old one no longer does.
func TestOutgoingRotation(t *testing.T) {
	x := newTelling(t)
	e := x.endpoint(tellSucceeded)
	a, err := x.server.RotateWebhookSecret(x.as(x.people.owner), &paymentv1.RotateWebhookSecretRequest{Id: x.org, EndpointId: e.GetId()})
	if err != nil || a.GetEndpoint().GetSecret() == "" || a.GetEndpoint().GetSecret() == e.GetSecret() {
		t.Fatalf("%v, %v", a, err)
	}
	x.buys()
	x.round()
	verify(t, e.GetSecret(), x.to.all()[0])
	verify(t, a.GetEndpoint().GetSecret(), x.to.all()[0])
	x.advance(rotationLife)
	x.buys()
	x.round()
	last := x.to.all()[1]
	if n := len(strings.Fields(last.header.Get("Webhook-Signature"))); n != 1 {
		t.Errorf("%d signatures a day later", n)
	}
	if n := x.number(`SELECT count(*) FROM payment.webhook_endpoint WHERE position($1::bytea IN secret) > 0`, []byte("whsec_")); n != 0 {
		t.Error("a secret lies open in the table")
	}
}

// Only an owner or an admin sees or changes anything.
func TestOutgoingStrangers(t *testing.T) {
	x := newTelling(t)
	e := x.endpoint(tellSucceeded)
	for name, who := range map[string]uuid.UUID{"a member": x.people.member, "a stranger": uuid.New()} {
		ctx := x.as(who)
		for call, do := range map[string]func() (proto.Message, error){
			"create": func() (proto.Message, error) {
				return x.server.CreateWebhookEndpoint(ctx, &paymentv1.CreateWebhookEndpointRequest{Id: x.org, Url: x.to.URL, Events: []string{tellSucceeded}})
			},
			"list": func() (proto.Message, error) {
				return x.server.ListWebhookEndpoints(ctx, &paymentv1.ListWebhookEndpointsRequest{Id: x.org})
			},
			"update": func() (proto.Message, error) {
				return x.server.UpdateWebhookEndpoint(ctx, &paymentv1.UpdateWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId()})
			},
			"rotate": func() (proto.Message, error) {
				return x.server.RotateWebhookSecret(ctx, &paymentv1.RotateWebhookSecretRequest{Id: x.org, EndpointId: e.GetId()})
			},
			"delete": func() (proto.Message, error) {
				return x.server.DeleteWebhookEndpoint(ctx, &paymentv1.DeleteWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId()})
			},
			"log": func() (proto.Message, error) {
				return x.server.ListWebhookDeliveries(ctx, &paymentv1.ListWebhookDeliveriesRequest{Id: x.org, EndpointId: e.GetId()})
			},
			"test": func() (proto.Message, error) {
				return x.server.TestWebhookEndpoint(ctx, &paymentv1.TestWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId()})
			},
		} {
			if _, err := do(); !fail.Is(err, fail.NotFound) {
				t.Errorf("%s may %s: %v", name, call, err)
			}
		}
	}
	for range mostEndpoints - 1 {
		x.endpoint(tellFailed)
	}
	if _, err := x.server.CreateWebhookEndpoint(x.as(x.people.owner), &paymentv1.CreateWebhookEndpointRequest{Id: x.org, Url: x.to.URL, Events: []string{tellFailed}}); !fail.Is(err, fail.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := x.server.TestWebhookEndpoint(x.as(x.people.owner), &paymentv1.TestWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId()}); err != nil {
		t.Fatal(err)
	}
	x.round()
	if got := x.to.all(); len(got) != 1 || !strings.Contains(string(got[0].body), tellTest) {
		t.Errorf("test message: %v", got)
	}
	if _, err := x.server.DeleteWebhookEndpoint(x.as(x.people.owner), &paymentv1.DeleteWebhookEndpointRequest{Id: x.org, EndpointId: e.GetId()}); err != nil {
		t.Fatal(err)
	}
	x.buys()
	if n := x.round(); n != 0 {
		t.Errorf("%d messages to who is not there", n)
	}
}

// An endpoint that is slow or many does not take the others' turn.
func TestOutgoingIsFair(t *testing.T) {
	x := newTelling(t)
	e := x.endpoint(tellSucceeded)
	endpointID, err := id.Parse(endpointPrefix, e.GetId())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := x.addTest(t.Context(), endpoint{ID: endpointID}); err != nil {
			t.Fatal(err)
		}
	}
	other := x.endpoint(tellSucceeded)
	otherID, err := id.Parse(endpointPrefix, other.GetId())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.addTest(t.Context(), endpoint{ID: otherID}); err != nil {
		t.Fatal(err)
	}
	due, err := x.leaseDeliveries(t.Context(), deliveriesAtOnce)
	if err != nil {
		t.Fatal(err)
	}
	turns := map[uuid.UUID]int{}
	for _, d := range due {
		turns[d.EndpointID]++
	}
	if d := cmp.Diff(map[uuid.UUID]int{endpointID: 2, otherID: 1}, turns); d != "" {
		t.Error(d)
	}
}

func TestPublicAddresses(t *testing.T) {
	for _, ip := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
		"100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
		"64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "2002:7f00:1::", "2001::1", "100::1",
	} {
		if public(netip.MustParseAddr(ip)) {
			t.Errorf("%s is taken for public", ip)
		}
	}
	for _, ip := range []string{"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"} {
		if !public(netip.MustParseAddr(ip)) {
			t.Errorf("%s is taken for private", ip)
		}
	}
}

// Whatever the name says, the address that is dialled decides.
func TestOutgoingClientRefusesPrivate(t *testing.T) {
	to := newReceiver(t)
	client := newOutgoingClient(public)
	for _, at := range []string{to.URL, strings.Replace(to.URL, "127.0.0.1", "localhost", 1), strings.Replace(to.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1)} {
		if _, err := post(t.Context(), client, at, "msg_1", time.Now(), "v1,x", nil); err == nil || !strings.Contains(err.Error(), errPrivate.Error()) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if n := len(to.all()); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
	for raw, ok := range map[string]bool{
		"https://example.com/hook": true, "https://example.com:8443/hook?x=1": true, "http://example.com": false, "https://": false, "ftp://example.com": false,
		"https://user:pass@example.com": false, "https://127.0.0.1/": false, "https://[::1]/": false, "https://169.254.169.254/latest": false, "https://example.com/#x": false,
		"https://[fd00::1]/": false, "https://" + strings.Repeat("x", 2100): false, "javascript:alert(1)": false, "https://8.8.8.8/": true,
	} {
		if err := checkAddress(raw); (err == nil) != ok {
			t.Errorf("%.60s: %v", raw, err)
		}
	}
}
