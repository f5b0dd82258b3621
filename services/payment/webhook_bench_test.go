package payment

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/manas360/platform/migrations"
	"github.com/manas360/platform/pkg/id"
	"github.com/manas360/platform/pkg/pgtest"
)

// reads is a fuzz target of a parser: it never panics, says the same twice, and
// gives only what the database takes.
func reads(f *testing.F, parse claimReader, seeds ...[]byte) {
	f.Helper()
	for _, seed := range seeds {
		f.Add(seed)
	}
	for _, odd := range []string{"", "[]", "null", `{"event":"\u0000","payload":{}}`, `{"event":"e","payload":{"amount":9223372036854775808}}`} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parse(map[string]string{idHeader: "a\x00b", razorpayIDHeader: "a\xffb"}, body)
		if err != nil {
			return
		}
		again, err := parse(map[string]string{}, body)
		if err != nil || again.Key != c.Key {
			t.Errorf("%q has two keys (%v)", body, err)
		}
		texts := strings.Join(append([]string{c.Event, c.EventID, c.Topic, c.Subject, c.MerchantOrderID, c.State, c.Currency}, c.Refs...), "")
		if c.Event == "" || len(c.Event) > maxEventLen || len(c.MerchantOrderID) > maxRefLen || len(c.Refs) > maxRefs ||
			strings.ContainsRune(texts, 0) || strings.ToValidUTF8(texts, "") != texts {
			t.Errorf("%q was read as %+v", body, c)
		}
	})
}

var seedClaim = said{paid: true, ref: "P1-1", order: "order_1", amount: price, currency: "INR"}

func FuzzParsePhonePe(f *testing.F)   { reads(f, parsePhonePe, phonepeBody(seedClaim)) }
func FuzzParsePhonePeV1(f *testing.F) { reads(f, parsePhonePeV1, phonepe1Body(seedClaim)) }
func FuzzParseRazorpay(f *testing.F)  { reads(f, parseRazorpay, razorpayBody(seedClaim)) }
func FuzzParseStripe(f *testing.F)    { reads(f, parseStripe, stripeBody(seedClaim)) }
func FuzzParseSandbox(f *testing.F)   { reads(f, parseSandbox, sandboxBody(seedClaim)) }

// BenchmarkReceive sends 300 callbacks a second, whether or not the ones before
// are answered, and reports how long the slowest of a hundred took: verified and
// durable. money.md M1
func BenchmarkReceive(b *testing.B) {
	const perSecond = 300
	r := newBench(b)
	all := doors()
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	pace := time.NewTicker(time.Second / perSecond)
	defer pace.Stop()
	b.ResetTimer()
	for i := range b.N {
		d := all[i%len(all)]
		ref := fmt.Sprintf("PBENCH-%d", i)
		body := d.body(said{paid: true, ref: ref, order: "order_" + ref, amount: price, currency: "INR"})
		headers := d.sign(d.now, r.now(), body)
		<-pace.C
		wg.Go(func() {
			began := time.Now()
			if _, err := r.receive(context.WithoutCancel(b.Context()), d.name, headers, body); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// newBench is the service with a table that is not empty.
func newBench(b *testing.B) *Service {
	b.Helper()
	c := Config{
		PhonePe:       PhonePe{BaseURL: "http://127.0.0.1:1", ClientID: "CLIENT", ClientSecret: "SECRET", ClientVersion: "1", WebhookUsername: webhookUser, WebhookPassword: webhookPass},
		Callbacks:     someCallbacks,
		PhonePeV1:     somePhonePeV1,
		SandboxSecret: sandboxSecret, PublicURL: "http://localhost:5001", PageTokenSecret: "page token secret of at least 32 characters",
	}
	s := New(c, pgtest.New(b, schema, migrations.For("payment")), id.NewMaker(time.Now, rand.Reader), time.Now)
	_, err := s.db.Pool.Exec(b.Context(), `
INSERT INTO payment.webhook_event (id, provider, event_key, event, topic, merchant_order_id, provider_refs, body, headers, state, next_attempt_at, received_at)
SELECT gen_random_uuid(), 'phonepe', sha256(i::text::bytea), 'checkout.order.completed', 'order', 'P' || i, ARRAY['order_' || i, 'pay_' || i], '{}', '{}', 'PROCESSED', now(), now()
  FROM generate_series(1, 100000) i`)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
