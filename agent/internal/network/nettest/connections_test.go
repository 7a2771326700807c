package nettest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/loadbalance"
	"github.com/vishvananda/netlink"
)

// connections waits until the node tracks as many open connections to a container.
func (n *node) connections(container netip.Addr, want int) {
	n.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := n.network.Connections(context.Background(), container)
		if err != nil {
			n.t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(end) {
			n.t.Fatalf("%d connections to %s, want %d", got, container, want)
		}
	}
}

// The node of a container knows who talks to it, whichever way they came.
func TestConnections(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		first, second := c.nodes[0], c.nodes[1]
		c.apply([]loadbalance.Service{greeters(c.backends[0])})
		var open []net.Conn
		dial := func(from *host, proto, addr string) {
			t.Helper()
			err := from.in(func() error {
				conn, err := net.DialTimeout(proto, addr, 5*time.Second)
				if err != nil {
					return err
				}
				t.Cleanup(func() { conn.Close() })
				open = append(open, conn)
				_, err = askOver(conn)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		first.connections(c.backends[0], 0)
		dial(c.laptop, "tcp", fmt.Sprintf("%s:9000", first.addr))
		dial(c.laptop, "tcp", fmt.Sprintf("%s:9000", second.addr))
		dial(first.host, "tcp", "127.0.0.1:9000")
		dial(c.clients[0], "tcp", vip.String()+":5000")
		first.connections(c.backends[0], 4)
		dial(c.laptop, "udp", fmt.Sprintf("%s:9000", first.addr))
		// What the container itself opens is no business of a client's.
		dial(c.containers[0], "tcp", c.backends[1].String()+":5000")
		first.connections(c.backends[0], 4)
		first.connections(c.backends[3], 0)
		for i, conn := range open {
			conn.Close()
			first.connections(c.backends[0], max(0, 3-i))
		}
	})
}

// An agent that was down while a task went forgets what was led there, and nothing else.
func TestSweepConntrack(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		old, stays := c.backends[1], c.backends[2]
		dial := func(from *host, proto, addr string) net.Conn {
			t.Helper()
			var conn net.Conn
			err := from.in(func() (err error) {
				conn, err = net.DialTimeout(proto, addr, 5*time.Second)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		ask := func(what string, conn net.Conn, want netip.Addr) {
			t.Helper()
			if got, err := askOver(conn); err != nil || got.server != want.String() {
				t.Errorf("%s: %v, %v, want %s", what, got, err, want)
			}
		}
		c.apply([]loadbalance.Service{greeters(stays)})
		tcp := dial(c.laptop, "tcp", fmt.Sprintf("%s:9000", n.addr))
		kept := dial(c.laptop, "udp", fmt.Sprintf("%s:9000", n.addr))
		ask("one that stays", kept, stays)
		c.apply([]loadbalance.Service{greeters(old)})
		moved := dial(c.laptop, "udp", fmt.Sprintf("%s:9000", n.addr))
		ask("one that will go", moved, old)
		c.apply([]loadbalance.Service{greeters(c.backends[0])})
		live := map[netip.Addr]bool{c.backends[0]: true, stays: true}
		if err := n.network.SweepConntrack(context.Background(), pool, live); err != nil {
			t.Fatal(err)
		}
		ask("one that stayed", kept, stays)
		ask("one that went", moved, c.backends[0])
		ask("a connection that stayed", tcp, stays)
	})
}

// Of two connections to a container that is about to stop, the one that has ended is forgotten and the other goes on.
func TestFlushFinished(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n, backend := c.nodes[0], c.backends[1]
		c.apply([]loadbalance.Service{greeters(backend)})
		for _, ends := range []bool{false, true} {
			err := c.laptop.in(func() error {
				conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:9000", n.addr), 5*time.Second)
				if err != nil {
					return err
				}
				t.Cleanup(func() { conn.Close() })
				if _, err = askOver(conn); err == nil && ends {
					err = conn.Close()
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		tracked := func() (open, ended int) {
			t.Helper()
			err := n.in(func() error {
				flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
				for _, f := range flows {
					from, _ := netip.AddrFromSlice(f.Reverse.SrcIP)
					if tcp, ok := f.ProtoInfo.(*netlink.ProtoInfoTCP); !ok || from.Unmap() != backend {
						continue
					} else if tcp.State == 3 { // TCP_CONNTRACK_ESTABLISHED
						open++
					} else if tcp.State == 7 { // TCP_CONNTRACK_TIME_WAIT
						ended++
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return open, ended
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if open, ended := tracked(); open == 1 && ended == 1 {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("the kernel tracks %d open and %d ended connections: want one of each", open, ended)
			}
		}
		if err := n.network.FlushFinished(context.Background(), []netip.Addr{c.backends[2]}); err != nil {
			t.Fatal(err)
		}
		if open, ended := tracked(); open != 1 || ended != 1 {
			t.Errorf("for another container: %d open and %d ended are left, want one of each", open, ended)
		}
		if err := n.network.FlushFinished(context.Background(), []netip.Addr{backend}); err != nil {
			t.Fatal(err)
		}
		if open, ended := tracked(); open != 1 || ended != 0 {
			t.Errorf("%d open and %d ended are left, want the open one alone", open, ended)
		}
	})
}
