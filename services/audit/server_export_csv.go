package audit

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

var csvHeader = []string{
	"seq", "id", "occurredAt", "recordedAt", "action", "outcome", "actorType", "actorId", "sessionId", "impersonatorId",
	"targets", "requestId", "source", "ipPrefix", "reason", "changes",
}

// csvEncoder writes for spreadsheets, which run what a cell says: no cell is a
// formula, and none has a line of its own. Who needs the exact text takes NDJSON.
type csvEncoder struct {
	w     *csv.Writer
	row   []string
	begun bool
}

func newCSVEncoder(w io.Writer) *csvEncoder { return &csvEncoder{w: csv.NewWriter(w)} }

func (c *csvEncoder) begin() error {
	if c.begun {
		return nil
	}
	c.begun = true
	return c.w.Write(csvHeader)
}

func (c *csvEncoder) encode(row found) error {
	ev, err := unpackStored(row.Canonical)
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	targets := make([]string, 0, len(ev.GetTargets()))
	for _, t := range ev.GetTargets() {
		targets = append(targets, t.GetType()+":"+t.GetId())
	}
	changes, err := csvChanges(ev)
	if err != nil {
		return err
	}
	a := ev.GetActor()
	c.row = append(c.row[:0], strconv.FormatInt(ev.GetSeq(), 10), ev.GetId(),
		ev.GetOccurredAt().AsTime().Format(time.RFC3339Nano), ev.GetRecordedAt().AsTime().Format(time.RFC3339Nano),
		ev.GetAction(), ev.GetOutcome().String(), a.GetType(), a.GetId(), a.GetSessionId(), a.GetImpersonatorId(),
		strings.Join(targets, " "), ev.GetRequestId(), ev.GetSource(), ev.GetIpPrefix(), ev.GetReason(), changes)
	for i := range c.row {
		c.row[i] = inert(c.row[i])
	}
	return c.w.Write(c.row)
}

func csvChanges(ev *auditv1.Event) (string, error) {
	if len(ev.GetChanges()) == 0 {
		return "", nil
	}
	type change struct {
		Path   string `json:"path"`
		Before string `json:"before"`
		After  string `json:"after"`
	}
	list := make([]change, 0, len(ev.GetChanges()))
	for _, c := range ev.GetChanges() {
		list = append(list, change{c.GetPath(), c.GetBefore(), c.GetAfter()})
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func (c *csvEncoder) end() error {
	if err := c.begin(); err != nil { // a file without rows has its header
		return err
	}
	c.w.Flush()
	return c.w.Error()
}

// inert is text no spreadsheet takes for a formula: what begins like one, also
// behind blanks that are dropped on the way in, is quoted as they quote text,
// and what would end a line is spelled out (OWASP, CSV injection).
func inert(s string) string {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7f || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if !plain {
		s = spelled(s)
	}
	if !strings.Contains(s, ";") {
		return quoted(s)
	}
	cells := strings.Split(s, ";") // where it parts cells, what follows it is one
	for i := range cells {
		cells[i] = quoted(cells[i])
	}
	return strings.Join(cells, ";")
}

// starts are the characters a formula begins with, and what is read as them.
const starts = "=+-@|%＝＋－＠｜％−﹢﹣﹦﹫⁺⁼₊₌'"

func quoted(s string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(s, dropped))
	if first != utf8.RuneError && strings.ContainsRune(starts, first) {
		return "'" + s
	}
	return s
}

// dropped are characters a program may pass over before it looks for a formula.
func dropped(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r)
}

// spelled writes control characters and the ends of lines as text.
func spelled(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			b.WriteString(`\u` + strings.Repeat("0", 4-len(strconv.FormatInt(int64(r), 16))) + strconv.FormatInt(int64(r), 16))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
