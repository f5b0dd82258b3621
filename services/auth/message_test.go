package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/manas360/platform/pkg/pg"
	"github.com/manas360/platform/pkg/token"
)

// postbox is a transport that fails as it is told and remembers what it took.
type postbox struct {
	sent chan letter
	fail func(try int, l letter) error // nil never fails

	mu    sync.Mutex // guards tries
	tries map[uuid.UUID]int
}

func newPostbox(fail func(try int, l letter) error) *postbox {
	return &postbox{sent: make(chan letter, 1000), fail: fail, tries: map[uuid.UUID]int{}}
}

func (p *postbox) send(_ context.Context, id uuid.UUID, l letter) error {
	p.mu.Lock()
	p.tries[id]++
	try := p.tries[id]
	p.mu.Unlock()
	if p.fail != nil {
		if err := p.fail(try, l); err != nil {
			return err
		}
	}
	p.sent <- l
	return nil
}

// next is the next letter, which must come.
func (p *postbox) next(t *testing.T) letter {
	t.Helper()
	select {
	case l := <-p.sent:
		return l
	case <-time.After(30 * time.Second):
		t.Fatal("no letter came")
		return letter{}
	}
}

// through has everything go to p, and jobs timed by the real clock, which is
// River's.
func (b *bench) through(p transport) {
	b.now = time.Now
	b.transports = map[string]transport{channelEmail: p, channelSMS: p, channelWhatsApp: p}
}

