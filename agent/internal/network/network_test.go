package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

func TestAttach(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	ctx := context.Background()
	if _, err := n.Attach(ctx, "a", addr("10.77.1.2")); err == nil {
		t.Error("no error without a bridge")
	}
	apply(t, n)
	path, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	inside := func(line string) string {
		t.Helper()
		out, err := exec.Command("nsenter", append([]string{"--net=" + path, "ip"}, strings.Fields(line)...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	check := func() {
		t.Helper()
		for line, want := range map[string]string{
			"-o link show dev eth0":    "02:50:0a:4d:01:02",
			"-o -4 addr show dev eth0": "10.77.1.2/32",
			"-4 route":                 "default via 10.77.1.1 dev eth0 onlink",
			"-o link show dev lo":      "LOOPBACK,UP",
		} {
			if got := inside(line); !strings.Contains(got, want) {
				t.Errorf("want %q in %s", want, got)
			}
		}
	}
	check()
	again, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil || again != path {
		t.Errorf("the same again: %q, %v", again, err)
	}
	check()

	// An agent that restarts knows it.
	other, err := New(n.config)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := []Attachment{{"a", addr("10.77.1.2"), path}}
	if got, err := other.Attachments(); err != nil || !slices.Equal(got, want) {
		t.Errorf("attachments: %v, %v, want %v", got, err, want)
	}

	for _, bad := range []struct{ id, addr, why string }{
		{"b", "10.77.1.2", "belongs to a"},
		{"b", "10.77.1.1", "is not one for a container"},
		{"b", "10.77.2.2", "is not one for a container"},
		{"b", "fe80::1", "not an IPv4 address"},
		{"../b", "10.77.1.3", "cannot be the name"},
		{"", "10.77.1.3", "cannot be the name"},
	} {
		if _, err := n.Attach(ctx, bad.id, addr(bad.addr)); err == nil || !strings.Contains(err.Error(), bad.why) {
			t.Errorf("attach %q at %s: %v", bad.id, bad.addr, err)
		}
	}
	if got, err := n.Attachments(); err != nil || !slices.Equal(got, want) {
		t.Errorf("attachments after refusals: %v, %v, want %v", got, err, want)
	}

	// It can move.
	if _, err := n.Attach(ctx, "a", addr("10.77.1.7")); err != nil {
		t.Fatal(err)
	}
	if got := inside("-o -4 addr show dev eth0"); !strings.Contains(got, "10.77.1.7/32") || strings.Contains(got, "10.77.1.2") {
		t.Errorf("addresses after the move: %s", got)
	}
	for range 2 {
		if err := n.Detach(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("attachments after all: %v, %v", got, err)
	}
	if got := ip(t, "-o link"); strings.Contains(got, vethPrefix+"0a") {
		t.Errorf("left over: %s", got)
	}
}

// A power cut or a kill can leave either half.
func TestAttachOverLeftovers(t *testing.T) {
	ctx := context.Background()
	a := addr("10.77.1.2")
	for name, harm := range map[string]func(t *testing.T, n *Network, path string){
		"a file without a mount": func(t *testing.T, n *Network, path string) {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		},
		"a namespace without an interface": func(t *testing.T, n *Network, path string) { ip(t, "link del "+vethName(a)) },
		"an interface without a namespace": func(t *testing.T, n *Network, path string) {
			if err := removeNamespace(path); err != nil {
				t.Fatal(err)
			}
			// The kernel takes the interface away with the namespace, in its own time.
			eventually(t, func() error {
				_, err := exec.Command("ip", "link", "add", vethName(a), "type", "veth", "peer", "name", "stray").Output()
				return err
			})
			ip(t, "link set "+vethName(a)+" alias a")
		},
		"an interface of a container that is no more": func(t *testing.T, n *Network, path string) {
			if err := n.Detach(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			ip(t, "link add "+vethName(a)+" type veth peer name stray")
			ip(t, "link set "+vethName(a)+" alias old")
		},
		"an interface that is down and out of the bridge": func(t *testing.T, n *Network, path string) {
			ip(t, "link set "+vethName(a)+" down nomaster")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			lanLink(t)
			apply(t, n)
			path, err := n.Attach(ctx, "a", a)
			if err != nil {
				t.Fatal(err)
			}
			harm(t, n, path)
			if path, err = n.Attach(ctx, "a", a); err != nil {
				t.Fatal(err)
			}
			got, err := n.Attachments()
			if want := []Attachment{{"a", a, path}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("attachments: %v, %v, want %v", got, err, want)
			}
			if got := ip(t, "-o link show dev "+vethName(a)); !strings.Contains(got, "master piswarm0") || !strings.Contains(got, ",UP") {
				t.Errorf("interface: %s", got)
			}
			namespace, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer namespace.Close()
			err = inNamespace(namespace, func() error {
				_, err := net.DialTimeout("tcp", "10.77.1.1:1", 5*time.Second)
				return err
			})
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("the container to its gateway: %v, want connection refused", err)
			}
		})
	}
}

func TestAttachmentsTellsLeftovers(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	ctx := context.Background()
	path, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Attachments(); err != nil || len(got) != 1 || got[0].ID != "a" || got[0].Addr.IsValid() {
		t.Errorf("attachments: %v, %v", got, err)
	}
	if err := n.Detach(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("attachments after: %v, %v", got, err)
	}
}

// Many at once, and no thread is left behind, least of all in a wrong namespace.
func TestAttachAtOnce(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	ctx := context.Background()
	const containers = 20
	all := func(f func(id string, a netip.Addr) error) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range containers {
			wg.Go(func() {
				if err := f(fmt.Sprintf("c%d", i), addr(fmt.Sprintf("10.77.1.%d", 10+i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all(func(id string, a netip.Addr) error { _, err := n.Attach(ctx, id, a); return err })
	got, err := n.Attachments()
	if err != nil || len(got) != containers {
		t.Errorf("%d attachments, %v", len(got), err)
	}
	namespaces := map[string]bool{}
	for _, a := range got {
		var s unix.Stat_t
		if err := unix.Stat(a.Namespace, &s); err != nil {
			t.Fatal(err)
		}
		namespaces[fmt.Sprintf("net:[%d]", s.Ino)] = true
	}
	if len(namespaces) != containers {
		t.Fatalf("%d containers have %d namespaces", containers, len(namespaces))
	}
	for range 3 {
		all(func(id string, a netip.Addr) error { _, err := n.Attach(ctx, id, a); return err })
	}
	all(func(id string, a netip.Addr) error { return n.Detach(ctx, id) })
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("left over: %v, %v", got, err)
	}
	// The threads end in their own time.
	eventually(t, func() error {
		if n := threadsIn(t, namespaces); n > 0 {
			return fmt.Errorf("%d threads are in the namespaces of containers", n)
		}
		return nil
	})
}

// threadsIn counts the threads of the process that are in one of the namespaces.
func threadsIn(t *testing.T, namespaces map[string]bool) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, task := range tasks {
		// One that has ended meanwhile is in none.
		if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && namespaces[ns] {
			count++
		}
	}
	return count
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
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

func TestTune(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	if out, err := exec.Command("iptables-nft", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 2 {
		if err := n.Tune(context.Background(), "lan0"); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"ipv4/ip_forward":                                "1",
			"ipv4/conf/lan0/route_localnet":                  "1",
			"ipv4/conf/piswarm0/route_localnet":              "1",
			"ipv4/conf/all/send_redirects":                   "0",
			"ipv4/conf/lan0/send_redirects":                  "0",
			"ipv4/conf/lan0/accept_redirects":                "0",
			"netfilter/nf_conntrack_tcp_timeout_time_wait":   "30",
			"netfilter/nf_conntrack_tcp_timeout_established": "86400",
		} {
			got, err := os.ReadFile("/proc/sys/net/" + name)
			if err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s is %q, %v, want %s", name, got, err, want)
			}
		}
	}
}

func TestSysctlWritesOnlyWhatIsWorse(t *testing.T) {
	root := t.TempDir() + "/"
	for _, test := range []struct {
		have string
		s    sysctl
		want string
	}{
		{"5\n", sysctl{name: "x", value: 7}, "7"},
		{"7\n", sysctl{name: "x", value: 7}, "7\n"},
		{"5\n", sysctl{name: "x", value: 7, only: raise}, "7"},
		{"9\n", sysctl{name: "x", value: 7, only: raise}, "9\n"},
		{"9\n", sysctl{name: "x", value: 7, only: lower}, "7"},
		{"5\n", sysctl{name: "x", value: 7, only: lower}, "5\n"},
	} {
		if err := os.WriteFile(root+"x", []byte(test.have), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := test.s.apply(root); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(root + "x"); string(got) != test.want {
			t.Errorf("%+v over %q: got %q, want %q", test.s, test.have, got, test.want)
		}
	}
	if err := (sysctl{name: "missing", optional: true}).apply(root); err != nil {
		t.Errorf("optional: %v", err)
	}
	if err := (sysctl{name: "missing"}).apply(root); err == nil {
		t.Error("no error for a setting that is missing")
	}
}

// The sums of the comment, for the nodes there are.
func TestConntrackForTheNodesThereAre(t *testing.T) {
	for megabytes, want := range map[uint64]uint64{430: 55040, 512: 65536, 64: 32768, 1024: 131072, 8192: 524288, 0: 32768} {
		if got := conntrack(megabytes << 20)[0]; got.value != want || got.only != raise {
			t.Errorf("%d MB: %+v, want %d", megabytes, got, want)
		}
	}
}
