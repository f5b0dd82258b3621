package gateway

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	authv1 "github.com/manas360/platform/proto/gen/manas/auth/v1"
)

// The token that makes a device known never stands in a body: cookies carry it
// for browsers, a header for others, and it comes back either way.
func TestDeviceTokenTravels(t *testing.T) {
	h := newHarness(t)
	h.b.when(authv1.AuthService_Login_FullMethodName, answer(&authv1.LoginResponse{Answer: &authv1.LoginAnswer{
		AccessToken: proto.String("AAA"), ExpiresIn: proto.Int32(900), RefreshToken: proto.String("RRR"),
		RefreshExpiresIn: proto.Int32(604800), DeviceToken: proto.String("dev_DDD"),
	}}))
	const login = `{"email":"a@b.co","password":"x"}`
	r := h.do("POST", "/api/v1/auth/login", login, "X-Device-Token: dev_before")
	if r.header.Get("X-Device-Token") != "dev_DDD" || strings.Contains(r.body, "dev_DDD") || r.header.Get("Set-Cookie") != "" {
		t.Errorf("got %v %s", r.header, r.body)
	}
	call, _ := h.b.last(authv1.AuthService_Login_FullMethodName)
	if call.caller.Device != "dev_before" {
		t.Errorf("auth saw device %q", call.caller.Device)
	}
	r = h.do("POST", "/api/v1/auth/login", login, "X-Session-Mode: cookie", "Cookie: device=dev_cookie")
	cookies := strings.Join(r.header.Values("Set-Cookie"), "\n")
	if !strings.Contains(cookies, "device=dev_DDD; Path=/api/v1/auth; Max-Age=31536000; HttpOnly; SameSite=Strict") || r.header.Get("X-Device-Token") != "" {
		t.Errorf("got %s", cookies)
	}
	call, _ = h.b.last(authv1.AuthService_Login_FullMethodName)
	if call.caller.Device != "dev_cookie" {
		t.Errorf("auth saw device %q", call.caller.Device)
	}
	h.do("POST", "/api/v1/auth/login", login, "X-Device-Token: "+strings.Repeat("d", 200))
	if call, _ = h.b.last(authv1.AuthService_Login_FullMethodName); call.caller.Device != "" {
		t.Errorf("auth saw device %q", call.caller.Device)
	}
}
