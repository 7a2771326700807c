package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

var (
	validFrom  = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280: no well-defined expiry
	checkedAt  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
)

// nodeDomain makes a server name of a node ID, so that the standard verification of the TLS library pins a
// connection to the node that was meant.
const nodeDomain = ".node.piswarm.internal"

// Identity is a node's certificate within its cluster.
type Identity struct {
	id   string
	cert tls.Certificate
	pool *x509.CertPool
}

// NewIdentity makes a certificate for the node, signed by the cluster's CA. Its private key lives in memory
// only: making a new one at each start costs a few milliseconds on a Pi Zero and leaves nothing on the card to
// steal.
func NewIdentity(s Secret, nodeID string) (*Identity, error) {
	caKey := ed25519.NewKeyFromSeed(s.derive("piswarm node api ca v1", ed25519.SeedSize))
	caTemplate := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "piswarm " + s.ClusterID()},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	// Ed25519 signatures are deterministic (RFC 8032), so every node derives this very certificate.
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("make cluster certificate: %w", err)
	}
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("make cluster certificate: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make node key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make node certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: nodeID},
		DNSNames:     []string{nodeID + nodeDomain},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, public, caKey)
	if err != nil {
		return nil, fmt.Errorf("make node certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &Identity{id: nodeID, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, pool: pool}, nil
}

// Certificate is what this node shows, in DER. It is another one after each start, so it also tells two nodes apart
// that share an ID.
func (i *Identity) Certificate() []byte { return i.cert.Certificate[0] }

// Server is the TLS configuration of the node API: members only, TLS 1.3 only.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    i.pool,
		Time:         fixedTime,
	}
}

// Client is the TLS configuration for a call to that node. A connection to any other node fails.
func (i *Identity) Client(nodeID string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		RootCAs:      i.pool,
		ServerName:   nodeID + nodeDomain,
		Time:         fixedTime,
	}
}

func fixedTime() time.Time { return checkedAt }

// PeerID returns the node ID that the other end of a verified connection has proved.
func PeerID(state *tls.ConnectionState) (string, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", errors.New("the connection has no verified certificate")
	}
	for _, name := range state.VerifiedChains[0][0].DNSNames {
		if id, ok := strings.CutSuffix(name, nodeDomain); ok {
			return id, nil
		}
	}
	return "", errors.New("the certificate names no node")
}

// AnyMember is the TLS configuration for a call to a node whose ID is not known yet: it succeeds with any member.
func (i *Identity) AnyMember() *tls.Config {
	c := i.Client("")
	// The name is left out of the verification, and nothing else: the chain to the cluster's CA is verified below.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: i.pool, Intermediates: intermediates, CurrentTime: checkedAt,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
	return c
}
