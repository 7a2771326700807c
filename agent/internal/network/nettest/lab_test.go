package nettest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lan is a switch with hosts on it.
type lan struct {
	t  *testing.T
	sw *host
	n  int
}

func newLAN(t *testing.T) *lan {
	l := &lan{t: t, sw: newHost(t)}
	l.sw.must("ip link add lan type bridge && ip link set lan up")
	// A switch does not pass its frames through iptables. Only some kernels can.
	l.sw.must("f=/proc/sys/net/bridge/bridge-nf-call-iptables; ! [ -e $f ] || echo 0 > $f")
	return l
}

// plug connects a namespace to the switch as eth0.
func (l *lan) plug(h *host, addr netip.Prefix) (mac string) {
	l.t.Helper()
	l.n++
	mac = fmt.Sprintf("02:00:00:00:00:%02x", l.n)
	err := l.sw.in(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		lan, err := nl.LinkByName("lan")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex, attrs.Flags = fmt.Sprintf("port%d", l.n), lan.Attrs().Index, net.FlagUp
		veth := netlink.NewVeth(attrs)
		veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(h.file.Fd())
		veth.PeerHardwareAddr, _ = net.ParseMAC(mac)
		return nl.LinkAdd(veth)
	})
	if err != nil {
		l.t.Fatal(err)
	}
	h.must(fmt.Sprintf("ip addr add %s dev eth0 && ip link set eth0 up", addr))
	return mac
}

var (
	pool = netip.MustParsePrefix("10.77.0.0/16")
	vips = netip.MustParsePrefix("10.77.255.0/24")
	vip  = netip.MustParseAddr("10.77.255.1")
)

// node is a virtual Pi's network.
type node struct {
	*host
	index   int
	addr    netip.Addr
	mac     string
	subnet  netip.Prefix
	dir     string
	network *network.Network
	fw      *firewall.Firewall
}

// lab is a cluster of nodes and a laptop.
type lab struct {
	t       *testing.T
	command string // iptables-nft or iptables-legacy
	lan     *lan
	nodes   []*node
	laptop  *host
}

var laptopAddr = netip.MustParseAddr("192.168.1.100")

// bridgedFrames says whether the frames of a node's bridge pass through iptables. Docker turns that on where
// the kernel can do it; most have no such setting, which is as if it were off.
func (n *node) bridgedFrames(pass bool) {
	n.t.Helper()
	value := map[bool]string{false: "0", true: "1"}[pass]
	n.must("f=/proc/sys/net/bridge/bridge-nf-call-iptables; ! [ -e $f ] || echo " + value + " > $f")
}

// newLab makes n nodes as strict as Debian and docker make them: rp_filter on, and nothing forwarded that is
// not asked for.
func newLab(t *testing.T, command string, n int) *lab {
	l := &lab{t: t, command: command, lan: newLAN(t), laptop: newHost(t)}
	l.lan.plug(l.laptop, netip.PrefixFrom(laptopAddr, 24))
	for i := 1; i <= n; i++ {
		l.nodes = append(l.nodes, l.newNode(i))
	}
	l.apply(nil)
	return l
}

func (l *lab) newNode(index int) *node {
	l.t.Helper()
	h := newHost(l.t)
	h.must("for f in all default; do echo 1 > /proc/sys/net/ipv4/conf/$f/rp_filter; done")
	n := &node{
		host: h, index: index, dir: l.t.TempDir(),
		addr:   netip.AddrFrom4([4]byte{192, 168, 1, 20 + byte(index)}),
		subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(index), 0}), 24),
	}
	n.mac = l.lan.plug(h, netip.PrefixFrom(n.addr, 24))
	h.must(l.command + " -P FORWARD DROP")
	n.open(l.command)
	l.t.Cleanup(func() {
		if err := n.network.Cleanup(context.Background()); err != nil {
			l.t.Errorf("clean up node %d: %v", index, err)
		}
		n.network.Close()
	})
	return n
}

// open makes the adapters, as an agent does that starts.
func (n *node) open(command string) {
	n.t.Helper()
	err := n.in(func() (err error) {
		n.network, err = network.New(network.Config{Bridge: "piswarm0", Namespaces: n.dir})
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.fw, err = firewall.New(firewall.Config{Command: command}); err != nil {
		n.t.Fatal(err)
	}
}

// attach starts a container without a process.
func (n *node) attach(last byte) (*host, netip.Addr) {
	n.t.Helper()
	a := n.subnet.Addr().As4()
	a[3] = last
	addr := netip.AddrFrom4(a)
	path, err := n.network.Attach(context.Background(), fmt.Sprintf("c%d", last), addr)
	if err != nil {
		n.t.Fatal(err)
	}
	return openHost(n.t, path), addr
}

// apply does what a pass of the ingress does, on every node.
func (l *lab) apply(services []loadbalance.Service) {
	l.t.Helper()
	for _, n := range l.nodes {
		if err := l.applyTo(n, services); err != nil {
			l.t.Fatalf("node %d: %v", n.index, err)
		}
	}
}

func (l *lab) applyTo(n *node, services []loadbalance.Service) error {
	ctx := context.Background()
	want := network.Wanted{Interface: "eth0", Subnet: n.subnet, Pool: pool, VirtualIPs: vips}
	for _, p := range l.nodes {
		if p != n {
			want.Peers = append(want.Peers, network.Peer{Index: p.index, Subnet: p.subnet, Address: p.addr})
		}
	}
	if err := n.network.Apply(ctx, want); err != nil {
		return err
	}
	if err := n.in(func() error { return n.fw.Apply(ctx, loadbalance.Plan(l.input(n, services))) }); err != nil {
		return err
	}
	return n.network.Tune(ctx, "eth0")
}

func (l *lab) input(n *node, services []loadbalance.Service) loadbalance.Input {
	in := loadbalance.Input{
		Interface: "eth0", Address: n.addr, Bridge: "piswarm0", Subnet: n.subnet, Pool: pool, VirtualIPs: vips,
		Services: services,
	}
	for _, p := range l.nodes {
		if p != n {
			in.Peers = append(in.Peers, loadbalance.Peer{Index: p.index, MAC: p.mac, Subnet: p.subnet, Address: p.addr})
		}
	}
	return in
}

// greeters is the service of the tests.
func greeters(backends ...netip.Addr) loadbalance.Service {
	return loadbalance.Service{
		Name: "greeters", VirtualIP: vip, Backends: backends,
		Ports: []loadbalance.Port{
			{Published: 9000, Protocol: cluster.TCP, Targets: at(5000, backends...)},
			{Published: 9000, Protocol: cluster.UDP, Targets: at(5000, backends...)},
		},
	}
}

// at are the backends with a port of theirs.
func at(port uint16, backends ...netip.Addr) (targets []netip.AddrPort) {
	for _, b := range backends {
		targets = append(targets, netip.AddrPortFrom(b, port))
	}
	return targets
}
