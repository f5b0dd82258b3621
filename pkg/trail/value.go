package trail

import (
	"encoding/json"
	"net/netip"
)

// Value is a changed value as an event says it: JSON, and nothing for none.
func Value(v any) string {
	if v == nil || v == "" {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // what cannot be written is not said; texts, numbers and times can
	}
	return string(b)
}

// Network is all that is kept of an address: its /24 or /48, and nothing for
// what is no address.
func Network(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := 48
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
