package payment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

const (
	webhookDeadline  = 10 * time.Second
	webhookAnswerMax = 4 << 10 // what we read of it; nobody looks at the rest
	webhookAgent     = "Manas360-Webhooks/1.0"
)

var errPrivate = errors.New("the address is not public")

// notPublic are ranges that netip does not name and no customer's host is in.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64: an IPv4 address in disguise
	netip.MustParsePrefix("64:ff9b:1::/48"),  // likewise
	netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4: likewise
	netip.MustParsePrefix("100::/64"),        // discard
}

// public reports whether an address is somebody's on the internet: not ours, not
// a neighbour's, not the machine's.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

func literal(host string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read an address: %w", err)
	}
	return ip, nil
}

// newOutgoingClient calls addresses that others chose. It looks at the address
// that is really dialled, so a name that resolves to another one the second time
// does not help; it knows no proxy and follows no redirect.
func newOutgoingClient(allowed func(netip.Addr) bool) *http.Client {
	d := &net.Dialer{
		Timeout: webhookDeadline,
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !allowed(at.Addr()) {
				return errPrivate
			}
			return nil
		},
	}
	return &http.Client{
		Timeout: webhookDeadline,
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSHandshakeTimeout: webhookDeadline, ResponseHeaderTimeout: webhookDeadline,
			MaxResponseHeaderBytes: webhookAnswerMax, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func post(ctx context.Context, client *http.Client, to, messageID string, at time.Time, signed string, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make the request: %w", err)
	}
	for name, v := range map[string]string{
		"Content-Type": "application/json", "User-Agent": webhookAgent, "Webhook-Id": messageID,
		"Webhook-Timestamp": strconv.FormatInt(at.Unix(), 10), "Webhook-Signature": signed,
	} {
		req.Header.Set(name, v)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("call the endpoint: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, webhookAnswerMax))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return res.StatusCode, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return res.StatusCode, fmt.Errorf("%w: %d", errNotTaken, res.StatusCode)
	}
	return res.StatusCode, nil
}
