package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoLAN says that the node has no address on a LAN yet. Wi-Fi and DHCP may bring one later, so it is a
// reason to wait and not to give up.
var ErrNoLAN = errors.New("no address on a LAN yet")

// LAN is a node's place on the local network.
type LAN struct {
	Interface string
	Address   netip.Addr
	MAC       string
}

func (l LAN) String() string { return fmt.Sprintf("%s (%s)", l.Address, l.Interface) }

// LAN finds the node's place on the local network. advertise is what the user chose, an address or the name
// of an interface, or nothing: then there must be exactly one to choose from. The error is [ErrNoLAN] where
// waiting can help.
func (n *Network) LAN(advertise string) (LAN, error) {
	all, err := n.addresses()
	if err != nil {
		return LAN{}, err
	}
	if advertise == "" {
		return choose(slices.DeleteFunc(all, func(l LAN) bool { return !n.likelyLAN(l) }))
	}
	if addr, err := netip.ParseAddr(advertise); err == nil {
		for _, l := range all {
			if l.Address == addr {
				return l, nil
			}
		}
		return LAN{}, fmt.Errorf("%w: no interface has the address %s of --advertise", ErrNoLAN, addr)
	}
	all = slices.DeleteFunc(all, func(l LAN) bool { return l.Interface != advertise })
	if len(all) == 0 {
		return LAN{}, fmt.Errorf("%w: interface %s of --advertise is not up with an IPv4 address", ErrNoLAN, advertise)
	}
	return choose(all)
}

func choose(from []LAN) (LAN, error) {
	switch len(from) {
	case 0:
		return LAN{}, ErrNoLAN
	case 1:
		return from[0], nil
	}
	var list []string
	for _, l := range from {
		list = append(list, l.String())
	}
	return LAN{}, fmt.Errorf("this node has several addresses: %s; choose one with --advertise ADDRESS|INTERFACE", strings.Join(list, ", "))
}

// addresses returns all IPv4 addresses that others could reach this node by, in order of interface.
func (n *Network) addresses() ([]LAN, error) {
	links, err := whole(n.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var all []LAN
	for _, link := range links {
		a := link.Attrs()
		// A LAN has broadcast; a tunnel has not.
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagBroadcast == 0 {
			continue
		}
		addrs, err := n.addrs(link)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			ip := prefixOf(addr.IPNet).Addr()
			// The second address of one network is an alias, not another LAN.
			if ip.IsGlobalUnicast() && ip != n.config.Floating && addr.Flags&unix.IFA_F_SECONDARY == 0 {
				all = append(all, LAN{a.Name, ip, a.HardwareAddr.String()})
			}
		}
	}
	return all, nil
}

// others are the beginnings of the names that container and virtual machine software gives its interfaces. A
// bridge or a veth as such may well be the LAN: br0 over eth0 on a router, eth0 of a virtual Pi.
var others = []string{"docker", "br-", "cni", "veth", "virbr", "lxcbr", "lxdbr", "flannel", "cali", "podman"}

func (n *Network) likelyLAN(l LAN) bool {
	return l.Interface != n.config.Bridge && !slices.ContainsFunc(others, func(p string) bool { return strings.HasPrefix(l.Interface, p) })
}
