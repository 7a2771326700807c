package nettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// variants runs a test with each of the two packet filters.
func variants(t *testing.T, f func(t *testing.T, command string)) {
	for _, command := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(command, func(t *testing.T) {
			if _, err := exec.LookPath(command); err != nil {
				t.Fatalf("%v (on Debian: apt install iptables)", err)
			}
			f(t, command)
		})
	}
}

// cluster4 is a lab of three nodes with four greeters, two of them on the first node, and a client container
// on each node.
type cluster4 struct {
	*lab
	backends   []netip.Addr
	containers []*host // of the backends
	clients    []*host
	clientAddr []netip.Addr
}

func newCluster4(t *testing.T, command string) *cluster4 {
	c := &cluster4{lab: newLab(t, command, 3)}
	for _, place := range []struct {
		node int
		last byte
	}{{0, 2}, {1, 2}, {2, 2}, {0, 3}} {
		h, addr := c.nodes[place.node].attach(place.last)
		h.serve(addr.String(), "0.0.0.0:5000")
		c.backends = append(c.backends, addr)
		c.containers = append(c.containers, h)
	}
	for _, n := range c.nodes {
		h, addr := n.attach(9)
		c.clients = append(c.clients, h)
		c.clientAddr = append(c.clientAddr, addr)
	}
	c.apply([]loadbalance.Service{greeters(c.backends...)})
	return c
}

// exact checks that the answers came from the backends in turn, starting anywhere, all from the client.
func (c *cluster4) exact(t *testing.T, from *host, proto, addr string, times int, client ...netip.Addr) {
	t.Helper()
	answers, err := from.ask(proto, addr, times)
	if err != nil {
		t.Errorf("after %d answers: %v", len(answers), err)
		return
	}
	first := -1
	for i, b := range c.backends {
		if answers[0].server == b.String() {
			first = i
		}
	}
	seen := map[string]int{}
	for i, a := range answers {
		seen[a.server]++
		if want := c.backends[(first+i)%len(c.backends)]; a.server != want.String() {
			t.Errorf("answer %d is from %s, want %s", i, a.server, want)
			return
		}
		if len(client) == 1 && a.client != client[0] {
			t.Errorf("answer %d: %s saw %s, want %s", i, a.server, a.client, client[0])
			return
		}
	}
	for _, b := range c.backends {
		if seen[b.String()] != times/len(c.backends) {
			t.Errorf("%d of %d answers are from %s", seen[b.String()], times, b)
		}
	}
}

func TestIngress(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		for _, pass := range []bool{false, true} {
			t.Run(fmt.Sprintf("bridged frames through iptables %v", pass), func(t *testing.T) {
				c := newCluster4(t, command)
				for _, n := range c.nodes {
					n.bridgedFrames(pass)
				}
				c.everybody(t)
			})
		}
	})
}

// everybody asks every node in every way.
func (c *cluster4) everybody(t *testing.T) {
	for _, proto := range []string{"tcp", "udp"} {
		for i, n := range c.nodes {
			published := fmt.Sprintf("%s:9000", n.addr)
			name := func(what string) string { return fmt.Sprintf("%s/pi%d/%s", proto, i+1, what) }
			t.Run(name("laptop"), func(t *testing.T) { c.exact(t, c.laptop, proto, published, 400, laptopAddr) })
			t.Run(name("localhost"), func(t *testing.T) { c.exact(t, n.host, proto, "127.0.0.1:9000", 400) })
			t.Run(name("own address"), func(t *testing.T) { c.exact(t, n.host, proto, published, 400) })
			t.Run(name("container by VIP"), func(t *testing.T) {
				c.exact(t, c.clients[i], proto, vip.String()+":5000", 400, c.clientAddr[i])
			})
			t.Run(name("containers by published port"), func(t *testing.T) {
				for _, client := range c.clients {
					c.exact(t, client, proto, published, 40)
				}
			})
			t.Run(name("other nodes"), func(t *testing.T) {
				for _, other := range c.nodes {
					c.exact(t, other.host, proto, published, 40)
				}
			})
			t.Run(name("backends reach themselves"), func(t *testing.T) {
				for _, b := range c.containers {
					c.exact(t, b, proto, published, 40)
					c.exact(t, b, proto, vip.String()+":5000", 40)
				}
			})
		}
	}
}

