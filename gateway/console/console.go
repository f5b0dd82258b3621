// Package console is the web application of administrators, served under
// /console/. It draws pages on the server and works without JavaScript. It is a
// client of the public API like any other: each page calls the edge's own
// handler in the same process with the administrator's token, so that limits,
// rules, step-up and the audit trail are the API's and nothing is decided here.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Root is where the console lives.
const Root = "/console/"

// policy forbids whatever is not a file of ours: no inline script, no inline
// style, nothing from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed assets
var assetFiles embed.FS

// Options is what a Console is made of. API answers /api/v1 as the edge does;
// Secure marks cookies for https alone.
type Options struct {
	API    http.Handler
	Now    func() time.Time
	Rand   io.Reader
	Secure bool
}

// Console serves the pages.
type Console struct {
	api    client
	now    func() time.Time
	rand   io.Reader
	secure bool
	assets map[string]asset  // by path below Root, hash included
	names  map[string]string // path of an asset, by its plain name
	serve  http.Handler
}

type asset struct {
	kind         string
	body, zipped []byte
}

// New makes a console. It fails when a file of its own cannot be read.
func New(o Options) (*Console, error) {
	c := &Console{api: client{o.API}, now: o.Now, rand: o.Rand, secure: o.Secure, assets: map[string]asset{}, names: map[string]string{}}
	if err := c.readAssets(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	mux := http.NewServeMux()
	for _, list := range []map[string]page{c.signInPages(), c.overviewPages(), c.userPages(), c.moneyPages(), c.auditPages(), c.operationPages(), c.accountPages()} {
		for pattern, p := range list {
			method, rest, _ := strings.Cut(pattern, " ")
			mux.Handle(method+" "+Root+rest, c.handle(p))
		}
	}
	mux.HandleFunc("GET "+Root+"assets/{file}", c.asset)
	mux.Handle("GET "+Root, c.handle(page{show: c.nothingHere}))
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(c.handle(page{open: true, show: func(*exchange) error {
		return &Problem{Status: http.StatusForbidden, Code: "CSRF_FAILED", Title: "Request forgery check failed", Detail: "this form was sent from another site"}
	}}))
	c.serve = guard.Handler(mux)
	return c, nil
}

// ServeHTTP serves what lies under Root.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == strings.TrimSuffix(Root, "/") {
		http.Redirect(w, r, Root, http.StatusMovedPermanently)
		return
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 1<<18)
	c.serve.ServeHTTP(w, r)
}

func (c *Console) readAssets() error {
	return fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error { //nolint:wrapcheck // errors of embedded files
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assetFiles.ReadFile(name)
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		base, ext := path.Base(name), path.Ext(name)
		kind := mime.TypeByExtension(ext)
		if kind == "" {
			return nil // a licence
		}
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(base, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		zipped, err := zip(body)
		if err != nil {
			return err
		}
		c.assets[hashed] = asset{kind, body, zipped}
		c.names[base] = Root + "assets/" + hashed
		return nil
	})
}

// asset serves a file whose name holds the hash of its content.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Vary", "Accept-Encoding")
	body := a.body
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	_, _ = w.Write(body)
}

func zip(body []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}

// page is one address: open ones need no sign-in.
type page struct {
	open bool
	show func(x *exchange) error
}

// exchange is one request and its answer.
type exchange struct {
	*Console
	w http.ResponseWriter
	r *http.Request
	s *session
}

// handle serves a page: it asks for a sign-in where one is needed, and shows
// what went wrong.
func (c *Console) handle(p page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{Console: c, w: w, r: r, s: c.session(r)}
		err := r.ParseForm()
		switch {
		case err != nil:
			err = &Problem{Status: http.StatusBadRequest, Code: "INVALID_ARGUMENT", Title: "Invalid argument", Detail: "the form could not be read"}
		case p.open || x.s.open():
			err = p.show(x)
		default:
			err = errSignedOut
		}
		var problem *Problem
		switch {
		case err == nil:
		case errors.Is(err, errSignedOut):
			x.toSignIn()
		case errors.As(err, &problem):
			x.fail(problem) //nolint:contextcheck // of the request, when it is drawn
		default:
			zerolog.Ctx(r.Context()).Error().Err(err).Str("path", r.URL.Path).Msg("page of the console failed")
			x.fail(&Problem{Status: http.StatusInternalServerError, Code: "INTERNAL", Title: "Internal error", Detail: "the page could not be drawn"}) //nolint:contextcheck // as above
		}
	})
}

func (c *Console) nothingHere(*exchange) error {
	return &Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Title: "Not found", Detail: "there is no such page"}
}

// fail shows a problem as a page. A step-up that is owed, or a second factor,
// is asked for, and the form goes on with it.
func (x *exchange) fail(p *Problem) {
	switch p.Code {
	case "STEP_UP_REQUIRED":
		x.askStepUp("")
		return
	case "MFA_REQUIRED":
		p.Detail = "this needs a session with a second factor: set one up under Your account, or sign in again with it"
	}
	x.draw(p.Status, "Something is in the way", "", problemPage(p))
}

// back leads to a page after a form was taken; note names what was done.
func (x *exchange) back(to string, note string) error {
	target := to
	if note != "" {
		sep := "?"
		if strings.Contains(to, "?") {
			sep = "&"
		}
		target += sep + "done=" + note
	}
	http.Redirect(x.w, x.r, target, http.StatusSeeOther)
	return nil
}
