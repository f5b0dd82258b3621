package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/fail"
	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

const (
	flowCookie = "oidc_flow"
	flowPath   = apiBase + "/auth/oidc"

	// Between the flow and the device, whose own cookie is Strict and stays at
	// home when the browser comes back from another site: each sign-in would
	// look like one from a new device.
	flowSeparator = "."
)

// oidcInput gives the address of a sign-in at a provider as auth may see it: the
// parameters we know, each once, and the browser's own cookie. Providers add
// parameters of their own; they are dropped. Other addresses stay as they are.
func (e *Edge) oidcInput(r *http.Request, rt *route) (*url.URL, error) {
	var names []string
	switch rt.rpc {
	case authv1.OidcService_StartOidc_FullMethodName:
		names = []string{"returnTo"}
	case authv1.OidcService_FinishOidc_FullMethodName:
		names = []string{"code", "state", "error", "iss"}
	default:
		return r.URL, nil
	}
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	given, kept := r.URL.Query(), url.Values{}
	for _, name := range names {
		switch values := given[name]; len(values) {
		case 0:
		case 1:
			kept.Set(name, values[0])
		default:
			return nil, fail.New(fail.InvalidArgument, "the query string has bad values").Field(name, "must be given once")
		}
	}
	if to := kept.Get("returnTo"); to != "" && !e.origins.returnable(to) {
		return nil, fail.New(fail.InvalidArgument, "the query string has bad values").
			Field("returnTo", "must be a path of ours or an address at an allowed origin, without a fragment")
	}
	if rt.rpc == authv1.OidcService_FinishOidc_FullMethodName {
		if c, err := r.Cookie(flowCookie); err == nil {
			flow, device, _ := strings.Cut(c.Value, flowSeparator)
			kept.Set("flow", flow)
			if q := requestOf(r.Context()); q.caller.Device == "" && len(device) <= maxDevice && visible(device) {
				q.caller.Device = device
			}
		}
	}
	at := *r.URL
	at.RawQuery = kept.Encode()
	return &at, nil
}

// returnable reports whether a browser may be sent there with a session: one of
// our paths, or a page of an origin that may call us. Browsers read a backslash
// as a slash and drop tabs, so none may stand in it.
func (o origins) returnable(to string) bool {
	u, err := url.Parse(to)
	if err != nil || strings.ContainsAny(to, "\\#\t\r\n ") || u.User != nil {
		return false
	}
	if u.Scheme == "" && u.Host == "" {
		return strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//")
	}
	return o[strings.ToLower(u.Scheme+"://"+u.Host)]
}

// oidcAnswer sends the browser on its way. done is false for all other answers.
func (e *Edge) oidcAnswer(w http.ResponseWriter, q *request, m proto.Message, answer any) (done bool, err error) {
	switch q.route.rpc {
	case authv1.OidcService_StartOidc_FullMethodName:
		s, ok := m.(*authv1.StartOidcResponse)
		if !ok {
			return true, fmt.Errorf("start of a sign-in answered %T", m)
		}
		value := s.GetFlow()
		if q.caller.Device != "" {
			value += flowSeparator + q.caller.Device
		}
		http.SetCookie(w, e.flow(value, int(s.GetExpiresIn())))
		s.Flow = ""
		w.Header().Set("Location", s.GetAuthorizationUrl())
		w.WriteHeader(http.StatusFound)
		return true, nil
	case authv1.OidcService_FinishOidc_FullMethodName:
		return true, e.oidcArrived(w, q, m, answer)
	default:
		return false, nil
	}
}

// oidcArrived puts the session into cookies when the browser goes on to a page,
// since an address is no place for tokens. The handle of a second factor goes in
// the fragment, which no server sees and which alone opens nothing.
func (e *Edge) oidcArrived(w http.ResponseWriter, q *request, m proto.Message, answer any) error {
	http.SetCookie(w, e.flow("", -1))
	login, ok := answer.(*authv1.LoginAnswer)
	to, returns := m.(interface{ GetReturnTo() string })
	if !ok || !returns {
		return fmt.Errorf("end of a sign-in answered %T", m)
	}
	if !q.cookieMode {
		return nil
	}
	if err := e.hideTokens(w, login); err != nil {
		return err
	}
	if to.GetReturnTo() == "" {
		return nil
	}
	at := to.GetReturnTo()
	if login.GetMfaRequired() {
		at += "#" + url.Values{"mfaRequired": {"true"}, "mfaToken": {login.GetMfaToken()}, "factors": {strings.Join(login.GetFactors(), ",")}}.Encode()
	}
	w.Header().Set("Location", at)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// goesOn reports whether the browser is sent to a page with what it got: in
// cookies then.
func goesOn(m proto.Message) bool {
	to, ok := m.(interface{ GetReturnTo() string })
	return ok && to.GetReturnTo() != ""
}

// flow is the cookie that ties a sign-in to its browser. Lax: the browser comes
// back from another site.
func (e *Edge) flow(value string, maxAge int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // plain http in development
		Name: flowCookie, Value: value, Path: flowPath, MaxAge: maxAge,
		Secure: e.production, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}
