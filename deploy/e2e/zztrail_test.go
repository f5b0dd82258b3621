package e2e_test

import (
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/manas360/platform/deploy/internal/api"
	"github.com/manas360/platform/pkg/trail"
	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

const trailFile = "testdata/trail.txt"

// silent are the RPCs that leave no event, each with the reason.
var silent = map[string]string{
	"AuthService.CreateTotp":                       "pending until it is confirmed",
	"PasskeyService.BeginPasskeyLogin":             "a challenge",
	"PasskeyService.BeginPasskeyMfa":               "a challenge",
	"PasskeyService.BeginPasskeyRegistration":      "a challenge",
	"PasskeyService.UpdatePasskey":                 "a name for its owner's eyes",
	"ReservationService.CommitReservation":         "use is counted; the counter is its record",
	"ReservationService.CreateReservation":         "use is counted; the counter is its record",
	"ReservationService.ReleaseReservation":        "use is counted; the counter is its record",
	"SubscriptionService.ConsumeEntitlement":       "use is counted; the counter is its record",
	"SubscriptionService.PreviewChange":            "reads what an order would cost",
	"WebhookEndpointService.ReplayWebhookDelivery": "sends once more what was sent",
	"WebhookEndpointService.TestWebhookEndpoint":   "sends an empty message",
}

// elsewhere are the RPCs that need what a black box has not, each with the test
// that sees its event.
var elsewhere = map[string]string{
	"AdminDeadLetterService.DiscardDeadLetter": "admin TestDeadLetters: dead_letter.discarded",
	"AdminDeadLetterService.RequeueDeadLetter": "admin TestDeadLetters: dead_letter.requeued",
	"AdminFindingService.AcknowledgeFinding":   "payment TestSweep: payment.finding_acknowledged",
	"AdminPaymentService.RejectApproval":       "payment TestRefundApproval: payment.refund_rejected",
	"AdminPayoutService.ApprovePayout":         "payment TestPayout: payout.approved ledger.posted",
	"AdminPayoutService.CompletePayout":        "payment TestPayout: payout.completed ledger.posted",
	"AdminPayoutService.FailPayout":            "payment TestPayout: payout.failed ledger.posted",
	"AdminPayoutService.RejectPayout":          "payment TestPayout: payout.rejected",
	"AdminPayoutService.RequestPayout":         "payment TestPayout: payout.requested",
	"AdminWebhookService.RetryWebhookEvent":    "payment TestKeptCallbacks: webhook.retried",
	"AuthService.AdminLogin":                   "auth TestPasskeyOfStaff: as Login, it ends at the second factor",
	"MandateService.CancelMandate":             "payment TestMandateLife: payment.mandate_cancel_requested",
	"OrganizationService.ResendInvitation":     "user TestInvitationRefused: invitation.resent",
	"PasskeyService.FinishPasskeyLogin":        "auth TestPasskeysAreToldOf: passkey.used session.opened",
	"PasskeyService.FinishPasskeyMfa":          "auth TestPasskeyIsASecondFactor: passkey.used session.opened",
	"PasskeyService.FinishPasskeyRegistration": "auth TestPasskeysAreToldOf: passkey.registered",
}

var namedTest = regexp.MustCompile(`^(\w+) (Test\w+): `)

// The tests that are pointed to are there.
func TestElsewhereIsThere(t *testing.T) {
	for rpc, where := range elsewhere {
		m := namedTest.FindStringSubmatch(where)
		if m == nil {
			t.Errorf("%s: %q names no test", rpc, where)
			continue
		}
		files, err := filepath.Glob("../../services/" + m[1] + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(name string) bool {
			source, err := os.ReadFile(name)
			return err == nil && strings.Contains(string(source), "\nfunc "+m[2]+"(t *testing.T)")
		}) {
			t.Errorf("%s: there is no %s in %s", rpc, m[2], m[1])
		}
	}
}

// walked is every call that the whole suite of tests has made.
var walked walk

type walk struct {
	mu    sync.Mutex // guards calls
	calls []step
}

type step struct{ method, path, requestID string }

// note keeps the calls that did something.
func (w *walk) note(in api.Call, a api.Answer) {
	if a.Status/100 != 2 || a.Header.Get("Idempotency-Replayed") != "" {
		return
	}
	u, err := url.Parse(in.URL)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, step{in.Method, u.Path, a.Header.Get("X-Request-Id")})
}

