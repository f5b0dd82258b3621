package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

var (
	merchant1 = PhonePeV1{MerchantID: "PGTESTPAYUAT", SaltKey: "099eb0cd-02cf-4e2a-8aca-3e6c6aff0399", SaltIndex: 1}
	merchantR = Razorpay{KeyID: "rzp_test_sandbox", KeySecret: "keysecret", WebhookSecret: "hooksecret"}
	merchantS = Stripe{APIKey: "sk_test_sandbox", WebhookSecret: "whsec_sandbox"}
)

// delivery is a callback as it came.
type delivery struct {
	path   string
	header http.Header
	body   []byte
}

func (w *world) other(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Errorf("callback to %s: %v", r.URL.Path, err)
	}
	if w.refuse.Add(-1) >= 0 {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.raw <- delivery{r.URL.Path, r.Header, body}
}

func (w *world) delivered() delivery {
	w.t.Helper()
	select {
	case d := <-w.raw:
		return d
	case <-time.After(10 * time.Second):
		w.t.Fatal("no callback came")
		return delivery{}
	}
}

func (d delivery) json() map[string]any {
	var v map[string]any
	_ = json.Unmarshal(d.body, &v)
	return v
}

// dig follows a path of names and indexes through decoded JSON.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// count is how many a list of Stripe's has.
func count(v any) int {
	all, ok := dig(v, "data").([]any)
	if !ok {
		return -1
	}
	return len(all)
}

func text(v any, path ...any) string { return fmt.Sprint(dig(v, path...)) }

func (w *world) razorpay(method, path, body string, header ...string) (int, map[string]any) {
	w.t.Helper()
	return w.call(method, "/razorpay/v1"+path, body, append([]string{"user", merchantR.KeyID + ":" + merchantR.KeySecret, "Content-Type", "application/json"}, header...)...)
}

func (w *world) stripe(method, path string, form url.Values, header ...string) (int, map[string]any) {
	w.t.Helper()
	if method == http.MethodGet {
		return w.call(method, "/stripe/v1"+path+"?"+form.Encode(), "", append([]string{"Authorization", "Bearer " + merchantS.APIKey}, header...)...)
	}
	return w.call(method, "/stripe/v1"+path, form.Encode(), append([]string{"Authorization", "Bearer " + merchantS.APIKey, "Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// eventually waits for a state that the bank reaches by itself.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	w.t.Fatalf("never came: %s", what)
}

func (w *world) pathOf(link string) string { return strings.TrimPrefix(link, w.url) }

func decoded(s string) []byte {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return raw
}