// One udp port of a client may talk to two nodes, both of which may choose the same container on a third.
func TestOnePortTwoNodes(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		c.apply([]loadbalance.Service{greeters(c.backends[2])})
		err := c.laptop.in(func() error {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
			if err != nil {
				return err
			}
			defer conn.Close()
			for i := range 6 {
				to := netip.AddrPortFrom(c.nodes[i%3].addr, 9000)
				if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
					return err
				}
				if _, err := conn.WriteToUDPAddrPort([]byte("who"), to); err != nil {
					return err
				}
				_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 64))
				if err != nil {
					return fmt.Errorf("through %s: %w", to, err)
				}
				if from != to {
					t.Errorf("the answer to a question to %s came from %s", to, from)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// By tcp, these are as many connections, and all of them are open at the same time.
func TestOnePortManyConnections(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		c.apply([]loadbalance.Service{greeters(c.backends[2])})
		dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{Port: 40000}, Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) }), err)
		}}
		var open []net.Conn
		defer func() {
			for _, conn := range open {
				conn.Close()
			}
		}()
		err := c.laptop.in(func() error {
			for _, n := range c.nodes {
				conn, err := dialer.Dial("tcp4", fmt.Sprintf("%s:9000", n.addr))
				if err != nil {
					return err
				}
				open = append(open, conn)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, conn := range open {
			buf := make([]byte, 64)
			if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, err := conn.Read(buf)
			if err != nil {
				t.Errorf("through node %d: %v", i+1, err)
				continue
			}
			got, err := parseAnswer(string(buf[:size]))
			if want := (answer{c.backends[2].String(), laptopAddr}); err != nil || got != want {
				t.Errorf("through node %d: %v, %v, want %v", i+1, got, err, want)
			}
		}
	})
}

// The container's own address is seen within the cluster, the node's outside of it.
func TestOutbound(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		c.laptop.serve("laptop", "0.0.0.0:7000")
		c.nodes[0].serve("pi1", c.nodes[0].addr.String()+":7000")
		c.nodes[0].serve("gateway", "10.77.1.1:7000")
		c.nodes[1].serve("pi2", c.nodes[1].addr.String()+":7000")
		for _, test := range []struct {
			to   string
			want answer
		}{
			{laptopAddr.String() + ":7000", answer{"laptop", c.nodes[0].addr}},
			{c.nodes[0].addr.String() + ":7000", answer{"pi1", c.clientAddr[0]}},
			{"10.77.1.1:7000", answer{"gateway", c.clientAddr[0]}},
			{c.nodes[1].addr.String() + ":7000", answer{"pi2", c.clientAddr[0]}},
			{"10.77.1.2:5000", answer{"10.77.1.2", c.clientAddr[0]}},
			{"10.77.2.2:5000", answer{"10.77.2.2", c.clientAddr[0]}},
		} {
			for _, proto := range []string{"tcp", "udp"} {
				got, err := c.clients[0].ask(proto, test.to, 1)
				if err != nil || got[0] != test.want {
					t.Errorf("container to %s by %s: %v, %v, want %v", test.to, proto, got, err, test.want)
				}
			}
		}
	})
}

// What is not published cannot be reached from the LAN.
func TestClosed(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		pi1 := c.nodes[0]
		pi1.serve("private", "127.0.0.1:7001")

		// The laptop knows all ways, and takes them.
		c.laptop.must("ip route add 10.77.0.0/16 via " + pi1.addr.String())
		c.laptop.must("ip addr del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip route add 127.0.0.1 via " + pi1.addr.String())
		for _, to := range []string{"10.77.1.2:5000", "10.77.2.2:5000", vip.String() + ":4999", "127.0.0.1:7001"} {
			if got, err := c.laptop.ask("tcp", to, 1); err == nil {
				t.Errorf("the laptop reached %s: %v", to, got)
			}
		}
		// The same way works without the guards, so it is them that close it.
		pi1.must(command + " -F PISWARM-INPUT; " + command + " -F PISWARM-FORWARD; " + command + " -P FORWARD ACCEPT")
		for _, to := range []string{"10.77.1.2:5000", "127.0.0.1:7001"} {
			if _, err := c.laptop.ask("tcp", to, 1); err != nil {
				t.Errorf("without guards, %s is: %v", to, err)
			}
		}
	})
}

// A service without a ready task is refused at once instead of timing out.
func TestNobodyReady(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		c.apply([]loadbalance.Service{greeters()})
		if _, err := c.laptop.ask("tcp", c.nodes[0].addr.String()+":9000", 1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("published port: %v, want connection refused", err)
		}
		if _, err := c.clients[0].ask("tcp", vip.String()+":5000", 1); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("virtual IP: %v, want no route to host", err)
		}
		if _, err := c.clients[0].ask("tcp", "10.77.200.2:5000", 1); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("container of a node that is gone: %v, want no route to host", err)
		}
	})
}

// A client that keeps one udp port must not stick to a task that is gone.
func TestFlushConntrack(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		var conn net.Conn
		err := c.laptop.in(func() (err error) {
			conn, err = net.Dial("udp", c.nodes[0].addr.String()+":9000")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before, err := askOver(conn)
		if err != nil {
			t.Fatal(err)
		}
		var rest []netip.Addr
		for _, b := range c.backends {
			if b.String() != before.server {
				rest = append(rest, b)
			}
		}
		c.apply([]loadbalance.Service{greeters(rest...)})
		if same, err := askOver(conn); err != nil || same != before {
			t.Fatalf("before the flush: %v, %v, want %v: the test shows nothing", same, err, before)
		}
		if err := c.nodes[0].network.FlushConntrack(context.Background(), gone(before.server)); err != nil {
			t.Fatal(err)
		}
		// Each question has one answer, so the task that is gone gets none of them if others give all answers.
		for range 20 {
			after, err := askOver(conn)
			if err != nil || after.server == before.server {
				t.Fatalf("after the flush: %v, %v, want another than %s", after, err, before.server)
			}
		}
	})
}