// walkedRPC is an RPC that changes something, or an operator's look.
type walkedRPC struct {
	name   string // Service.Method
	source string // the service that owns it, empty for admin, which asks others
	method string
	path   *regexp.Regexp
}

func walkedRPCs() []walkedRPC {
	var out []walkedRPC
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		pkg, ours := strings.CutPrefix(string(f.Package()), "manas.")
		if !ours {
			return true
		}
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || rule.GetPattern() == nil {
					continue
				}
				for _, b := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					r := bound(b)
					source := strings.TrimSuffix(pkg, ".v1")
					if r.method == "GET" && source != "admin" {
						continue
					}
					if source == "admin" {
						source = ""
					}
					out = append(out, walkedRPC{
						name: string(service.Name()) + "." + string(m.Name()), source: source, method: r.method,
						path: regexp.MustCompile("^" + variables.ReplaceAllString(r.path, "[^/]+") + "$"),
					})
				}
			}
		}
		return true
	})
	return out
}

// Every RPC that changes something leaves exactly one event of each kind that
// its line names, in the transaction of the change: with an actor, a target, an
// outcome, the request id of the answer, and what was before and after where
// the catalogue says so. audit_admin_ops.md A-26. A name with a question mark
// comes with some calls only: who is already there is not invited again.
// TRAIL_UPDATE=1 writes the file anew, to be read again.
func TestEveryChangeLeavesItsEvent(t *testing.T) {
	if f := flag.Lookup("test.run"); f != nil && f.Value.String() != "" {
		t.Skip("only after all the others")
	}
	said := map[string][]map[string]int{} // by RPC, each call's actions
	events := eventsByRequest(t)
	rpcs := walkedRPCs()
	for _, c := range walked.calls {
		i := slices.IndexFunc(rpcs, func(r walkedRPC) bool { return r.method == c.method && r.path.MatchString(c.path) })
		if i < 0 {
			continue
		}
		actions := map[string]int{}
		for _, ev := range events[c.requestID] {
			if rpcs[i].source == "" || ev.GetSource() == rpcs[i].source {
				actions[ev.GetAction()]++
				whole(t, rpcs[i].name, ev)
			}
		}
		said[rpcs[i].name] = append(said[rpcs[i].name], actions)
	}
	lines := linesOf(rpcs, said)
	if os.Getenv("TRAIL_UPDATE") == "1" {
		if err := os.WriteFile(trailFile, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(trailFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		name, rest, _ := strings.Cut(line, " |")
		want[name] = strings.TrimSpace(rest)
	}
	for _, line := range lines {
		name, rest, _ := strings.Cut(line, " |")
		rest = strings.TrimSpace(rest)
		line, known := want[name]
		delete(want, name)
		switch {
		case !known:
			t.Errorf("%s is not in %s: TRAIL_UPDATE=1 writes it", name, trailFile)
		case rest == "" || rest == neverCalled:
			t.Errorf("%s: no call of the suite leaves an event", name)
		case silent[name] != "" || elsewhere[name] != "":
			if rest != line {
				t.Errorf("%s: %q, the file says %q", name, rest, line)
			}
		default:
			for _, problem := range faults(line, said[name]) {
				t.Errorf("%s: %s", name, problem)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is in %s and no RPC", name, trailFile)
	}
}

const neverCalled = "NEVER CALLED"

// faults compares calls with the line of their RPC. A plain name is in every
// call once, one with a question mark at most once, one with a star as often as
// may be; no other is in any.
func faults(line string, calls []map[string]int) []string {
	var out []string
	modes := map[string]byte{}
	for _, part := range strings.Fields(line) {
		name := strings.TrimRight(part, "?*")
		modes[name] = 0
		if name != part {
			modes[name] = part[len(part)-1]
		}
	}
	for _, call := range calls {
		for action, n := range call {
			mode, known := modes[action]
			if !known || mode != '*' && n != 1 {
				out = append(out, fmt.Sprintf("%s %d times", action, n))
			}
		}
		for action, mode := range modes {
			if mode == 0 && call[action] == 0 {
				out = append(out, "a call without "+action)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// linesOf says of each RPC what its calls had in common.
func linesOf(rpcs []walkedRPC, said map[string][]map[string]int) []string {
	lines := map[string]string{}
	for _, r := range rpcs {
		if why, ok := silent[r.name]; ok {
			lines[r.name] = "nothing: " + why
			continue
		}
		if where, ok := elsewhere[r.name]; ok {
			lines[r.name] = "(" + where + ")"
			continue
		}
		calls := said[r.name]
		if len(calls) == 0 {
			lines[r.name] = neverCalled
			continue
		}
		counts, most := map[string]int{}, map[string]int{}
		for _, c := range calls {
			for action, n := range c {
				counts[action]++
				most[action] = max(most[action], n)
			}
		}
		var parts []string
		for _, action := range slices.Sorted(maps.Keys(counts)) {
			switch {
			case most[action] > 1:
				parts = append(parts, action+"*")
			case counts[action] < len(calls):
				parts = append(parts, action+"?")
			default:
				parts = append(parts, action)
			}
		}
		lines[r.name] = strings.Join(parts, " ")
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		out = append(out, strings.TrimSpace(name+" | "+lines[name]))
	}
	return out
}

// A record with one event missing is not the record: audit_admin_ops.md A-26.
func TestMissingEventIsSeen(t *testing.T) {
	const line = "thing.done thing.billed? thing.line*"
	good := map[string]int{"thing.done": 1, "thing.billed": 1, "thing.line": 3}
	if got := faults(line, []map[string]int{good, {"thing.done": 1}}); len(got) > 0 {
		t.Errorf("faults of a whole record: %v", got)
	}
	for name, bad := range map[string]map[string]int{
		"missing": {"thing.billed": 1}, "doubled": {"thing.done": 2}, "billed twice": {"thing.done": 1, "thing.billed": 2},
		"another": {"thing.done": 1, "thing.undone": 1}, "nothing": {},
	} {
		if len(faults(line, []map[string]int{good, bad})) == 0 {
			t.Errorf("%s: no fault in %v", name, bad)
		}
	}
}

// whole checks that an event says all that its action's row asks.
func whole(t *testing.T, rpc string, ev *auditv1.Event) {
	t.Helper()
	e, ok := trail.Lookup(ev.GetAction())
	switch a := ev.GetActor(); {
	case !ok:
		t.Errorf("%s: %s is not in the catalogue", rpc, ev.GetAction())
	case a.GetType() == "" || a.GetType() != "anonymous" && a.GetId() == "":
		t.Errorf("%s: %s has no actor: %v", rpc, ev.GetAction(), ev)
	case ev.GetOutcome() == auditv1.Event_OUTCOME_UNSPECIFIED || len(ev.GetTargets()) == 0 && len(e.Targets) > 0 && a.GetType() != "anonymous":
		t.Errorf("%s: %s has no outcome or target: %v", rpc, ev.GetAction(), ev)
	}
}

// eventsByRequest waits until every outbox is empty and reads the log.
func eventsByRequest(t *testing.T) map[string][]*auditv1.Event {
	t.Helper()
	db := database(t)
	eventually(t, patience, "the outboxes are empty", func() (bool, string) {
		n := int64(0)
		for _, schema := range []string{"auth", "users", "subscription", "payment", "admin"} {
			n += number(t, db, `SELECT count(*) FROM `+schema+`.outbox WHERE destination = 'audit'`)
		}
		return n == 0, strconv.FormatInt(n, 10)
	})
	rows, err := db.Query(t.Context(), `SELECT canonical FROM audit.event`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string][]*auditv1.Event{}
	for rows.Next() {
		var canonical []byte
		ev := &auditv1.Event{}
		if err := rows.Scan(&canonical); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(canonical, ev); err != nil {
			t.Fatal(err)
		}
		out[ev.GetRequestId()] = append(out[ev.GetRequestId()], ev)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
