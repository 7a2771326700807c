// Package discovery is the adapter to zeroconf: it tells the LAN that a node of a cluster is here, and finds the
// others, by mDNS and DNS-SD (RFC 6762, RFC 6763) as _piswarm._tcp.
//
// What it finds is a proposal and nothing more: anyone on the LAN can answer. Whoever is found still has to prove
// that it knows the cluster's secret, to the gossip and to the node API.
//
// A node that is in no cluster announces that it waits for one. Members list it for people to see, in memory alone.
package discovery

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/grandcat/zeroconf"
)

const (
	serviceType = "_piswarm._tcp"
	domain      = "local."
)

// Found is a node that answered.
type Found struct {
	ID      string
	Cluster string         // public ID of its cluster
	Was     string         // IDs that it had under tokens of before, with commas between: a hint for who knows only those
	Address netip.AddrPort // of its gossip
}

// Self is what this node says about itself.
type Self struct {
	Found
	Interface string // to speak on
	// Life tells this life of the agent from any other. It keeps two nodes that share an ID, because a card was
	// copied, apart on the LAN: each is heard.
	Life string
}

// Formerly tells whether the node says that its cluster had that ID before.
func (f Found) Formerly(clusterID string) bool {
	return slices.Contains(strings.Split(f.Was, ","), clusterID)
}

// Announce answers for this node until Close of what it returns, which says goodbye to the LAN.
func Announce(self Self) (io.Closer, error) {
	return announce(text{ID: self.ID, Cluster: self.Cluster, Was: self.Was}, self.Interface, self.ID+"-"+self.Life, self.Address)
}

// announce answers under a name. The names are not made of the host name, so that two Pis of one host name do not
// answer with each other's address.
func announce(t text, iface, name string, address netip.AddrPort) (io.Closer, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("announce by mDNS on %s: %w", iface, err)
	}
	server, err := zeroconf.RegisterProxy(name, serviceType, domain, int(address.Port()), "piswarm-"+name,
		[]string{address.Addr().String()}, t.record(), []net.Interface{*link})
	if err != nil {
		return nil, fmt.Errorf("announce by mDNS on %s: %w", iface, err)
	}
	return closer{server}, nil
}

type closer struct{ server *zeroconf.Server }

func (c closer) Close() error {
	c.server.Shutdown()
	return nil
}

// One look lasts this long; answers come within 120 ms of the question (RFC 6762, 6), or never on a lossy Wi-Fi,
// which is why a look asks anew each time.
const lookTime = 3 * time.Second

// Look asks the LAN once and hands on who answers, as the answers come, for a few seconds or until ctx ends.
func Look(ctx context.Context, iface string, found func(Found)) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("look for nodes by mDNS on %s: %w", iface, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	resolver, err := zeroconf.NewResolver(zeroconf.SelectIPTraffic(zeroconf.IPv4), zeroconf.SelectIfaces([]net.Interface{*link}))
	if err != nil {
		return fmt.Errorf("look for nodes by mDNS on %s: %w", iface, err)
	}
	entries := make(chan *zeroconf.ServiceEntry, 16)
	if err := resolver.Browse(ctx, serviceType, domain, entries); err != nil {
		return fmt.Errorf("look for nodes by mDNS on %s: %w", iface, err)
	}
	heard := 0
	for e := range entries { // closed by the resolver when ctx ends
		if f, ok := read(e); ok && heard < maxFound {
			heard++
			found(f)
		}
	}
	return nil
}

// maxFound bounds what a LAN full of forgers can make this node listen to in one look.
const maxFound = 256

// read takes from an answer what is well formed and of a member: a node that waits is for the [Listener] to hear.
func read(e *zeroconf.ServiceEntry) (Found, bool) {
	t, ok := parseText(e.Text)
	if !ok || t.Cluster == "" || len(e.AddrIPv4) == 0 || e.Port <= 0 || e.Port > 65535 {
		return Found{}, false
	}
	addr, ok := netip.AddrFromSlice(e.AddrIPv4[0])
	if !ok {
		return Found{}, false
	}
	return Found{ID: t.ID, Cluster: t.Cluster, Was: t.Was, Address: netip.AddrPortFrom(addr.Unmap(), uint16(e.Port))}, true
}

// Watch looks for nodes until ctx ends and hands on whom it finds, the same ones at each look. It looks often at
// first and while alone says so, else once a minute, which is enough to heal a partition and cheap enough for a
// Pi Zero.
func Watch(ctx context.Context, iface string, alone func() bool, log *slog.Logger, found func(Found)) {
	const often, seldom, slow = time.Second, time.Minute, 10 * time.Second
	for pause := often; ; {
		if err := Look(ctx, iface, found); err != nil {
			log.Warn("mDNS does not work here; looking again", "error", err)
		}
		next := seldom
		if alone() {
			pause = min(pause*3/2, slow)
			next = pause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// Quiet keeps zeroconf's own lines, which it writes to the standard logger, out of the agent's log.
func Quiet() { log.SetOutput(io.Discard) }
