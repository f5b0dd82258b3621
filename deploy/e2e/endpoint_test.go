package e2e_test

import (
	"testing"

	"github.com/manas360/platform/deploy/internal/api"
)

// An organization's owner says where it wants to be told; nobody else sees it.
func TestWebhookEndpoints(t *testing.T) {
	owner, stranger := join(t), join(t)
	org := owner.want(201, "", api.Call{Method: "POST", URL: "/organizations", Token: owner.token, Body: body{"name": "Quiet Minds", "type": "CORPORATE"}}).Str("id")
	root := "/organizations/" + org + "/webhook-endpoints"
	in := body{"url": "https://hooks.example.com/manas", "events": []string{"payment.succeeded"}}
	post := func(p *person, path string, b body) api.Call {
		return api.Call{Method: "POST", URL: path, Token: p.token, Body: b}
	}
	for name, bad := range map[string]body{
		"http":      {"url": "http://hooks.example.com/", "events": []string{"payment.succeeded"}},
		"loopback":  {"url": "https://127.0.0.1/", "events": []string{"payment.succeeded"}},
		"metadata":  {"url": "https://169.254.169.254/latest", "events": []string{"payment.succeeded"}},
		"no event":  {"url": "https://hooks.example.com/"},
		"an event":  {"url": "https://hooks.example.com/", "events": []string{"payment.imagined"}},
		"no url":    {"events": []string{"payment.succeeded"}},
		"a payer":   {"url": "https://hooks.example.com/", "events": []string{"payment.succeeded"}, "payerId": "usr_1"},
		"no scheme": {"url": "hooks.example.com", "events": []string{"payment.succeeded"}},
	} {
		if a := owner.do(post(owner, root, bad)); a.Status != 400 {
			t.Errorf("%s: %d %s", name, a.Status, a.Raw)
		}
	}
	stranger.want(404, "NOT_FOUND", post(stranger, root, in))
	made := owner.want(201, "", post(owner, root, in))
	id := made.Str("id")
	if made.Str("secret") == "" || id == "" || made.Dig("enabled") != true {
		t.Errorf("endpoint = %s", made.Raw)
	}
	list := owner.get(root).List("endpoints")
	if len(list) != 1 || list[0]["secret"] != nil || list[0]["id"] != id {
		t.Errorf("endpoints = %v", list)
	}
	stranger.want(404, "NOT_FOUND", api.Call{Method: "GET", URL: root, Token: stranger.token})
	stranger.want(404, "NOT_FOUND", api.Call{Method: "DELETE", URL: root + "/" + id, Token: stranger.token})
	changed := owner.want(200, "", api.Call{Method: "PATCH", URL: root + "/" + id, Token: owner.token, Body: body{"description": "billing", "enabled": false}})
	if changed.Str("description") != "billing" || changed.Dig("enabled") == true || changed.Str("url") != "https://hooks.example.com/manas" {
		t.Errorf("changed = %s", changed.Raw)
	}
	rotated := owner.want(200, "", post(owner, root+"/"+id+"/rotate-secret", body{}))
	if s := rotated.Str("secret"); s == "" || s == made.Str("secret") {
		t.Errorf("rotated = %s", rotated.Raw)
	}
	if sent := owner.want(202, "", post(owner, root+"/"+id+"/test", body{})); sent.Str("event") != "webhook.test" {
		t.Errorf("test = %s", sent.Raw)
	}
	if log := owner.get(root + "/" + id + "/deliveries").List("deliveries"); len(log) != 1 {
		t.Errorf("deliveries = %v", log)
	}
	owner.want(204, "", api.Call{Method: "DELETE", URL: root + "/" + id, Token: owner.token})
	if list := owner.get(root).List("endpoints"); len(list) != 0 {
		t.Errorf("endpoints = %v", list)
	}
}