// work runs the jobs until the test or the answered function ends them.
func (b *bench) work(ctx context.Context) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.runJobs(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.t.Errorf("jobs: %v", err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) mustQueue(m mail) {
	b.t.Helper()
	if err := b.db.InTx(b.t.Context(), func(ctx context.Context, tx pg.Tx) error { return b.queueMail(ctx, tx, m, b.now()) }); err != nil {
		b.t.Fatal(err)
	}
}

// eventually waits until a count is as wanted: the job's row follows the letter.
func (b *bench) eventually(want int, sql string) {
	b.t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got := -1; got != want; got = b.count(sql) {
		select {
		case <-late:
			b.t.Fatalf("%s: got %d, want %d", sql, got, want)
		case <-tick.C:
		}
	}
}

var anyMail = mail{To: "asha@example.com", Template: "verify_email", Name: "Asha", Code: "314159"}

// TestMessageIsTheChanges: no commit, no message, no job.
func TestMessageIsTheChanges(t *testing.T) {
	b := newBench(t)
	boom := errors.New("boom")
	err := b.db.InTx(t.Context(), func(ctx context.Context, tx pg.Tx) error {
		return errors.Join(b.queueMail(ctx, tx, anyMail, b.now()), boom)
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if n := b.count(`SELECT (SELECT count(*) FROM auth.message) + (SELECT count(*) FROM auth.river_job)`); n != 0 {
		t.Errorf("%d rows outlived the rollback", n)
	}
	b.mustQueue(anyMail)
	if n := b.count(`SELECT count(*) FROM auth.river_job WHERE state = 'available' AND queue = 'email' AND max_attempts = 12`); n != 1 {
		t.Errorf("%d jobs after the commit, want 1", n)
	}
}

// TestDecoy leaves the rows of a letter and sends none.
func TestDecoy(t *testing.T) {
	b := newBench(t)
	p := newPostbox(nil)
	b.through(p)
	m := anyMail
	m.To = ""
	b.mustQueue(m)
	b.work(t.Context())
	b.eventually(1, `SELECT count(*) FROM auth.river_job AS j JOIN auth.message AS m ON m.id = (j.args->>'message_id')::uuid WHERE j.state = 'completed' AND m.content IS NULL`)
	if n := len(p.sent); n != 0 {
		t.Errorf("%d letters were sent", n)
	}
}

// TestSentAfterCommit measures how long a code takes to lie in a file.
func TestSentAfterCommit(t *testing.T) {
	b := newBench(t)
	p := newPostbox(nil)
	b.through(p)
	b.work(t.Context())
	b.mustQueue(anyMail)
	p.next(t) // the client is up
	var took []time.Duration
	for i := range 40 {
		m := anyMail
		m.Channel = channels[i%2]
		b.mustQueue(m)
		began := time.Now()
		if l := p.next(t); l.Channel != m.Channel || l.Code != m.Code || l.SentAt == "" {
			t.Fatalf("got %+v", l)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("commit to transport: median %v, 95%% %v, most %v", took[20], took[38], took[39])
	if took[20] > 100*time.Millisecond {
		t.Errorf("half take longer than %v", took[20])
	}
	b.eventually(0, `SELECT count(*) FROM auth.message WHERE content IS NOT NULL OR sent_at IS NULL`)
	b.eventually(41, `SELECT count(*) FROM auth.river_job WHERE state = 'completed'`)
}

// TestFilesComeInOrder: names sort as the letters were queued, and hold what
// contract section 11 says.
func TestFilesComeInOrder(t *testing.T) {
	b := newBench(t)
	b.now = time.Now
	var want []string
	for i := range 20 {
		m := anyMail
		m.Code = fmt.Sprintf("%06d", i)
		want = append(want, m.Code)
		b.mustQueue(m)
	}
	b.work(t.Context())
	b.eventually(0, `SELECT count(*) FROM auth.message WHERE content IS NOT NULL`)
	var got []string
	for _, l := range b.letters() {
		got = append(got, l.Code)
		if l.Channel != channelEmail || l.To != anyMail.To || l.Template != anyMail.Template || l.Locale != "en" || l.Subject == "" || !strings.Contains(l.HTML, l.Code) {
			t.Errorf("got %+v", l)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestFolderEmptiedUnderUs writes on, as after a `make reset`.
func TestFolderEmptiedUnderUs(t *testing.T) {
	b := newBench(t)
	b.mustQueue(anyMail)
	if err := os.RemoveAll(b.c.MessagesDir); err != nil {
		t.Fatal(err)
	}
	if got := b.letters(); len(got) != 1 {
		t.Errorf("%d letters, want 1", len(got))
	}
}

// TestSentTwiceRatherThanNever dies between sending and noting it.
func TestSentTwiceRatherThanNever(t *testing.T) {
	b := newBench(t)
	ctx, die := context.WithCancel(t.Context())
	p := newPostbox(func(try int, _ letter) error {
		if try == 1 {
			die()
		}
		return nil
	})
	b.through(p)
	b.mustQueue(anyMail)
	id := b.unsent()[0]
	if err := b.sendMessage(ctx, id, false); err == nil {
		t.Fatal("noted on a dead context")
	}
	for range 3 { // the next process, and a job that runs again for nothing
		if err := b.sendMessage(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(p.sent); got != 2 {
		t.Errorf("sent %d times, want twice", got)
	}
}

// TestDeadProcessIsRescued: its job runs again, once a leader looks for it.
func TestDeadProcessIsRescued(t *testing.T) {
	b := newBench(t)
	p := newPostbox(nil)
	b.through(p)
	b.mustQueue(anyMail)
	b.exec(`UPDATE auth.river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '2 minutes', attempted_by = '{gone}'`)
	b.work(t.Context())
	p.next(t)
}

// TestTriedAgain: a failure is followed by another try, and the second delivers.
func TestTriedAgain(t *testing.T) {
	b := newBench(t)
	p := newPostbox(func(try int, _ letter) error {
		if try == 1 {
			return &undelivered{Why: "not now"}
		}
		return nil
	})
	b.through(p)
	b.work(t.Context())
	b.mustQueue(anyMail)
	p.next(t)
	b.eventually(1, `SELECT count(*) FROM auth.message WHERE sent_at IS NOT NULL AND content IS NULL AND attempts = 2`)
	b.eventually(1, `SELECT count(*) FROM auth.river_job WHERE state = 'completed' AND attempt = 2`)
}

// TestGivenUp: at the last try, or at once when no try can help, the message is
// blanked, counted and logged.
func TestGivenUp(t *testing.T) {
	b := newBench(t)
	p := newPostbox(func(_ int, l letter) error { return &undelivered{Why: "no", Final: l.Channel == channelSMS} })
	b.through(p)
	b.mustQueue(anyMail)
	id := b.unsent()[0]
	if err := b.sendMessage(t.Context(), id, false); err == nil || errors.Is(err, errGivenUp) || len(b.unsent()) != 1 {
		t.Errorf("first try: %v", err)
	}
	if err := b.sendMessage(t.Context(), id, true); !errors.Is(err, errGivenUp) || len(b.unsent()) != 0 {
		t.Errorf("last try: %v", err)
	}
	b.work(t.Context())
	m := anyMail
	m.Channel, m.To = channelSMS, "+919876543210"
	b.mustQueue(m)
	b.eventually(1, `SELECT count(*) FROM auth.river_job WHERE state = 'cancelled' AND queue = 'sms' AND attempt = 1`)
	if n := b.count(`SELECT count(*) FROM auth.message WHERE content IS NOT NULL OR sent_at IS NOT NULL`); n != 0 {
		t.Errorf("%d messages sent or waiting", n)
	}
	want := map[string]float64{
		"messages_failed_total EMAIL": 2, "messages_given_up_total EMAIL": 1, "messages_failed_total SMS": 1, "messages_given_up_total SMS": 1,
		"messages_sent_total EMAIL": 0, "messages_waiting EMAIL": 0, "messages_waiting SMS": 0,
	}
	got := b.figures()
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: got %v, want %v", name, got[name], n)
		}
	}
}

// figures are the metrics of messages by name and channel.
func (b *bench) figures() map[string]float64 {
	b.t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := b.messageMetrics(r); err != nil {
		b.t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestWaitingIsCounted(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.mustQueue(anyMail)
	}
	b.clock.pass(90 * time.Second)
	got := b.figures()
	if got["messages_waiting EMAIL"] != 3 || got["messages_oldest_seconds EMAIL"] != 90 || got["messages_waiting SMS"] != 0 || len(got) != 15 {
		t.Errorf("got %v", got)
	}
}

// TestTwoProcesses share a queue: each message goes out once.
func TestTwoProcesses(t *testing.T) {
	b := newBench(t)
	p := newPostbox(nil)
	b.through(p)
	other := &bench{Service: New(b.c, Deps{DB: b.db, Redis: b.redis, IDs: b.ids, Now: time.Now, Rand: b.rand}), t: t}
	other.through(p)
	const n = 60
	for range n / 2 {
		b.mustQueue(anyMail)
	}
	b.work(t.Context())
	other.work(t.Context())
	for range n / 2 {
		other.mustQueue(anyMail)
	}
	b.eventually(n, `SELECT count(*) FROM auth.river_job WHERE state = 'completed'`)
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, tries := range p.tries {
		if tries != 1 {
			t.Errorf("message %s was sent %d times", id, tries)
		}
	}
	if len(p.tries) != n {
		t.Errorf("%d messages were sent, want %d", len(p.tries), n)
	}
	if who := b.count(`SELECT count(DISTINCT attempted_by) FROM auth.river_job`); who != 2 {
		t.Logf("%d of two processes did the work", who)
	}
}

// TestOlderQueue: what a release before River left goes out, except what it is
// sending at this moment.
func TestOlderQueue(t *testing.T) {
	b := newBench(t)
	p := newPostbox(nil)
	b.through(p)
	b.mustQueue(anyMail)
	b.mustQueue(anyMail)
	b.exec(`DELETE FROM auth.river_job`)
	b.exec(`UPDATE auth.message SET next_attempt_at = created_at`)
	held, err := b.db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := held.Exec(t.Context(), `SELECT 1 FROM auth.message WHERE id = $1 FOR UPDATE`, b.unsent()[0]); err != nil {
		t.Fatal(err)
	}
	b.work(t.Context())
	p.next(t)
	b.eventually(1, `SELECT count(*) FROM auth.message WHERE content IS NULL`)
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := b.adoptOnce(t.Context()); n != 1 || err != nil {
		t.Errorf("adopted %d, %v; want the one that was let go", n, err)
	}
	p.next(t)
	if n, err := b.adoptOnce(t.Context()); n != 0 || err != nil {
		t.Errorf("adopted %d, %v; want none", n, err)
	}
}

// TestWorkerEnds leaves no goroutine, no connection in use, and a job cut off
// by the end to the next process.
func TestWorkerEnds(t *testing.T) {
	b := newBench(t)
	hanging := make(chan struct{}, 1)
	p := newPostbox(nil)
	b.through(hangs{hanging})
	b.drain = 100 * time.Millisecond
	idle := b.db.Pool.Stat().AcquiredConns()
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	stop := b.work(ctx)
	b.mustQueue(anyMail)
	<-hanging
	b.transports = map[string]transport{channelEmail: p}
	cancel()
	stop()
	goleak.VerifyNone(t, before)
	if got := b.db.Pool.Stat().AcquiredConns(); got != idle {
		t.Errorf("%d connections in use, want %d", got, idle)
	}
	if n := b.count(`SELECT count(*) FROM auth.river_job WHERE state = 'available' AND attempt = 0`); n != 1 {
		t.Errorf("%d jobs wait for the next process, want 1", n)
	}
	b.work(t.Context())
	p.next(t)
}

// hangs is a transport that never answers.
type hangs struct{ begun chan struct{} }

func (h hangs) send(ctx context.Context, _ uuid.UUID, _ letter) error {
	h.begun <- struct{}{}
	<-ctx.Done()
	return &undelivered{Why: "did not answer in time"}
}

// TestNoSecretInTheQueue plants a code, an address, a name and a password, has
// servers repeat them, and looks for them in every row and every line of the
// log.
// identity.md row 70
func TestNoSecretInTheQueue(t *testing.T) {
	b := newBench(t)
	var log syncBuffer
	ctx := zerolog.New(&log).Level(zerolog.TraceLevel).WithContext(t.Context())
	canaries := []string{"271828", "canary@birds.example", "Zanary", "s3same-canary"}
	server := newMailServer(t, &mailServer{refuse: map[string]int{"canary@birds.example": 451}})
	b.now = time.Now
	out := newSMTP(server.config(), time.Now)
	out.c.Username, out.c.Password, out.tls = "canary", "s3same-canary", server.trust
	b.transports = map[string]transport{channelEmail: out}
	m := mail{To: "canary@birds.example", Template: "verify_email", Name: "Zanary", Code: "271828"}
	b.mustQueue(m)
	b.work(ctx)
	b.eventually(1, `SELECT count(*) FROM auth.river_job WHERE cardinality(errors) > 0`)
	server.allow()
	b.eventually(1, `SELECT count(*) FROM auth.message WHERE sent_at IS NOT NULL`)
	b.eventually(1, `SELECT count(*) FROM auth.river_job WHERE state = 'completed'`)
	if got := server.received(); len(got) != 1 || !strings.Contains(got[0].data, "271828") {
		t.Fatalf("the server got %+v", got)
	}
	if !strings.Contains(log.String(), "message not sent yet") || !strings.Contains(log.String(), "451") {
		t.Errorf("the log does not tell of the failure: %s", log.String())
	}
	for _, secret := range canaries {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, log.String())
		}
		for _, table := range []string{"river_job", "river_queue", "river_notification", "message"} {
			if n := b.count(`SELECT count(*) FROM auth.`+table+` AS x WHERE x::text ILIKE '%' || $1 || '%'`, secret); n != 0 {
				t.Errorf("%s holds %q", table, secret)
			}
		}
	}
	var args string
	if err := b.db.Pool.QueryRow(t.Context(), `SELECT string_agg(DISTINCT k, ',') FROM auth.river_job, jsonb_object_keys(args) AS k`).Scan(&args); err != nil || args != "message_id" {
		t.Errorf("a job holds %q, %v; want an id alone", args, err)
	}
}

// syncBuffer is a log that many may write.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestReactivationIsTold writes to whom a suspension was lifted from.
func TestReactivationIsTold(t *testing.T) {
	b := newBench(t)
	id := b.mustSeed(SeedAccount{Email: "asha@example.com", Roles: []string{"user"}})
	root := &token.Caller{UserID: b.mustSeed(SeedAccount{Email: "root@example.com", Roles: []string{"superadmin"}})}
	for _, state := range []string{stateSuspended, stateActive, stateActive} {
		if _, err := b.changeState(t.Context(), root, id, state, "the reason of a test"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, l := range b.letters() {
		got = append(got, l.Template)
	}
	if diff := cmp.Diff([]string{"account_suspended", "account_reactivated"}, got); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
}
