package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The LAN looks like one at home: a router that the default routes point to, here one that leads nowhere.
const (
	lanRouter    = "192.168.77.1"
	lanLaptop    = "192.168.77.2"
	lanBits      = 24
	lanFirstPi   = 11
	lanInterface = "eth0"
)

// piAddress is the address of pi1, pi2, …
func piAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, 77, byte(lanFirstPi - 1 + n)})
}

// hardwareAddress is a MAC of the range that is free for local use, made from the first IP address that a host has. It
// belongs to the host and stays the same when the host comes back, also with another IP address.
func hardwareAddress(addr netip.Addr) net.HardwareAddr {
	ip := addr.As4()
	return net.HardwareAddr{0x02, 0x50, ip[0], ip[1], ip[2], ip[3]}
}

// lan is the switch and the router of a lab: a bridge in a network namespace that lives as long as the file ns is
// open, and so never longer than this process.
type lan struct {
	ns     *os.File
	nl     *netlink.Handle
	bridge int
	parts  partition
}

func newLAN() (*lan, error) {
	ns, err := newNetworkNamespace()
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, err
	}
	l := &lan{ns: ns, nl: nl}
	if err := l.build(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// newNetworkNamespace makes the namespace of the LAN and sets what can only be set from inside it.
func newNetworkNamespace() (ns *os.File, err error) {
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		// Forwarding makes the router refuse what goes to the internet, which is an answer at once; otherwise it
		// would swallow it.
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
			bridgesDoNotFilter()) // a switch does not
	})
	if err != nil && ns != nil {
		ns.Close()
	}
	return ns, err
}

// bridgesDoNotFilter keeps what bridges of this network namespace switch from the packet filter, which sees it otherwise
// where the kernel has br_netfilter. Where it has not, there is nothing to switch off.
func bridgesDoNotFilter() error {
	var errs []error
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte("0"), 0); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (l *lan) build() error {
	router := netip.MustParseAddr(lanRouter)
	index, err := l.addBridge(netlink.LinkAttrs{Name: "lan", HardwareAddr: hardwareAddress(router)})
	if err != nil {
		return err
	}
	l.bridge = index
	bridge, err := l.nl.LinkByIndex(index)
	if err != nil {
		return err
	}
	lo, err := l.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	_, everywhere, _ := net.ParseCIDR("0.0.0.0/0")
	return errors.Join(
		l.nl.AddrAdd(bridge, &netlink.Addr{IPNet: lanPrefix(router)}),
		l.nl.LinkSetUp(bridge),
		l.nl.LinkSetUp(lo),
		l.nl.RouteAdd(&netlink.Route{Dst: everywhere, Type: unix.RTN_UNREACHABLE}),
	)
}

// addBridge makes a switch and returns its index. It is down.
func (l *lan) addBridge(attrs netlink.LinkAttrs) (index int, err error) {
	snooping := false // it would need a querier to learn who listens, and a home has none
	if err := l.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return 0, fmt.Errorf("add the bridge %s: %w", attrs.Name, err)
	}
	bridge, err := l.nl.LinkByName(attrs.Name)
	if err != nil {
		return 0, err
	}
	return bridge.Attrs().Index, nil
}

// plug connects a host: a cable between a port of its switch, named as the host, and its eth0, which gets the addresses.
func (l *lan) plug(name string, pid int, addr netip.Addr, mac net.HardwareAddr, plugged bool) error {
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close()
	// Held for as long as it takes to plug the cable in: a split moves those that it finds.
	l.parts.mu.Lock()
	err = l.nl.LinkAdd(&netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, MasterIndex: l.switchOf(name)},
		PeerName:         lanInterface,
		PeerHardwareAddr: mac,
		PeerNamespace:    netlink.NsFd(ns.Fd()),
	})
	l.parts.mu.Unlock()
	if err != nil {
		return fmt.Errorf("add the cable: %w", err)
	}
	if err := l.setCable(name, plugged); err != nil {
		return err
	}
	host, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer host.Close()
	lo, err := host.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := host.LinkByName(lanInterface)
	if err != nil {
		return err
	}
	return errors.Join(
		host.LinkSetUp(lo),
		host.AddrAdd(eth, &netlink.Addr{IPNet: lanPrefix(addr)}),
		host.LinkSetUp(eth),
		host.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.ParseIP(lanRouter)}),
	)
}

// unplug removes a host's cable. The kernel does so too when the host's namespace ends, but some time later.
func (l *lan) unplug(name string) error {
	port, err := l.nl.LinkByName(name)
	if err == nil {
		err = l.nl.LinkDel(port)
	}
	if isNoLink(err) {
		return nil
	}
	return err
}

// isNoLink tells whether an error means that there is no such link.
func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, syscall.ENODEV)
}

// setCable takes the switch's port up or down; the host sees its carrier come or go.
func (l *lan) setCable(name string, plugged bool) error {
	port, err := l.nl.LinkByName(name)
	if err != nil {
		return err
	}
	if plugged {
		return l.nl.LinkSetUp(port)
	}
	return l.nl.LinkSetDown(port)
}

func (l *lan) close() {
	l.nl.Close()
	l.ns.Close()
}

func lanPrefix(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(lanBits, 32)}
}
