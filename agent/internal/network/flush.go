package network

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Backend is a port of a container that connections were led to.
type Backend struct {
	Address  netip.AddrPort
	Protocol cluster.Protocol
}

// FlushConntrack makes the kernel forget the connections to backends that are gone. Rules decide only where a
// connection's first packet goes; a client that keeps sending from one UDP port would reach a corpse for as
// long as it keeps sending. A backend of port 0 stands for all ports and protocols of its address, which is
// what a virtual IP leads to. It reads the table once, however many backends there are.
func (n *Network) FlushConntrack(ctx context.Context, removed []Backend) error {
	if len(removed) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	gone := backends{}
	for _, b := range removed {
		gone[b] = true
	}
	if _, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, gone); err != nil {
		return fmt.Errorf("forget connections to removed tasks: %w", err)
	}
	return nil
}

type backends map[Backend]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter. Whoever a connection was meant for, its
// replies come from the backend.
func (b backends) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	addr, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok {
		return false
	}
	addr = addr.Unmap()
	if b[Backend{Address: netip.AddrPortFrom(addr, 0)}] {
		return true
	}
	proto := cluster.TCP
	switch flow.Reverse.Protocol {
	case unix.IPPROTO_TCP:
	case unix.IPPROTO_UDP:
		proto = cluster.UDP
	default:
		return false
	}
	return b[Backend{Address: netip.AddrPortFrom(addr, flow.Reverse.SrcPort), Protocol: proto}]
}

// SweepConntrack makes the kernel forget the connections to addresses of the pool that are not live: those to
// containers that went while no agent was there to see it.
func (n *Network) SweepConntrack(ctx context.Context, pool netip.Prefix, live map[netip.Addr]bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, strangers{pool, live}); err != nil {
		return fmt.Errorf("forget connections to tasks of before: %w", err)
	}
	return nil
}

type strangers struct {
	pool netip.Prefix
	live map[netip.Addr]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s strangers) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	addr, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return s.pool.Contains(addr.Unmap()) && !s.live[addr.Unmap()]
}

// FlushFinished makes the kernel forget the TCP connections to these containers that have ended. It remembers each for
// a while, with where it led to, and a client that takes the same port again in that time is led there, too, whatever
// the rules say by then: to a listener that is closed.
func (n *Network) FlushFinished(ctx context.Context, containers []netip.Addr) error {
	if len(containers) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ended := finished{}
	for _, a := range containers {
		ended[a] = true
	}
	if _, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, ended); err != nil {
		return fmt.Errorf("forget ended connections to tasks that end: %w", err)
	}
	return nil
}

type finished map[netip.Addr]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f finished) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	from, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP)
	return ok && f[from.Unmap()] && (tcp.State == tcpTimeWait || tcp.State == tcpClose)
}

// FlushUnled makes the kernel forget the datagrams that came for these ports of the node while no rule led them anywhere.
// A client that keeps sending from one port would be refused for as long as it does.
func (n *Network) FlushUnled(ctx context.Context, ports []uint16) error {
	if len(ports) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	u := unled{own: map[netip.Addr]bool{}, ports: map[uint16]bool{}}
	for _, p := range ports {
		u.ports[p] = true
	}
	all, err := n.addrs(nil)
	if err != nil {
		return fmt.Errorf("list the node's addresses: %w", err)
	}
	for _, a := range all {
		u.own[prefixOf(a.IPNet).Addr()] = true
	}
	if _, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, u); err != nil {
		return fmt.Errorf("forget datagrams that nobody answered: %w", err)
	}
	return nil
}

type unled struct {
	own   map[netip.Addr]bool
	ports map[uint16]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter. What is led nowhere is answered by the node itself.
func (u unled) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	from, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	from = from.Unmap()
	return flow.Reverse.Protocol == unix.IPPROTO_UDP && u.ports[flow.Reverse.SrcPort] && (u.own[from] || from.IsLoopback())
}
