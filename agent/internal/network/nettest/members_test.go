package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// attempt is a connection that somebody tries to make.
type attempt struct {
	who       string
	from      *host
	proto, to string
}

// answered tries all attempts at the same time, for what is dropped is known by its silence alone, and tells of each
// whether somebody answered.
func answered(attempts []attempt, patience time.Duration) []bool {
	all := make([]bool, len(attempts))
	var wait sync.WaitGroup
	for i, a := range attempts {
		wait.Go(func() {
			all[i] = a.from.in(func() error {
				d := net.Dialer{Timeout: patience}
				c, err := d.Dial(a.proto, a.to)
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					return err
				}
				if _, err := c.Write([]byte("who")); err != nil {
					return err
				}
				_, err = c.Read(make([]byte, 64))
				return err
			}) == nil
		})
	}
	wait.Wait()
	return all
}

func expectAnswers(t *testing.T, want bool, attempts []attempt) {
	t.Helper()
	patience := time.Second
	if want {
		patience = 10 * time.Second
	}
	for i, got := range answered(attempts, patience) {
		if a := attempts[i]; got != want {
			t.Errorf("%s to %s by %s: answered %t, want %t", a.who, a.to, a.proto, got, want)
		}
	}
}

// to are attempts at the members' ports of an address, tcp and udp.
func (a attempt) members(address string) []attempt {
	var all []attempt
	for _, port := range []int{cluster.GossipPort, cluster.NodeAPIPort} {
		all = append(all, attempt{a.who, a.from, "tcp", fmt.Sprintf("%s:%d", address, port)})
	}
	return append(all, attempt{a.who, a.from, "udp", fmt.Sprintf("%s:%d", address, cluster.GossipPort)})
}

// No container reaches the ports by which the nodes talk to one another, at whatever address of whatever node, and
// whatever it may do inside of its own namespace. Nodes reach them, and containers all the rest.
func TestContainersReachNoMember(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		for _, pass := range []bool{false, true} {
			t.Run(fmt.Sprintf("bridged frames through iptables %v", pass), func(t *testing.T) {
				c := newCluster4(t, command)
				const other = 8000 // what else listens on a node
				open := func(h *host, addresses ...string) {
					for _, port := range []int{cluster.GossipPort, cluster.NodeAPIPort, other} {
						for _, a := range addresses { // one by one, so that datagrams are answered from where they went
							h.serve("member", fmt.Sprintf("%s:%d", a, port))
						}
						h.serveOn("member", fmt.Sprintf("[::]:%d", port), "6")
					}
				}
				open(c.laptop, laptopAddr.String()) // stands for a node that is not known to be one
				for _, n := range c.nodes {
					n.bridgedFrames(pass)
					open(n.host, n.addr.String(), n.subnet.Addr().Next().String(), "127.0.0.1")
				}
				first := c.nodes[0]
				container := attempt{who: "container", from: c.clients[0]}
				var refused, allowed []attempt
				for _, n := range c.nodes {
					gateway := n.subnet.Addr().Next().String()
					for _, address := range []string{n.addr.String(), gateway} {
						refused = append(refused, container.members(address)...)
						for _, proto := range []string{"tcp", "udp"} {
							allowed = append(allowed, attempt{"container", c.clients[0], proto, fmt.Sprintf("%s:%d", address, other)})
						}
					}
					allowed = append(allowed, attempt{"laptop", c.laptop, "tcp", n.addr.String() + ":7946"})
					allowed = append(allowed, attempt{"pi1", first.host, "", ""}.members(n.addr.String())...)
				}
				refused = append(refused, container.members(laptopAddr.String())...)
				allowed = append(allowed, attempt{"container", c.clients[0], "tcp", fmt.Sprintf("%s:%d", laptopAddr, other)})
				allowed = append(allowed, attempt{"pi1", first.host, "", ""}.members("127.0.0.1")...)
				allowed = append(allowed, attempt{"pi1", first.host, "", ""}.members("10.77.1.1")...)
				expectAnswers(t, true, allowed)
				expectAnswers(t, false, refused)

				// By IPv6 the node is not there at all.
				linkLocal := fmt.Sprintf("[fe80::50:aff:fe4d:101%%%d]", index(t, c.clients[0], "eth0"))
				expectAnswers(t, false, append(container.members(linkLocal), attempt{"container", c.clients[0], "tcp", linkLocal + ":8000"}))

				// One that may change its own network sends to the node's localhost.
				c.clients[0].must("sysctl -qw net.ipv4.conf.all.route_localnet=1 && ip route del table local local 127.0.0.0/8 dev lo && " +
					"ip route del table local local 127.0.0.1 dev lo; ip route replace 127.0.0.0/8 via 10.77.1.1 dev eth0 onlink src 10.77.1.9")
				expectAnswers(t, false, container.members("127.0.0.1"))

				// A service may listen on such a port: that is a container's.
				c.containers[1].serve("service", fmt.Sprintf("0.0.0.0:%d", cluster.NodeAPIPort))
				c.apply([]loadbalance.Service{greeters(c.backends[1])})
				expectAnswers(t, true, []attempt{
					{"container", c.clients[2], "tcp", fmt.Sprintf("%s:%d", vip, cluster.NodeAPIPort)},
					{"container", c.clients[2], "tcp", fmt.Sprintf("%s:%d", c.backends[1], cluster.NodeAPIPort)},
				})
			})
		}
	})
}

