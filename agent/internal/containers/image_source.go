package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
)

// Peer is a member that may hold an image and serves it with its [Runtime.BlobHandler].
type Peer struct {
	Name    string
	BaseURL string // of what the handler's /v2/ hangs below: https://192.168.1.21:7947
	// Client trusts that member, and is trusted by it.
	Client *http.Client
}

const (
	// answerLimit is how long a peer or registry may take to begin its answer.
	answerLimit = 20 * time.Second
	// stallLimit is how long it may then pause. A Pi Zero on a bad Wi-Fi does, for seconds.
	stallLimit = 20 * time.Second
)

// resolver finds images at the peers, in their order, and then in the registry that the reference names.
func (r *Runtime) resolver(peers []Peer, registry bool) (remotes.Resolver, error) {
	var first []docker.RegistryHost
	for _, p := range peers {
		base, err := url.Parse(p.BaseURL)
		if err != nil || base.Host == "" || p.Client == nil {
			return nil, fmt.Errorf("member %s: want the URL of its API and a client for it, not %q", p.Name, p.BaseURL)
		}
		// Once a peer failed it is not asked again in this pull: an image has dozens of parts, and each would
		// wait for it anew.
		patience := &patience{next: p.Client.Transport, once: true, got: &r.fromPeers}
		cl := *p.Client
		cl.Transport = patience
		first = append(first, docker.RegistryHost{
			Client: &cl, Host: base.Host, Scheme: base.Scheme, Path: strings.TrimSuffix(base.Path, "/") + "/v2",
			Capabilities: docker.HostCapabilityPull,
		})
	}
	registries := config.ConfigureHosts(r.inNamespace(context.Background()), config.HostOptions{
		HostDir: config.HostDirFromRoot(r.cfg.HostsDir),
		UpdateClient: func(cl *http.Client) error {
			cl.Transport = &patience{next: cl.Transport, got: &r.fromRegistries}
			return nil
		},
	})
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		if !registry {
			return first, nil
		}
		last, err := registries(host)
		if err != nil {
			return nil, fmt.Errorf("configuration of registry %s in %s: %w", host, r.cfg.HostsDir, err)
		}
		return append(first[:len(first):len(first)], last...), nil
	}}), nil
}

// errStalled ends a transfer without progress.
var errStalled = errors.New("no data for too long")

// patience is a transport that gives up where nothing comes any more. A limit on the whole transfer would be
// wrong for a large image on a slow network.
type patience struct {
	next   http.RoundTripper
	once   bool // give up for good
	failed atomic.Bool
	got    *atomic.Uint64 // bytes
}

func (p *patience) RoundTrip(req *http.Request) (*http.Response, error) {
	if p.failed.Load() {
		return nil, fmt.Errorf("%s failed before", req.URL.Host)
	}
	next := p.next
	if next == nil {
		next = http.DefaultTransport
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(answerLimit, func() { cancel(errStalled) })
	resp, err := next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		cause := context.Cause(ctx)
		cancel(nil)
		if errors.Is(cause, errStalled) {
			err = fmt.Errorf("%s: %w", req.URL.Host, errStalled)
		}
		p.fail(req)
		return nil, err
	}
	resp.Body = &patientBody{body: resp.Body, timer: timer, ctx: ctx, cancel: cancel, fail: func() { p.fail(req) }, got: p.got}
	return resp, nil
}

// fail remembers a failure that is not the caller's own wish.
func (p *patience) fail(req *http.Request) {
	if p.once && req.Context().Err() == nil {
		p.failed.Store(true)
	}
}

type patientBody struct {
	body   io.ReadCloser
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	fail   func()
	got    *atomic.Uint64
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.timer.Reset(stallLimit)
	n, err := b.body.Read(p)
	b.timer.Stop()
	b.got.Add(uint64(n))
	if err != nil && err != io.EOF {
		b.fail()
		if errors.Is(context.Cause(b.ctx), errStalled) {
			// containerd's reader goes on at the next source after an unexpected end, and after nothing else.
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (b *patientBody) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
