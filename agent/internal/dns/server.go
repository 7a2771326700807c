// Package dns answers the names that containers ask for: those of services itself, all others by asking the
// node's own resolvers.
//
// It owns one address, udp and tcp, on the containers' bridge. It must not touch the node's resolver
// configuration, which it only reads, and it serves nobody but this node's containers: the bridge's address is
// not reachable from the LAN unless somebody routes to it, and a query costs a stranger nothing more than the
// node's own resolver would.
//
// A service is known as NAME, which is its virtual IP, and its ready tasks as tasks.NAME. Both are known below
// the domain [Domain] as well, for programs that never ask for a name without a dot. The containers of services that share
// a network know each other's services by their aliases there, too.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// maxForwarded is how many queries may wait for the node's resolvers at once, and maxConns how many tcp
	// connections may be open; what is above is refused, or waits, so that a container cannot eat the node's
	// memory by asking.
	maxForwarded = 128
	maxConns     = 64
	// maxUDP is the longest query or answer over udp; longer answers go over tcp.
	maxUDP = 4096
	// idle is how long a tcp connection may say nothing.
	idle = 5 * time.Second
	// grace is how long queries may go on after the server was told to stop.
	grace = time.Second
)

// Config says where to listen and whom to ask.
type Config struct {
	// Address is the bridge's address and the port.
	Address netip.AddrPort
	// ResolvConf is the path of the node's resolver configuration.
	ResolvConf string
}

// Server answers containers.
type Server struct {
	config   Config
	names    atomic.Pointer[names]
	upstream *upstream
}

// New returns a server that knows no service yet.
func New(config Config) *Server {
	s := &Server{config: config, upstream: newUpstream(config.ResolvConf, config.Address)}
	s.Set(nil)
	return s
}

// Set makes the services those of the table. Queries that run meanwhile see all of the old or all of the new.
func (s *Server) Set(services []Service) {
	n := index(services)
	s.names.Store(&n)
}

// Run serves until the context ends, upon which it returns nil. The bridge must exist.
func (s *Server) Run(ctx context.Context) error {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp4", s.config.Address.String())
	if err != nil {
		return fmt.Errorf("serve names to containers: %w", err)
	}
	defer pc.Close()
	l, err := lc.Listen(ctx, "tcp4", s.config.Address.String())
	if err != nil {
		return fmt.Errorf("serve names to containers: %w", err)
	}
	defer l.Close()

	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{
		{PacketConn: pc, UDPSize: maxUDP},
		{Listener: newLimited(l, maxConns), IdleTimeout: func() time.Duration { return idle }},
	} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(ctx, w, q) })
		group.Go(func() error {
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve names to containers: %w", err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			select {
			case <-started:
			case <-time.After(grace):
				return nil // It failed before it served.
			}
			stop, cancel := context.WithTimeout(context.Background(), grace)
			defer cancel()
			if err := server.ShutdownContext(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("stop serving names: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// serve answers one query.
func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	var answer *dns.Msg
	if len(q.Question) == 1 && q.Opcode == dns.OpcodeQuery {
		if answer = s.names.Load().answer(q, source(w.RemoteAddr())); answer == nil {
			answer = s.upstream.ask(ctx, q, tcp)
		}
	} else {
		answer = new(dns.Msg).SetRcode(q, dns.RcodeRefused)
	}
	if tcp {
		answer.Truncate(dns.MaxMsgSize)
	} else {
		answer.Truncate(udpSize(q))
	}
	// If the container does not listen any more, there is nobody to tell.
	_ = w.WriteMsg(answer)
}

// source is the address of who asks.
func source(a net.Addr) netip.Addr {
	at, _ := netip.ParseAddrPort(a.String()) // of no container, then
	return at.Addr().Unmap()
}

// udpSize is how long an answer the one who asks can take.
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
	}
	return dns.MinMsgSize
}