// A container that may send what it likes can hide behind an address whose answers it never gets. A node without rp_filter
// takes that for a packet like any other.
func TestNoDatagramUnderAnotherAddress(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		l := newLab(t, command, 1)
		n := l.nodes[0]
		h, _ := n.attach(9)
		n.must("for f in all eth0 piswarm0; do echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; done")
		h.must("ip addr add 192.168.1.77/32 dev eth0 && ip route replace default via 10.77.1.1 dev eth0 onlink src 192.168.1.77")
		for port, want := range map[int]bool{cluster.GossipPort: false, 8000: true} {
			address := netip.AddrPortFrom(n.addr, uint16(port)).String()
			var pc net.PacketConn
			err := n.in(func() (err error) {
				pc, err = net.ListenPacket("udp4", address)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			err = h.in(func() error {
				c, err := net.Dial("udp4", address)
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("who"))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := pc.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, from, err := pc.ReadFrom(make([]byte, 64)); (err == nil) != want {
				t.Errorf("a datagram to port %d: %v, %v, want it to arrive: %t", port, from, err, want)
			}
		}
	})
}

// A connection that there is already is not asked for its port again.
func TestEstablishedConnectionsPassTheMembersRules(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		n.serve("other", "0.0.0.0:8000")
		expectAnswers(t, true, []attempt{{"container", c.clients[0], "tcp", n.addr.String() + ":8000"}})
		before := packets(t, n, command)
		var conn net.Conn
		err := c.clients[0].in(func() (err error) {
			conn, err = net.DialTimeout("tcp", n.addr.String()+":8000", 5*time.Second)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := askOver(conn); err != nil {
			t.Fatal(err)
		}
		if got := packets(t, n, command) - before; got != 1 {
			t.Errorf("of one connection, %d packets were compared with the members' ports", got)
		}
	})
}

// packets is how many packets of the node's bridge the rule saw that leads to those about the members' ports.
func packets(t *testing.T, n *node, command string) int {
	t.Helper()
	var seen int
	out := n.must(command + "-save -c -t filter | sed -n 's/^\\[\\([0-9]*\\):.* -A PISWARM-INPUT -i piswarm0 .*PISWARM-MEMBERS$/\\1/p'")
	if _, err := fmt.Sscan(out, &seen); err != nil {
		t.Fatalf("count %q: %v", out, err)
	}
	return seen
}

// index is the number of an interface. Go remembers the names' of whichever namespace it saw first.
func index(t *testing.T, h *host, name string) int {
	t.Helper()
	var found int
	err := h.in(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			found = i.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
