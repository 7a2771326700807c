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
	"sync"
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

// caName is the name of a cluster's CA, before the cluster's ID.
const caName = "piswarm "

// Identity is a node's certificates within its cluster, one by each secret of its keyring. It is safe for use by many
// goroutines.
type Identity struct {
	id     string
	public ed25519.PublicKey
	key    ed25519.PrivateKey

	mu    sync.Mutex
	certs []tls.Certificate // the primary secret's first
	pool  *x509.CertPool
}

// NewIdentity makes certificates for the node, signed by the cluster's CA. Their private key lives in memory
// only: making a new one at each start costs a few milliseconds on a Pi Zero and leaves nothing on the card to
// steal.
func NewIdentity(k Keyring, nodeID string) (*Identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make node key: %w", err)
	}
	i := &Identity{id: nodeID, public: public, key: private}
	return i, i.Set(k)
}

// Set goes by another keyring. What Server returned follows at the next handshake; what Client and AnyMember returned
// stays as it is.
func (i *Identity) Set(k Keyring) error {
	pool := x509.NewCertPool()
	var certs []tls.Certificate
	for _, s := range k.Secrets() {
		ca, caKey, err := authority(s)
		if err != nil {
			return err
		}
		cert, err := i.certify(ca, caKey)
		if err != nil {
			return err
		}
		pool.AddCert(ca)
		certs = append(certs, cert)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.certs, i.pool = certs, pool
	return nil
}

// authority derives the cluster's CA. Ed25519 signatures are deterministic (RFC 8032), so every node derives the very
// same certificate.
func authority(s Secret) (*x509.Certificate, ed25519.PrivateKey, error) {
	key := ed25519.NewKeyFromSeed(s.derive("piswarm node api ca v1", ed25519.SeedSize))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: caName + s.ClusterID()},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make cluster certificate: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("make cluster certificate: %w", err)
	}
	return ca, key, nil
}

// certify makes this node's certificate by that CA.
func (i *Identity) certify(ca *x509.Certificate, caKey ed25519.PrivateKey) (tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make node certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: i.id},
		DNSNames:     []string{i.id + nodeDomain},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, i.public, caKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make node certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key}, nil
}

// Certificate is what this node shows, in DER. Its key is another one after each start, so it also tells two nodes
// apart that share an ID.
func (i *Identity) Certificate() []byte {
	certs, _ := i.now()
	return certs[0].Certificate[0]
}

// Shows tells whether that certificate is one of this life's own.
func (i *Identity) Shows(cert *x509.Certificate) bool { return i.public.Equal(cert.PublicKey) }

func (i *Identity) now() ([]tls.Certificate, *x509.CertPool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.certs, i.pool
}

// Server is the TLS configuration of the node API: members only, TLS 1.3 only. It follows the keyring. It remembers no
// session: each connection proves the secret anew.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			certs, pool := i.now()
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           certs[:1],
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              pool,
				SessionTicketsDisabled: true,
				Time:                   fixedTime,
			}, nil
		},
		SessionTicketsDisabled: true,
	}
}

// Client is the TLS configuration for a call to that node, by the present keyring. A connection to any other node
// fails. Of this node's certificates the TLS library shows the one that the server accepts.
func (i *Identity) Client(nodeID string) *tls.Config {
	certs, pool := i.now()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: certs,
		RootCAs:      pool,
		ServerName:   nodeID + nodeDomain,
		Time:         fixedTime,
	}
}

func fixedTime() time.Time { return checkedAt }

var errNoChain = errors.New("the connection has no verified certificate")

// PeerID returns the node ID that the other end of a verified connection has proved.
func PeerID(state *tls.ConnectionState) (string, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", errNoChain
	}
	if id := ClaimedID(state.VerifiedChains[0][0]); id != "" {
		return id, nil
	}
	return "", errors.New("the certificate names no node")
}

// ClaimedID is the node ID that a certificate is for. It proves nothing as long as the certificate is not verified.
func ClaimedID(cert *x509.Certificate) string {
	for _, name := range cert.DNSNames {
		if id, ok := strings.CutSuffix(name, nodeDomain); ok {
			return id
		}
	}
	return ""
}

// Current tells whether the other end of a verified connection has proved a secret that holds now. A connection may
// be older than the present keyring.
func (i *Identity) Current(state *tls.ConnectionState) bool {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	_, pool := i.now()
	return verify(*state, pool, x509.ExtKeyUsageClientAuth) == nil
}

// AnyMember is the TLS configuration for a call to a node whose ID is not known yet: it succeeds with any member.
func (i *Identity) AnyMember() *tls.Config {
	c := i.Client("")
	// The name is left out of the verification, and nothing else: the chain to the cluster's CA is verified below.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		return verify(state, c.RootCAs, x509.ExtKeyUsageServerAuth)
	}
	return c
}

func verify(state tls.ConnectionState, pool *x509.CertPool, use x509.ExtKeyUsage) error {
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, CurrentTime: checkedAt, KeyUsages: []x509.ExtKeyUsage{use},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}
