package loadbalance

import (
	"net/netip"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Input is everything the rules of one node depend on.
type Input struct {
	// Interface and Address are this node's place on the LAN. With no interface yet there is no peer either.
	Interface string
	Address   netip.Addr
	// Bridge is the interface that this node's containers are attached to.
	Bridge string
	// Subnet is this node's part of Pool, the network of all containers of the cluster.
	Subnet, Pool netip.Prefix
	// VirtualIPs is the range that the services' virtual addresses are taken from.
	VirtualIPs netip.Prefix
	// Peers are the other nodes, in any order.
	Peers []Peer
	// Services are those of the cluster, in any order.
	Services []Service
}

// Peer is another node.
type Peer struct {
	// Index tells the peers of a node apart: the number of the peer's subnet within the pool. It must not
	// change as long as the peer may have connections.
	Index   int
	MAC     string // of its LAN interface; empty if not known
	Subnet  netip.Prefix
	Address netip.Addr // on the LAN
}

// Service is what can be reached of a service.
type Service struct {
	Name      string
	VirtualIP netip.Addr
	Ports     []Port
	// Backends are the addresses of the ready tasks of the whole cluster, in the order in which they get
	// connections to the virtual IP.
	Backends []netip.Addr
}

// Port is a port that this node answers for.
type Port struct {
	Published uint16
	Protocol  cluster.Protocol
	// Targets are the ports of ready tasks that it leads to, in the order in which they get connections. Each has a
	// number of its own: while a service is updated, its tasks may listen on different ones.
	Targets []netip.AddrPort
}

// MarkMask selects the bits of a packet's and of a connection's mark that belong to piswarm. The others are
// left alone: Kubernetes uses 0xc000, Tailscale tests 0xff0000 but only ever sets 0xc0000, Docker's swarm mode
// counts from 0x100. Calico and Cilium claim these bits too; a node runs either them or piswarm.
const MarkMask uint32 = 0xfff00000

// MaxIndex is the greatest index of a peer that has a mark.
const MaxIndex = int(MarkMask>>markShift) - 1

const markShift = 20

// Mark is the mark of connections that came through the peer of that index. It is never 0, which means no
// peer. ok is false for an index outside of 0…MaxIndex.
func Mark(index int) (mark uint32, ok bool) {
	if index < 0 || index > MaxIndex {
		return 0, false
	}
	return uint32(index+1) << markShift, true
}
