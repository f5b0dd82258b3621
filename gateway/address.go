package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/manas360/platform/pkg/fail"
)

// maxHops bounds how far back X-Forwarded-For is read.
const maxHops = 32

// networks are addresses that something is said of: of proxies, that their
// X-Forwarded-For is believed; of offices, that administrators sit there.
type networks []netip.Prefix

// parseNetworks reads the value of an environment variable.
func parseNetworks(variable string, list []string) (networks, error) {
	var out networks
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return nil, fmt.Errorf("%s: %q is neither a network nor an address", variable, s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func (p networks) hold(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// client is the address of whoever spoke first without being a trusted proxy:
// the peer itself, else the right-most hop of X-Forwarded-For that is not ours.
// What stands to the left of that hop is the client's own claim.
func (p networks) client(remote string, forwarded []string) netip.Addr {
	peer := parseHop(remote)
	if !p.hold(peer) {
		return peer
	}
	last := peer
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && len(hops)-i <= maxHops; i-- {
		a := parseHop(strings.TrimSpace(hops[i]))
		if !a.IsValid() {
			return last // whatever a trusted proxy wrote, it was not an address
		}
		if !p.hold(a) {
			return a
		}
		last = a
	}
	return last
}

// parseHop reads "1.2.3.4", "1.2.3.4:5", "::1" and "[::1]:5".
func parseHop(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// limitKey is what limits by address count: an IPv4 address, an IPv6 /64 (one
// customer holds a whole /64).
func limitKey(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr().String()
		}
	}
	return a.String()
}

// letIn refuses administrators who come from nowhere that they work. A token
// that was stolen is of no use elsewhere.
func (e *Edge) letIn(q *request) error {
	if len(e.offices) == 0 || e.offices.hold(q.client) {
		return nil
	}
	return fail.New(fail.PermissionDenied, "administrators are not let in from this address")
}
