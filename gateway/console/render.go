package console

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	typev1 "github.com/manas360/platform/proto/gen/manas/type/v1"
)

// frame is what every page has around it.
type frame struct {
	Title, Here, Theme, Path string
	Style, Script, Htmx      string
	Name, Role               string
	SignedIn                 bool
	Nav                      []link
	Done                     string
}

type link struct{ Key, Path, Text string }

// notes say what was done; an address can name one and no other words.
var notes = map[string]string{
	"suspend": "The account is suspended and its sessions are over.", "reactivate": "The account is active again.",
	"unlock": "The account is unlocked.", "revoke-sessions": "All sessions of this person are over.",
	"roles": "The roles are changed.", "waits": "Another administrator must approve this before it happens.",
	"refund": "The refund is on its way.", "approve": "Approved.", "reject": "Rejected.", "plan": "A new version is on sale.",
	"subscription-pause": "The subscription is paused.", "subscription-resume": "The subscription goes on.",
	"subscription-cancel": "The subscription is cancelled.", "export": "The export has begun.", "export-cancelled": "The export is cancelled.",
	"acknowledge": "The finding is acknowledged.", "retry": "The event is tried again.", "session": "The session is over.",
	"passkey": "The passkey is registered.", "passkey-deleted": "The passkey is removed.",
	"letter-requeue": "The event is on its way again.", "letter-discard": "The event is given up.",
	"therapist-verify": "The therapist is verified.", "therapist-reject": "The application is rejected.", "therapist-suspend": "The therapist is suspended.",
}

// menu are the pages a person's permissions lead to.
var menu = []struct{ key, path, text, permission string }{
	{"overview", "", "Overview", ""},
	{"users", "users", "Users", "users.manage"},
	{"therapists", "therapists", "Therapists", "therapists.verify"},
	{"subscriptions", "subscriptions", "Subscriptions", "subscriptions.manage"},
	{"payments", "payments", "Payments", "payments.manage"},
	{"approvals", "approvals", "Approvals", "payments.manage"},
	{"plans", "plans", "Plans and prices", "subscriptions.manage"},
	{"audit", "audit", "Audit", "audit.read"},
	{"operations", "operations", "Operations", "analytics.read"},
	{"roles", "roles", "Admins and roles", "roles.manage"},
}

func (x *exchange) frame(title, here string) frame {
	f := frame{
		Title: title, Here: here, Path: x.r.URL.Path, Style: x.names["style.css"], Script: x.names["console.js"], Htmx: x.names["htmx.min.js"],
		SignedIn: x.s.open(), Done: notes[x.r.URL.Query().Get("done")],
	}
	if x.r.Method == http.MethodGet {
		f.Path = x.r.URL.RequestURI()
	}
	if k, err := x.r.Cookie(themeCookie); err == nil && (k.Value == "light" || k.Value == "dark") {
		f.Theme = k.Value
	}
	if !f.SignedIn {
		return f
	}
	f.Role = strings.Join(x.s.claims.Roles, ", ")
	for _, m := range menu {
		if m.permission == "" || x.s.may(m.permission) {
			f.Nav = append(f.Nav, link{m.key, Root + m.path, m.text})
		}
	}
	return f
}

// draw sends a page, whole or not at all.
func (x *exchange) draw(status int, title, here string, content templ.Component) {
	var out bytes.Buffer
	if err := layout(x.frame(title, here), content).Render(x.r.Context(), &out); err != nil {
		zerolog.Ctx(x.r.Context()).Error().Err(err).Msg("page of the console could not be drawn")
		http.Error(x.w, "the page could not be drawn", http.StatusInternalServerError)
		return
	}
	x.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(out.Bytes())
}

// money prints an amount with its currency; rupees group by lakh and crore.
func money(m *typev1.Money) string {
	if m == nil {
		return "—"
	}
	minor, sign := m.GetAmountMinor(), ""
	if minor < 0 {
		minor, sign = -minor, "−"
	}
	amount := fmt.Sprintf("%s.%02d", grouped(minor/100, m.GetCurrencyCode() == "INR"), minor%100)
	switch m.GetCurrencyCode() {
	case "INR":
		return sign + "₹" + amount
	case "JPY":
		return sign + grouped(m.GetAmountMinor(), false) + " JPY"
	default:
		return sign + amount + " " + m.GetCurrencyCode()
	}
}

// plain is an amount as a form takes it.
func plain(m *typev1.Money) string {
	return fmt.Sprintf("%d.%02d", m.GetAmountMinor()/100, m.GetAmountMinor()%100)
}

func grouped(n int64, lakh bool) string {
	s := strconv.FormatInt(n, 10)
	step := 3
	for i := len(s) - step; i > 0; i -= step {
		s = s[:i] + "," + s[i:]
		if lakh {
			step = 2
		}
	}
	return s
}

func count[T int | int32 | int64](n T) string { return grouped(int64(n), true) }

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + " %" }

func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return "—"
	}
	return t.AsTime().UTC().Format("2 Jan 2006, 15:04")
}

func day(t *timestamppb.Timestamp) string {
	if t == nil {
		return "—"
	}
	return t.AsTime().UTC().Format("2 Jan 2006")
}

func iso(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }

func personName(first, last string) string {
	if name := strings.TrimSpace(first + " " + last); name != "" {
		return name
	}
	return "(no name)"
}

// tone is how a state is coloured; its word says the same.
func tone(state string) string {
	switch state {
	case "ACTIVE", "SUCCEEDED", "UP", "DONE", "VERIFIED", "APPROVED", "SUCCESS", "COMPLETED":
		return "good"
	case "PENDING", "TRIALING", "PAST_DUE", "GRACE", "PAUSED", "QUEUED", "RUNNING", "VERIFYING", "DEGRADED", "CREATED", "PARTIALLY_REFUNDED", "DRAFT":
		return "warm"
	case "SUSPENDED", "FAILED", "DOWN", "BROKEN", "DENIED", "FAILURE", "REJECTED":
		return "bad"
	default:
		return "calm"
	}
}

// word is a state as a word: PAST_DUE is "Past due".
func word(state string) string {
	if state == "" {
		return "—"
	}
	s := strings.ToLower(strings.ReplaceAll(state, "_", " "))
	return strings.ToUpper(s[:1]) + s[1:]
}

// short is the tail of an id, which tells people's eyes more than its head.
func short(id string) string {
	if len(id) <= 14 {
		return id
	}
	return id[:4] + "…" + id[len(id)-6:]
}

func bytesOf(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	default:
		return strconv.FormatInt(n, 10) + " B"
	}
}

func pressed(on bool) string { return strconv.FormatBool(on) }

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func yesNo(on bool) string {
	if on {
		return "Yes"
	}
	return "No"
}
