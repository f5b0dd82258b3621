package stack

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	caLife   = 5 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	renewAt  = 7 * 24 * time.Hour
)

// issuer is the stack's own certificate authority; its key never leaves the data folder.
type issuer struct {
	dir  string
	now  time.Time
	rand io.Reader
	cert *x509.Certificate
	key  crypto.Signer
}

// writeCertificates gives every process its certificate, and renews what is about to end.
func writeCertificates(dir string, now time.Time, rand io.Reader, names []string) error {
	ca := &issuer{dir: dir, now: now, rand: rand}
	fresh, err := ca.load()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !fresh && ca.good(name) {
			continue
		}
		if err := ca.issue(name); err != nil {
			return err
		}
	}
	return nil
}

// load reads the authority, or makes a new one.
func (c *issuer) load() (fresh bool, err error) {
	c.cert, c.key = readPair(c.dir, "ca")
	if c.cert != nil && c.now.Add(leafLife).Before(c.cert.NotAfter) {
		return false, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), c.rand)
	if err != nil {
		return false, fmt.Errorf("make the authority's key: %w", err)
	}
	serial, err := c.serial()
	if err != nil {
		return false, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Manas360 development"},
		NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(c.rand, t, t, key.Public(), key)
	if err != nil {
		return false, fmt.Errorf("sign the authority: %w", err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		return false, fmt.Errorf("read the authority: %w", err)
	}
	c.key = key
	return true, writePair(c.dir, "ca", der, key)
}

// good reports whether a certificate is ours, for this name, and lasts.
func (c *issuer) good(name string) bool {
	cert, key := readPair(c.dir, name)
	if cert == nil || key == nil || !c.now.Add(renewAt).Before(cert.NotAfter) || c.now.Before(cert.NotBefore) {
		return false
	}
	return cert.CheckSignatureFrom(c.cert) == nil && len(cert.URIs) == 1 && cert.URIs[0].String() == identity(name).String()
}

func identity(name string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: "manas360", Path: "/" + name}
}

func (c *issuer) issue(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), c.rand)
	if err != nil {
		return fmt.Errorf("make %s's key: %w", name, err)
	}
	serial, err := c.serial()
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{identity(name)}, DNSNames: []string{"localhost", name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(c.rand, t, c.cert, key.Public(), c.key)
	if err != nil {
		return fmt.Errorf("sign %s's certificate: %w", name, err)
	}
	return writePair(c.dir, name, der, key)
}

func (c *issuer) serial() (*big.Int, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(c.rand, raw); err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	raw[0] &= 0x7f // positive, as RFC 5280 asks
	return new(big.Int).SetBytes(raw), nil
}

// readPair returns nothing when either file is missing or broken: it is made again then.
func readPair(dir, name string) (*x509.Certificate, crypto.Signer) {
	certRaw, err := os.ReadFile(filepath.Clean(filepath.Join(dir, name+".pem")))
	keyRaw, err2 := os.ReadFile(filepath.Clean(filepath.Join(dir, name+"-key.pem")))
	if errors.Join(err, err2) != nil {
		return nil, nil
	}
	certBlock, _ := pem.Decode(certRaw)
	keyBlock, _ := pem.Decode(keyRaw)
	if certBlock == nil || keyBlock == nil {
		return nil, nil
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	key, err2 := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	signer, ok := key.(crypto.Signer)
	if errors.Join(err, err2) != nil || !ok {
		return nil, nil
	}
	pub, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(pub, cert.RawSubjectPublicKeyInfo) {
		return nil, nil
	}
	return cert, signer
}

func writePair(dir, name string, der []byte, key *ecdsa.PrivateKey) error {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode %s's key: %w", name, err)
	}
	if err := writeFile(filepath.Join(dir, name+"-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
