// Package rpctest gives tests what processes have: an identity, a server on the
// loopback with real mTLS, and clients of any name.
package rpctest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/rpc"
)

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	err         error
}

// One authority per test binary: every process of a test trusts the others.
var newAuthority = sync.OnceValue(func() authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{err: err}
	}
	c := template("manas360 test authority")
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return authority{err: err}
	}
	parsed, err := x509.ParseCertificate(der)
	return authority{certificate: parsed, key: key, err: err}
})

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Base is the configuration of a process with the mTLS name spiffe://manas360/<name>.
func Base(tb testing.TB, name string) boot.Base {
	tb.Helper()
	ca := newAuthority()
	if ca.err != nil {
		tb.Fatalf("make test authority: %v", ca.err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make key of %s: %v", name, err)
	}
	c := template(name)
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.DNSNames = []string{"localhost", name}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "manas360", Path: "/" + name}}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.certificate, key.Public(), ca.key)
	if err != nil {
		tb.Fatalf("sign certificate of %s: %v", name, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatalf("encode key of %s: %v", name, err)
	}
	dir := tb.TempDir()
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			tb.Fatalf("write %s: %v", file, err)
		}
		return path
	}
	return boot.Base{
		NodeEnv:     "test",
		LogLevel:    "error",
		GRPCAddr:    "127.0.0.1:0",
		TLSCertFile: write("cert.pem", "CERTIFICATE", der),
		TLSKeyFile:  write("key.pem", "PRIVATE KEY", private),
		TLSCAFile:   write("ca.pem", "CERTIFICATE", ca.certificate.Raw),
	}
}

// Process makes a process of that name which logs errors to the test and stops
// with it.
func Process(tb testing.TB, name string) *boot.Process {
	tb.Helper()
	log := zerolog.New(zerolog.NewTestWriter(tb)).Level(zerolog.ErrorLevel)
	p := boot.NewProcess(tb.Context(), name, Base(tb, name), log, time.Now, rand.Reader) //nolint:forbidigo // a test's own clock
	tb.Cleanup(func() {
		if err := p.Stop(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("stop %s: %v", name, err)
		}
	})
	return p
}

// Serve serves s on the loopback until the test ends and gives its address.
func Serve(tb testing.TB, s *grpc.Server) string {
	tb.Helper()
	var c net.ListenConfig
	l, err := c.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	tb.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// Dial connects the process called as to the service at addr.
func Dial(tb testing.TB, as, service, addr string) *grpc.ClientConn {
	tb.Helper()
	conn, err := rpc.Dial(Process(tb, as), service, addr)
	if err != nil {
		tb.Fatalf("dial %s as %s: %v", service, as, err)
	}
	return conn
}
