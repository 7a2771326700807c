package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/dashboard"
	"github.com/piswarm/piswarm/agent/internal/gate"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// pageLimits are those of the page. Browsers keep up to six connections; one that has signed in is known. Several people
// may come from one address, as through a tunnel.
var pageLimits = gate.Limits{Strangers: 48, PerAddress: 24, Known: 64}

// connKey is where a request has its connection.
type connKey struct{}

// servePage answers browsers until ctx ends. A node whose page cannot be served is a node all the same.
func (s *session) servePage(ctx context.Context) error {
	a := s.agent
	page := dashboard.New(dashboard.Config{
		Client: client.InProcess(api.New(a, s.log).Handler()), Sessions: a.visitors, View: a.cfg.Dashboard == DashboardView,
		Metrics: a.Metrics, Scraper: s.scraper, Log: s.log,
		Known: func(r *http.Request) {
			if c, ok := r.Context().Value(connKey{}).(*gate.Conn); ok {
				c.Known()
			}
		},
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return page.Run(ctx) })
	door := gate.New(pageLimits)
	// Also on localhost: for who sits at the node, and for the end of a tunnel (ssh -L), which is the way to encrypt it.
	for _, address := range []netip.Addr{s.lan.Address, netip.AddrFrom4([4]byte{127, 0, 0, 1})} {
		listener, err := net.Listen("tcp4", netip.AddrPortFrom(address, cluster.DashboardPort).String())
		if err != nil {
			s.log.Warn("the page is not there", "error", err)
			continue
		}
		if address == s.lan.Address {
			s.paged.Store(true)
		}
		group.Go(func() error { return serve(ctx, s.pageServer(ctx, page), door.Listener(listener)) })
	}
	return group.Wait()
}

func (s *session) pageServer(ctx context.Context, page *dashboard.Dashboard) *http.Server {
	return &http.Server{
		Handler: page.Handler(), ReadHeaderTimeout: api.ReadHeaderTimeout, IdleTimeout: api.IdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // strangers on the LAN must not fill the log
		BaseContext: func(net.Listener) context.Context { return ctx },   // who looks is not waited for
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
}

// invite makes a link that signs one browser in.
func (s *session) invite(write bool) (client.DashboardLink, error) {
	if !s.paged.Load() {
		return client.DashboardLink{}, fmt.Errorf("the page is not there: is port %d taken by another program? see the agent's log", cluster.DashboardPort)
	}
	host := net.JoinHostPort(s.lan.Address.String(), strconv.Itoa(cluster.DashboardPort))
	return client.DashboardLink{URL: "http://" + host + "/#sign-in=" + s.agent.visitors.Invite(write)}, nil
}

// metricsToken lets who has it read the metrics of all nodes.
func (s *session) metricsToken() (string, error) {
	m := s.agent.membership()
	if m.Keys.Primary.IsZero() {
		return "", errors.New("this node is in no cluster")
	}
	return m.Keys.Primary.MetricsToken(), nil
}

// scraper tells whether a token is one for the metrics. While the cluster's secret changes there are two.
func (s *session) scraper(token string) bool {
	return slices.ContainsFunc(s.agent.membership().Keys.Secrets(), func(secret trust.Secret) bool { return secret.IsMetricsToken(token) })
}
