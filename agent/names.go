package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/dns"
)

// names is the containers' DNS, on whatever address the bridge has.
type names struct {
	log *slog.Logger

	mu     sync.Mutex
	table  []dns.Service
	server *dns.Server
}

// Set makes the services those of the table.
func (n *names) Set(services []dns.Service) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table = services
	if n.server != nil {
		n.server.Set(services)
	}
}

const (
	namesPort  = 53
	namesPause = time.Second // before the next try, when another program has the port, say
	resolvConf = "/etc/resolv.conf"
)

// run answers until ctx ends, moving with the bridge's address.
func (n *names) run(ctx context.Context, place *place) error {
	moved, cancel := place.s.members.Subscribe()
	defer cancel()
	for ctx.Err() == nil {
		address := place.gateway()
		server := dns.New(dns.Config{Address: netip.AddrPortFrom(address, namesPort), ResolvConf: resolvConf})
		n.mu.Lock()
		n.server = server
		server.Set(n.table)
		n.mu.Unlock()
		serving, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- server.Run(serving) }()
		var err error
		for running := true; running; {
			select {
			case err = <-done:
				running = false
			case <-moved:
				if place.gateway() != address {
					stop()
				}
			}
		}
		stop()
		if err != nil && ctx.Err() == nil {
			n.log.Warn("containers cannot resolve names", "error", err, "again in", namesPause)
			select {
			case <-ctx.Done():
			case <-time.After(namesPause):
			}
		}
	}
	return nil
}
