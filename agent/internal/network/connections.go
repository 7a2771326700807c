package network

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Connections counts the connections to a container that are open or being opened, as the kernel tracks them here, on
// the container's node: those whose replies come from its address. TCP alone has an end that one can wait for. Where
// the last datagram of a UDP conversation was nobody knows, and one that is just translated to another task goes on
// there; so it counts as none.
func (n *Network) Connections(ctx context.Context, container netip.Addr) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	counted := openConnections{container: container}
	// A filter that selects nothing deletes nothing. Unlike the list of all entries, it holds one of them at a time.
	if _, err := n.nl.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, &counted); err != nil {
		return 0, fmt.Errorf("count the connections to %s: %w", container, err)
	}
	return counted.count, nil
}

// The states of a TCP connection in the kernel's enum tcp_conntrack.
const (
	tcpSynReceived = 2
	tcpEstablished = 3
	tcpTimeWait    = 7
	tcpClose       = 8
)

type openConnections struct {
	container netip.Addr
	count     int
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter. It only looks.
func (o *openConnections) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	from, _ := netip.AddrFromSlice(flow.Reverse.SrcIP)
	tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP)
	if ok && from.Unmap() == o.container && (tcp.State == tcpSynReceived || tcp.State == tcpEstablished) {
		o.count++
	}
	return false
}
