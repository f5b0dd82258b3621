package boot

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// probeTimeout is well below the interval at which anything asks.
const probeTimeout = 2 * time.Second

// probe asks a running process on this host whether it is ready: -health, for
// container engines whose images hold no shell and no curl.
func probe(ctx context.Context, opsAddr string, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(opsAddr)
	if err != nil {
		return say(out, exitConfig, "OPS_ADDR: %q is not host:port", opsAddr)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // listening on every address includes this one
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", http.NoBody)
	if err != nil {
		return say(out, exitFailed, "%v", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return say(out, exitFailed, "%v", err)
	}
	defer func() { _ = res.Body.Close() }() // read as far as needed
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return say(out, exitFailed, "%v", err)
	}
	if res.StatusCode != http.StatusOK {
		return say(out, exitFailed, "%s", body)
	}
	return say(out, exitOK, "%s", body)
}

func say(out io.Writer, code int, format string, args ...any) int {
	_, _ = fmt.Fprintf(out, format+"\n", args...) // the exit code says it too
	return code
}
