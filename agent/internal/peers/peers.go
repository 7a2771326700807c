// Package peers is the adapter to the other members' node APIs: HTTPS calls that are pinned to the member that is
// meant, by mutual TLS with the certificates of package trust. It knows where members are from whoever makes it
// and nothing of what is said.
package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
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
	clients map[use]*http.Client
}

// use is what a client is for.
type use struct {
	node    string
	patient bool
}

// New returns a caller of other members.
func New(cfg Config) *Peers { return &Peers{cfg: cfg, clients: map[use]*http.Client{}} }

// Bounds of a connection. A Pi Zero needs some tens of milliseconds for a handshake, a bad Wi-Fi seconds.
const (
	dialTime      = 5 * time.Second
	handshakeTime = 10 * time.Second
	answerTime    = 30 * time.Second
	idleTime      = 2 * time.Minute
)

// Client returns the client for calls to that node. It dials the member's present address whatever host the
// URL names.
func (p *Peers) Client(node string) *http.Client { return p.client(use{node, false}) }

// Patient returns a client for calls whose answers may take their time to begin: the caller bounds them.
func (p *Peers) Patient(node string) *http.Client { return p.client(use{node, true}) }

func (p *Peers) client(u use) *http.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[u]; c != nil {
		return c
	}
	node, wait := u.node, answerTime
	if u.patient {
		wait = 0 // none
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
		ResponseHeaderTimeout: wait,
		IdleConnTimeout:       idleTime,
		MaxIdleConnsPerHost:   2,
		DisableCompression:    true,
	}}
	p.clients[u] = c
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
	return p.Do(node, request, limit)
}

// Do sends a request to a member and returns the answer's body, of at most limit bytes.
func (p *Peers) Do(node string, request *http.Request, limit int64) ([]byte, error) {
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
		return nil, refusal{node, response.StatusCode, said(answer)}
	}
	if int64(len(answer)) > limit {
		return nil, fmt.Errorf("node %s answers with more than %d bytes", node, limit)
	}
	return answer, nil
}

// ErrRemoved is in an error when a member says that this node was removed from the cluster.
var ErrRemoved = errors.New("this node was removed from the cluster")

// refusal is an answer of a member that is none to what was asked.
type refusal struct {
	node   string
	status int
	text   string
}

func (r refusal) Error() string { return fmt.Sprintf("node %s: %s", r.node, r.text) }

func (r refusal) Is(target error) bool { return target == ErrRemoved && r.status == http.StatusGone }

// Refused tells whether an error is a member's answer, and not the lack of one.
func Refused(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// said is what a member says about a failure, in one line.
func said(answer []byte) string {
	var problem struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &problem) == nil && problem.Error != "" {
		answer = []byte(problem.Error)
	}
	return fmt.Sprintf("%.300s", bytes.Join(bytes.Fields(answer), []byte(" ")))
}

// Renew has later calls make connections by the keyring of then. What is under way goes on.
func (p *Peers) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.CloseIdleConnections() // and those in use, when they are idle
	}
	clear(p.clients)
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
		return nil, nil, stranger(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit))
	switch {
	case err != nil:
		return nil, nil, err
	case response.StatusCode != http.StatusOK:
		return nil, nil, refusal{address.String(), response.StatusCode, said(answer)}
	case response.TLS == nil || len(response.TLS.PeerCertificates) == 0:
		return nil, nil, fmt.Errorf("%s shows no certificate", address)
	}
	return answer, response.TLS.PeerCertificates[0], nil
}

// ErrStranger says that a node is of another cluster: it does not know this one's secret.
var ErrStranger = errors.New("it belongs to another cluster: its secret is not the one of this token; if that was changed, `piswarm token` on a member prints the new one")

// strangerError is ErrStranger with the node ID that the stranger's certificate claims.
type strangerError struct{ id string }

func (strangerError) Error() string { return ErrStranger.Error() }

func (strangerError) Is(target error) bool { return target == ErrStranger }

// Claimed is the node ID that a stranger's certificate claims. It proves nothing.
func Claimed(err error) string {
	var s strangerError
	errors.As(err, &s)
	return s.id
}

// stranger makes ErrStranger of an error of the TLS library that says so.
func stranger(err error) error {
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		return err
	}
	if len(unknown.UnverifiedCertificates) == 0 {
		return strangerError{}
	}
	return strangerError{trust.ClaimedID(unknown.UnverifiedCertificates[0])}
}
