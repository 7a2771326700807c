package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newNode makes a network in a namespace of the test's own, on whose thread the test runs from then on. The
// thread ends with the test.
func newNode(t *testing.T) *Network {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", err)
	}
	n, err := New(Config{Bridge: "piswarm0", Namespaces: filepath.Join(t.TempDir(), "netns")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Cleanup(context.Background()); err != nil {
			t.Errorf("clean up: %v", err)
		}
		n.Close()
	})
	return n
}

func ip(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
	return string(out)
}

var (
	pool   = netip.MustParsePrefix("10.77.0.0/16")
	vips   = netip.MustParsePrefix("10.77.255.0/24")
	subnet = netip.MustParsePrefix("10.77.1.0/24")
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func peer(i int) Peer {
	return Peer{i, netip.MustParsePrefix(fmt.Sprintf("10.77.%d.0/24", i)), addr(fmt.Sprintf("192.168.1.%d", 20+i))}
}

func apply(t *testing.T, n *Network, peers ...Peer) {
	t.Helper()
	err := n.Apply(context.Background(), Wanted{Interface: "lan0", Subnet: subnet, Pool: pool, VirtualIPs: vips, Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
}

// lanLink makes an interface that serves as the LAN's.
func lanLink(t *testing.T) {
	t.Helper()
	ip(t, "link add lan0 type veth peer name lan1")
	ip(t, "link set lan1 up")
	ip(t, "link set lan0 up")
	ip(t, "addr add 192.168.1.20/24 dev lan0")
}

func TestApplyFollowsTheWanted(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	ip(t, "route add 10.99.0.0/24 via 192.168.1.50") // Somebody else's.
	ip(t, "rule add fwmark 0x1 lookup 100")
	// The kernel tells a while later that nothing is plugged into the bridge.
	state := func() string {
		return strings.ReplaceAll(ip(t, "-4 rule")+ip(t, "-4 route show table all"), " linkdown", "")
	}

	apply(t, n, peer(2), peer(3))
	first := state()
	for _, want := range []string{
		"unreachable 10.77.0.0/16 proto 77",
		"unreachable 10.77.255.0/24 proto 77",
		"10.77.2.0/24 via 192.168.1.22 dev lan0 proto 77",
		"default via 192.168.1.23 dev lan0 table 7700003 proto 77",
		"throw 10.77.1.0/24 table 7700003 proto 77",
		"770:	from all fwmark 0x400000/0xfff00000 lookup 7700003",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("want %q in\n%s", want, first)
		}
	}
	apply(t, n, peer(3), peer(2))
	if again := state(); again != first {
		t.Errorf("the same again: got\n%s\nwant\n%s", again, first)
	}

	moved := peer(2)
	moved.Address = addr("192.168.1.99")
	apply(t, n, moved)
	got := state()
	for _, want := range []string{"10.77.2.0/24 via 192.168.1.99 dev lan0", "default via 192.168.1.99 dev lan0 table 7700002", "10.99.0.0/24 via 192.168.1.50", "lookup 100"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	for _, gone := range []string{"192.168.1.22", "192.168.1.23", "7700003", "10.77.3.0"} {
		if strings.Contains(got, gone) {
			t.Errorf("want no %q in\n%s", gone, got)
		}
	}

	// A peer that cannot be reached does not keep the others from their routes.
	far := peer(4)
	far.Address = addr("172.31.0.1")
	err := n.Apply(context.Background(), Wanted{Interface: "lan0", Subnet: subnet, Pool: pool, VirtualIPs: vips, Peers: []Peer{far, peer(5)}})
	if err == nil || !strings.Contains(err.Error(), "172.31.0.1") {
		t.Errorf("error is %v", err)
	}
	if got := state(); !strings.Contains(got, "10.77.5.0/24 via 192.168.1.25") {
		t.Errorf("peer 5 has no route:\n%s", got)
	}
}

func TestApplyMovesTheBridge(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	err := n.Apply(context.Background(), Wanted{Subnet: netip.MustParsePrefix("10.77.8.0/24"), Pool: pool, VirtualIPs: vips})
	if err != nil {
		t.Fatal(err)
	}
	got := ip(t, "-4 -o addr show dev piswarm0")
	if !strings.Contains(got, "10.77.8.1/24") || strings.Contains(got, "10.77.1.1") {
		t.Errorf("addresses of the bridge: %s", got)
	}
	if got := ip(t, "-o link show dev piswarm0"); !strings.Contains(got, "02:50:0a:4d:08:01") || !strings.Contains(got, "UP") {
		t.Errorf("bridge: %s", got)
	}
}

func TestApplyRefusesAForeignInterface(t *testing.T) {
	n := newNode(t)
	ip(t, "link add piswarm0 type veth peer name other")
	err := n.Apply(context.Background(), Wanted{Subnet: subnet, Pool: pool, VirtualIPs: vips})
	if err == nil || !strings.Contains(err.Error(), "is a veth, not piswarm's bridge") {
		t.Errorf("error is %v", err)
	}
	ip(t, "link del piswarm0")
}

func TestLAN(t *testing.T) {
	n := newNode(t)
	lan := func(advertise string) string {
		l, err := n.LAN(advertise)
		if errors.Is(err, ErrNoLAN) {
			return "wait: " + err.Error()
		}
		if err != nil {
			return err.Error()
		}
		return l.String()
	}
	expect := func(advertise, want string) {
		t.Helper()
		if got := lan(advertise); got != want {
			t.Errorf("LAN(%q): got %q, want %q", advertise, got, want)
		}
	}
	expect("", "wait: no address on a LAN yet")
	lanLink(t)
	apply(t, n) // The bridge is no LAN.
	ip(t, "link add docker0 type bridge")
	ip(t, "link set docker0 up")
	ip(t, "addr add 172.17.0.1/16 dev docker0")
	ip(t, "addr add 192.168.1.21/24 dev lan0") // An alias in the same network.
	ip(t, "addr add 169.254.7.7/16 dev lan0")  // Link-local.
	expect("", "192.168.1.20 (lan0)")
	expect("172.17.0.1", "172.17.0.1 (docker0)")
	expect("192.168.1.77", "wait: no address on a LAN yet: no interface has the address 192.168.1.77 of --advertise")
	expect("wlan0", "wait: no address on a LAN yet: interface wlan0 of --advertise is not up with an IPv4 address")
	ip(t, "link add wlan0 type veth peer name air")
	ip(t, "addr add 192.168.2.5/24 dev wlan0")
	expect("", "192.168.1.20 (lan0)") // It is down.
	ip(t, "link set wlan0 up")
	expect("", "this node has several addresses: 192.168.1.20 (lan0), 192.168.2.5 (wlan0); choose one with --advertise ADDRESS|INTERFACE")
	expect("wlan0", "192.168.2.5 (wlan0)")
	expect("192.168.1.20", "192.168.1.20 (lan0)")
}
