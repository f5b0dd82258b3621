package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/manas360/platform/pkg/rpc"
	"github.com/manas360/platform/pkg/rpc/rpctest"
	eventv1 "github.com/manas360/platform/proto/gen/manas/event/v1"
)

// identity.md row 55, CVE-2026-33186: a path spelled in a way that the rules do
// not know must not reach a method that they would have refused.
func TestPathsSpelledOtherwiseReachNothing(t *testing.T) {
	var reached atomic.Int32
	addr := startEcho(t, nil, func(context.Context, proto.Message) error { reached.Add(1); return nil })
	for _, path := range []string{
		echo + "/Mine", "//" + echo + "/Mine", "/" + echo + "//Mine", "/" + echo + "/Mine/", "/" + echo + "/mine",
		"/" + echo + "/%4Dine", "/./" + echo + "/Mine", "/" + echo + ".Mine", "", "*", "/", "/" + echo + "/Inner\x00",
	} {
		if status := post(t, addr, path); status == "0" {
			t.Errorf("%q: answered OK", path)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d calls reached the service", n)
	}
	// The rig itself works: a path as it should be is served.
	if status := post(t, addr, "/"+echo+"/Public"); status != "0" || reached.Load() != 1 {
		t.Errorf("a good path: status %q, %d calls", status, reached.Load())
	}
}

// post sends one gRPC request in frames of its own as the gateway and answers
// grpc-status, "" when the server just hung up.
func post(t *testing.T, addr, path string) string {
	t.Helper()
	files, err := rpc.LoadTLS(rpctest.Base(t, "gateway"))
	if err != nil {
		t.Fatal(err)
	}
	conf := files.Client("audit")
	conf.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's connection
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	var block bytes.Buffer
	h := hpack.NewEncoder(&block)
	for _, kv := range [][2]string{
		{":method", "POST"},
		{":scheme", "https"},
		{":path", path},
		{":authority", "audit"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"grpc-timeout", "5S"},
	} {
		if err := h.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}); err != nil {
			t.Fatal(err)
		}
	}
	body, err := proto.Marshal(&eventv1.DeliverResponse_Result{Reason: "because it must be"})
	if err != nil {
		t.Fatal(err)
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	for _, err := range []error{
		f.WriteSettings(),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		f.WriteData(1, true, message),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return answered(f)
}

// answered reads frames until the stream ends.
func answered(f *http2.Framer) (status string) {
	d := hpack.NewDecoder(4096, func(h hpack.HeaderField) {
		if h.Name == "grpc-status" {
			status = h.Value
		}
	})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return status
		}
		switch fr := frame.(type) {
		case *http2.HeadersFrame:
			if _, err := d.Write(fr.HeaderBlockFragment()); err != nil || fr.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status
		}
	}
}
