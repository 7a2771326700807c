// Package network makes what the cluster's network is made of on one node: the bridge of its containers, a
// network namespace and a veth pair for each of them, the routes to the other nodes' containers, and the kernel
// settings all of that needs.
//
// It owns
//   - the bridge, and veth interfaces whose names start with psw,
//   - the files of its directory of namespaces,
//   - routes of protocol [Protocol], in the main table and in tables from [TableBase] on,
//   - the ip rules that lead to those tables.
//
// It must not touch any other interface's addresses or routes, nor the packet filter, which is package
// firewall's. Everything goes over netlink; no process is started.
//
// # Order
//
// On one pass the ingress calls Apply, then the firewall, then Tune: a container can only be reached when
// the way to it exists, and the kernel forwards for others only when the firewall says for whom.
//
// # Threads
//
// The package works in the network namespace of the thread that called [New], on whatever thread it is called
// later. Where it has to enter a namespace, it does so on a thread of its own that ends there, so that no
// thread of the agent is ever left in a wrong one.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/loadbalance"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Protocol marks the routes that are piswarm's, as "proto 77" in ip route.
	Protocol = 77
	// TableBase is the number of the routing table for peer 0; the peers' tables follow one another. It is far
	// from those of wg-quick (51820), Tailscale (52) and systemd's VRFs.
	TableBase = 7700000
	// RulePriority is the place of the peers' ip rules: after the local table (0), before Tailscale's (5210)
	// and the main table (32766). Replies have to go back where their connection came from before any other
	// policy gets a say.
	RulePriority = 770
)

// netlinkTimeout bounds every answer of the kernel.
const netlinkTimeout = 10 * time.Second

// Config is what never changes while the agent runs.
type Config struct {
	// Bridge is the name of the containers' bridge.
	Bridge string
	// Namespaces is the directory in which the containers' network namespaces get their names.
	Namespaces string
	// Floating is an address that the node has at times, and is not known by.
	Floating netip.Addr
}

// Network is the part of the kernel's network that is piswarm's.
type Network struct {
	config    Config
	namespace *os.File // in which the agent lives
	nl        *netlink.Handle
	attaching sync.Mutex
}

// New opens the network namespace of the calling thread. It changes nothing.
func New(config Config) (*Network, error) {
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	n := &Network{config: config, namespace: namespace}
	err = n.inside(func() error {
		n.nl, err = open(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		namespace.Close()
		return nil, err
	}
	return n, nil
}

// Close gives back what New opened. What was made in the kernel stays, so that containers live on.
func (n *Network) Close() {
	n.nl.Close()
	n.namespace.Close()
}

// Wanted is all that a node's network shall be.
type Wanted struct {
	// Interface is the LAN's. With none yet there is no way to a peer.
	Interface string
	// Subnet is this node's part of Pool, the network of all containers.
	Subnet, Pool netip.Prefix
	// VirtualIPs is the range of the services' addresses, which no host has.
	VirtualIPs netip.Prefix
	Peers      []Peer
}

// Peer is another node. Its index is the same that the firewall's rules are planned with.
type Peer struct {
	Index   int
	Subnet  netip.Prefix
	Address netip.Addr // on the LAN
}

// Apply makes the network as wanted, whatever it was before, and may be called again with the same. What
// fails for one peer does not keep it from the others.
func (n *Network) Apply(ctx context.Context, want Wanted) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.applyBridge(want.Subnet); err != nil {
		return err
	}
	return n.applyRoutes(want)
}

// gateway is the node's own address on its bridge.
func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

func (n *Network) applyBridge(subnet netip.Prefix) error {
	name := n.config.Bridge
	gw := gateway(subnet)
	link, err := n.nl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make bridge %s: %w", name, err)
		}
		link, err = n.nl.LinkByName(name)
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("interface %s is a %s, not piswarm's bridge: rename or remove it", name, link.Type())
	}
	// A bridge without an address of its own takes its lowest port's: each container that comes or goes could
	// change it, and the others would send to a gateway that is no more.
	if mac := hardwareAddr(gw); link.Attrs().HardwareAddr.String() != mac.String() {
		if err := n.nl.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("set the address of bridge %s: %w", name, err)
		}
	}
	if err := n.applyBridgeAddress(link, netip.PrefixFrom(gw, subnet.Bits())); err != nil {
		return fmt.Errorf("set the address of bridge %s: %w", name, err)
	}
	if err := n.inside(func() error { return disableIPv6(name) }); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := n.nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("set bridge %s up: %w", name, err)
		}
	}
	return nil
}

func (n *Network) applyBridgeAddress(link netlink.Link, want netip.Prefix) error {
	have, err := n.addrs(link)
	if err != nil {
		return err
	}
	present := false
	for _, a := range have {
		present = present || prefixOf(a.IPNet) == want
	}
	if !present {
		if err := n.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(want)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	for _, a := range have {
		if prefixOf(a.IPNet) != want {
			if err := n.nl.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return err
			}
		}
	}
	return nil
}

// maxLists is how often a list that changed while it was read is read again.
const maxLists = 50

// whole reads a list of the kernel's until nothing has changed under way. Containers come and go all the time,
// and one that is missing from a list would be taken for gone.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for i := 1; ; i++ {
		l, err := list()
		if i == maxLists || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return l, err
		}
	}
}

// addrs lists the IPv4 addresses of an interface.
func (n *Network) addrs(link netlink.Link) ([]netlink.Addr, error) {
	return whole(func() ([]netlink.Addr, error) { return n.nl.AddrList(link, netlink.FAMILY_V4) })
}

// Table is the routing table of the peer of that index.
func Table(index int) int { return TableBase + index }

func ownTable(table int) bool { return table >= TableBase && table <= TableBase+loadbalance.MaxIndex }

// hardwareAddr is the Ethernet address that goes with an address of the pod network, as 02:50 and the four
// bytes. When an address is used again, nobody's neighbour table is wrong.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x50, b[0], b[1], b[2], b[3]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the reverse of ipNet. Netlink says no network for the default route.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits)
}
