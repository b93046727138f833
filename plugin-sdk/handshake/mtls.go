package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const serverName = "localhost"

// Identity is a key with its self-signed certificate, for one process life. The curve is P-256: go-plugin's own
// certificates use P-521, which gRPC implementations outside Go refuse.
type Identity struct {
	cert tls.Certificate
}

// NewIdentity makes a fresh identity.
func NewIdentity() (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a P-256 key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a certificate serial: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: serverName, Organization: []string{"Calimero node"}},
		DNSNames:              []string{serverName},
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().AddDate(30, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back a certificate: %w", err)
	}
	return &Identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, nil
}

// DER is the certificate, the form of the handshake line's sixth field before base64.
func (i *Identity) DER() []byte { return i.cert.Certificate[0] }

// Leaf is the certificate.
func (i *Identity) Leaf() *x509.Certificate { return i.cert.Leaf }

// PEM is the certificate, the form of EnvHostCert.
func (i *Identity) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.DER()})
}

// HostTLS is the configuration of the host's end; it trusts nobody until go-plugin adds the certificate of the
// plugin's handshake line. Each launch needs its own (ClientConfig.TLSConfig with AutoMTLS off), and EnvHostCert set to
// PEM in the plugin's environment.
func (i *Identity) HostTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert},
		RootCAs:      x509.NewCertPool(),
		ServerName:   serverName,
		MinVersion:   tls.VersionTLS13,
	}
}

// PluginTLS is the configuration of the plugin's end: it admits the owner of hostPEM only.
func (i *Identity) PluginTLS(hostPEM []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(hostPEM) {
		return nil, errkind.Invalid.Errorf("read the host's certificate from %s: it has no PEM certificate", EnvHostCert)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		RootCAs:      pool,
		ServerName:   serverName,
		MinVersion:   tls.VersionTLS13,
	}, nil
}
