package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/manas360/platform/pkg/boot"
	"github.com/manas360/platform/pkg/config"
)

const trustDomain = "manas360"

// TLS is this process's side of mTLS. It is read once: a new certificate needs
// a restart.
type TLS struct {
	certificate tls.Certificate
	authority   *x509.CertPool
}

// LoadTLS reads the certificate, key and authority b names.
func LoadTLS(b boot.Base) (*TLS, error) {
	var missing []string
	for _, v := range []struct{ name, path string }{
		{"TLS_CERT_FILE", b.TLSCertFile}, {"TLS_KEY_FILE", b.TLSKeyFile}, {"TLS_CA_FILE", b.TLSCAFile},
	} {
		if v.path == "" {
			missing = append(missing, v.name+": required, but not set")
		}
	}
	if len(missing) > 0 {
		return nil, &config.Error{Problems: missing}
	}
	certificate, err := tls.LoadX509KeyPair(b.TLSCertFile, b.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	pem, err := os.ReadFile(b.TLSCAFile)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read authority: no certificate in %s", b.TLSCAFile)
	}
	return &TLS{certificate: certificate, authority: authority}, nil
}

// Server demands a certificate of our authority from every client.
func (t *TLS) Server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{t.certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    t.authority,
	}
}

// Client accepts the named service alone, whatever address answers.
func (t *TLS) Client(service string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{t.certificate},
		RootCAs:      t.authority,
		ServerName:   service,
		VerifyConnection: func(s tls.ConnectionState) error {
			if got := identity(s); got != service {
				return fmt.Errorf("server is %q, want %q", got, service)
			}
			return nil
		},
	}
}

// Peer gives the mTLS name of the process that made the call, "" outside a call.
func Peer(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	return identity(info.State)
}

// identity gives <name> of the one URI spiffe://manas360/<name> in the verified
// certificate of the other side.
func identity(s tls.ConnectionState) string {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return ""
	}
	name, err := spiffeName(s.PeerCertificates[0].URIs)
	if err != nil {
		return ""
	}
	return name
}

func spiffeName(uris []*url.URL) (string, error) {
	if len(uris) != 1 {
		return "", errors.New("not exactly one URI")
	}
	u := uris[0]
	name, ok := strings.CutPrefix(u.Path, "/")
	if u.Scheme != "spiffe" || u.Host != trustDomain || !ok || name == "" || strings.Contains(name, "/") {
		return "", errors.New("not of our trust domain")
	}
	return name, nil
}
