package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	auditv1 "github.com/manas360/platform/proto/gen/manas/audit/v1"
)

func (c *Console) auditPages() map[string]page {
	return map[string]page{
		"GET audit":                {show: (*exchange).events},
		"GET audit/{id}":           {show: (*exchange).event},
		"GET audit/{id}/proof":     {show: (*exchange).proof},
		"GET exports":              {show: func(x *exchange) error { return x.exports(http.StatusOK, nil) }},
		"POST exports":             {show: (*exchange).export},
		"GET exports/{id}/row":     {show: (*exchange).exportRow},
		"GET exports/{id}/file":    {show: (*exchange).exportFile},
		"POST exports/{id}/cancel": {show: (*exchange).cancelExport},
	}
}

var eventFilters = []string{"action", "actorId", "resourceType", "resourceId", "outcome", "requestId"}

type eventsView struct {
	List         *auditv1.ListEventsResponse
	Filters      filters
	Pager        pager
	Verification part[*auditv1.GetVerificationResponse]
	MayExport    bool
}

func (x *exchange) events() error {
	q, p := x.eventQuery()
	if p != nil {
		return p
	}
	list, err := load(x, "/audit/events", q, &auditv1.ListEventsResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	v := eventsView{
		List: list.Value, Filters: x.filters(append(eventFilters, "from", "to")...),
		Pager: x.pager(list.Value.GetNextPageToken()), MayExport: x.s.may("audit.export"),
	}
	if v.Verification, err = load(x, "/audit/verification", nil, &auditv1.GetVerificationResponse{}); err != nil {
		return err
	}
	x.draw(http.StatusOK, "Audit", "audit", eventsPage(v))
	return nil
}

// eventQuery is a search of the form; from and to are days of UTC, both within.
func (x *exchange) eventQuery() (url.Values, *Problem) {
	q := x.query(eventFilters...)
	for name, to := range map[string]string{"from": "startTime", "to": "endTime"} {
		text := x.r.FormValue(name)
		if text == "" {
			continue
		}
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return nil, &Problem{Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Title: "Invalid argument", Detail: "a day must be like 2026-11-23"}
		}
		if name == "to" {
			day = day.AddDate(0, 0, 1)
		}
		q.Set(to, day.Format(time.RFC3339))
	}
	return q, nil
}

func (x *exchange) event() error {
	ev := &auditv1.Event{}
	if err := x.get("/audit/events"+at(x.r.PathValue("id")), nil, ev); err != nil {
		return err
	}
	x.draw(http.StatusOK, ev.GetAction(), "audit", eventPage(ev))
	return nil
}

// proof hands out the event's inclusion proof as a file, as the API gave it.
func (x *exchange) proof() error {
	id := x.r.PathValue("id")
	m, err := x.call(call{method: http.MethodGet, path: "/audit/events" + at(id) + "/proof"})
	if err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Disposition", `attachment; filename="proof.json"`)
	_, _ = x.w.Write(m.body.Bytes())
	return nil
}

type exportsView struct {
	List    *auditv1.ListExportsResponse
	Filters filters
	Pager   pager
}

func (x *exchange) exports(status int, p *Problem) error {
	list, err := load(x, "/audit/exports", x.query(), &auditv1.ListExportsResponse{})
	if err != nil {
		return err
	}
	if !list.ok() {
		return list.Err
	}
	v := exportsView{List: list.Value, Filters: x.filters(append(eventFilters, "from", "to", "format")...), Pager: x.pager(list.Value.GetNextPageToken())}
	x.draw(status, "Exports", "audit", exportsPage(v, p))
	return nil
}

func (x *exchange) export() error {
	q, p := x.eventQuery()
	if p != nil {
		return x.exports(p.Status, p)
	}
	search := map[string]string{}
	for _, n := range append(eventFilters, "startTime", "endTime") {
		if v := q.Get(n); v != "" {
			search[n] = v
		}
	}
	if _, err := x.post("/audit/exports", map[string]any{"format": x.r.PostFormValue("format"), "filters": search}); err != nil {
		return refused(err, x.exports)
	}
	return x.back(Root+"exports", "export")
}

// exportRow is one row of the list, asked for again while the export runs.
func (x *exchange) exportRow() error {
	e := &auditv1.Export{}
	if err := x.get("/audit/exports"+at(x.r.PathValue("id")), nil, e); err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return exportRow(e).Render(x.r.Context(), x.w) //nolint:wrapcheck // of a template
}

// exportFile streams the file from the API to the browser. A refusal is shown
// as a page.
func (x *exchange) exportFile() error {
	id := x.r.PathValue("id")
	e := &auditv1.Export{}
	if err := x.get("/audit/exports"+at(id), nil, e); err != nil { // renews a stale session before the stream begins
		return err
	}
	in := call{method: http.MethodGet, path: "/audit/exports" + at(id) + "/file"}
	r, err := in.request(x.r.Context(), x.r, x.s.access)
	if err != nil {
		return err
	}
	w := &through{out: x.w, memory: memory{header: http.Header{}}}
	x.w.Header().Set("Content-Disposition", `attachment; filename="audit`+suffix(e.GetFormat())+`"`)
	x.api.api.ServeHTTP(w, r)
	if w.kept {
		x.w.Header().Del("Content-Disposition")
		return problemOf(&w.memory)
	}
	return nil
}

func suffix(f auditv1.Export_Format) string {
	switch f {
	case auditv1.Export_CSV:
		return ".csv"
	case auditv1.Export_PARQUET:
		return ".parquet"
	case auditv1.Export_NDJSON, auditv1.Export_OCSF, auditv1.Export_FORMAT_UNSPECIFIED:
		return ".ndjson"
	}
	return ".ndjson"
}

// through passes a good answer on and keeps a refusal.
type through struct {
	memory
	out  http.ResponseWriter
	kept bool
	sent bool
}

// WriteHeader decides which it is.
func (t *through) WriteHeader(status int) {
	if t.sent || t.kept || status < http.StatusOK {
		return
	}
	if t.kept = status >= http.StatusBadRequest; t.kept {
		t.memory.WriteHeader(status)
		return
	}
	t.sent = true
	for _, name := range []string{"Content-Type", "Content-Length"} {
		if v := t.header.Get(name); v != "" {
			t.out.Header().Set(name, v)
		}
	}
	t.out.WriteHeader(status)
}

// Write passes on or keeps.
func (t *through) Write(b []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	if t.kept {
		return t.memory.Write(b)
	}
	return t.out.Write(b) //nolint:wrapcheck // a writer's error is its caller's
}

// Unwrap is for http.ResponseController.
func (t *through) Unwrap() http.ResponseWriter { return t.out }

func (x *exchange) cancelExport() error {
	if _, err := x.call(call{method: http.MethodDelete, path: "/audit/exports" + at(x.r.PathValue("id"))}); err != nil {
		return refused(err, x.exports)
	}
	return x.back(Root+"exports", "export-cancelled")
}

// pretty is a value of an event, for people.
func pretty(value string) string {
	if value == "" {
		return "—"
	}
	var text string
	if json.Unmarshal([]byte(value), &text) == nil {
		return text
	}
	return value
}

func running(e *auditv1.Export) bool {
	return e.GetState() == auditv1.Export_QUEUED || e.GetState() == auditv1.Export_RUNNING
}
