// Package peers is the adapter to the other members' node APIs: HTTPS calls that are pinned to the member that is
// meant, by mutual TLS with the certificates of package trust. It knows where members are from whoever makes it
// and nothing of what is said.
package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Config of a Peers.
type Config struct {
	// TLS returns the client configuration for calls to that node.
	TLS func(node string) *tls.Config
	// Address returns where a member is; false if it is none.
	Address func(node string) (netip.AddrPort, bool)
}

// Peers calls other members. One client a member is kept, so that a call costs no handshake.
type Peers struct {
	cfg Config

	mu      sync.Mutex
	clients map[string]*http.Client
}

// New returns a caller of other members.
func New(cfg Config) *Peers { return &Peers{cfg: cfg, clients: map[string]*http.Client{}} }

// Bounds of a connection. A Pi Zero needs some tens of milliseconds for a handshake, a bad Wi-Fi seconds.
const (
	dialTime      = 5 * time.Second
	handshakeTime = 10 * time.Second
	answerTime    = 30 * time.Second
	idleTime      = 2 * time.Minute
)

// Client returns the client for calls to that node. It dials the member's present address whatever host the
// URL names.
func (p *Peers) Client(node string) *http.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[node]; c != nil {
		return c
	}
	dialer := net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}
	c := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			address, ok := p.cfg.Address(node)
			if !ok {
				return nil, fmt.Errorf("node %s is not a member", node)
			}
			return dialer.DialContext(ctx, network, address.String())
		},
		TLSClientConfig:       p.cfg.TLS(node),
		TLSHandshakeTimeout:   handshakeTime,
		ResponseHeaderTimeout: answerTime,
		IdleConnTimeout:       idleTime,
		MaxIdleConnsPerHost:   2,
		DisableCompression:    true,
	}}
	p.clients[node] = c
	return c
}

// BaseURL is what to put before the path of a call to that node.
func BaseURL(node string) string { return "https://" + node }

// Post sends a body to a member and returns the answer's, of at most limit bytes.
func (p *Peers) Post(ctx context.Context, node, path string, body []byte, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, BaseURL(node)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := p.Client(node).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("node %s answers %s: %.200s", node, response.Status, bytes.TrimSpace(answer))
	}
	if int64(len(answer)) > limit {
		return nil, fmt.Errorf("node %s answers with more than %d bytes", node, limit)
	}
	return answer, nil
}

// Close gives up all connections.
func (p *Peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.CloseIdleConnections()
	}
}

// Ask sends a GET to whoever answers at an address, as far as config trusts it, and returns the answer's body, of at
// most limit bytes, and the certificate of the one who gave it.
func Ask(ctx context.Context, address netip.AddrPort, config *tls.Config, path string, limit int64) ([]byte, *x509.Certificate, error) {
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSClientConfig: config, TLSHandshakeTimeout: handshakeTime, ResponseHeaderTimeout: answerTime, DisableKeepAlives: true,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address.String()+path, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit))
	switch {
	case err != nil:
		return nil, nil, err
	case response.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s answers %s", address, response.Status)
	case response.TLS == nil || len(response.TLS.PeerCertificates) == 0:
		return nil, nil, fmt.Errorf("%s shows no certificate", address)
	}
	return answer, response.TLS.PeerCertificates[0], nil
}

// ErrStranger says that a node is of another cluster: it does not know this one's secret.
var ErrStranger = errors.New("it belongs to another cluster: its secret is not the one of this token")

// Prove connects to the node API at an address and returns nil if whoever answers there knows the secret that
// config was made from, for whichever node ID.
func Prove(ctx context.Context, address netip.AddrPort, config *tls.Config) error {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	var unknown *tls.CertificateVerificationError
	switch {
	case err == nil:
		conn.Close()
		return nil
	case errors.As(err, &unknown):
		return ErrStranger
	}
	return err
}
