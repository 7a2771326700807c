package nettest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// A port that a node leads to its own tasks alone is answered there, whoever asks, and refused by the other nodes.
func TestOwnTasksOnly(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		own := map[int][]netip.Addr{0: {c.backends[0]}, 1: {c.backends[1]}, 2: nil}
		for i, n := range c.nodes {
			s := loadbalance.Service{Name: "greeters", VirtualIP: vip, Backends: c.backends}
			for _, proto := range []cluster.Protocol{cluster.TCP, cluster.UDP} {
				s.Ports = append(s.Ports, loadbalance.Port{Published: 9000, Protocol: proto, Targets: at(5000, own[i]...)})
			}
			if err := c.applyTo(n, []loadbalance.Service{s}); err != nil {
				t.Fatal(err)
			}
		}
		for i, n := range c.nodes {
			askers := map[string]*host{"laptop": c.laptop, "own container": c.clients[i], "itself": n.host, "another node": c.nodes[(i+1)%3].host}
			for who, asker := range askers {
				for _, proto := range []string{"tcp", "udp"} {
					answers, err := asker.ask(proto, fmt.Sprintf("%s:9000", n.addr), 3)
					if len(own[i]) == 0 {
						if !errors.Is(err, syscall.ECONNREFUSED) {
							t.Errorf("pi%d by %s to %s: %v, %v, want connection refused", i+1, proto, who, answers, err)
						}
						continue
					}
					if err != nil {
						t.Errorf("pi%d by %s to %s: %v", i+1, proto, who, err)
					}
					for _, a := range answers {
						if a.server != own[i][0].String() || who == "laptop" && a.client != laptopAddr {
							t.Errorf("pi%d by %s to %s: %v", i+1, proto, who, a)
						}
					}
				}
			}
		}
	})
}

// A service may publish port 53; its node's containers still ask the agent for names, and everyone else the service.
func TestNamesBesideAPublishedPort53(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		n.serve("agent", "10.77.1.1:53")
		s := loadbalance.Service{Name: "pihole", VirtualIP: vip, Backends: c.backends[:1]}
		for _, proto := range []cluster.Protocol{cluster.TCP, cluster.UDP} {
			s.Ports = append(s.Ports, loadbalance.Port{Published: 53, Protocol: proto, Targets: at(5000, c.backends[0])})
		}
		c.apply([]loadbalance.Service{s})
		for _, proto := range []string{"tcp", "udp"} {
			for _, test := range []struct {
				from *host
				to   string
				want string
			}{
				{c.clients[0], "10.77.1.1:53", "agent"},
				{c.clients[0], n.addr.String() + ":53", c.backends[0].String()},
				{c.laptop, n.addr.String() + ":53", c.backends[0].String()},
			} {
				if got, err := test.from.ask(proto, test.to, 1); err != nil || got[0].server != test.want {
					t.Errorf("%s by %s: %v, %v, want %s", test.to, proto, got, err, test.want)
				}
			}
		}
	})
}

// During an update, tasks of one published port listen on different ports, and each gets its turn.
func TestTargetsOfTheirOwn(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		c.containers[1].serve("new", "0.0.0.0:5001")
		for _, proto := range []cluster.Protocol{cluster.TCP, cluster.UDP} {
			c.apply([]loadbalance.Service{{Name: "greeters", VirtualIP: vip, Backends: c.backends[:2], Ports: []loadbalance.Port{
				{Published: 9000, Protocol: proto, Targets: append(at(5000, c.backends[0]), at(5001, c.backends[1])...)},
			}}})
			answers, err := c.laptop.ask(string(proto), fmt.Sprintf("%s:9000", c.nodes[0].addr), 4)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []string{c.backends[0].String(), "new", c.backends[0].String(), "new"} {
				if answers[i].server != want {
					t.Errorf("%s: answer %d is from %s, want %s", proto, i, answers[i].server, want)
				}
			}
		}
	})
}

// Of more than 32 containers on a node, each reaches itself through its service, and sees the others as they are.
func TestManyReachThemselves(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		l := newLab(t, command, 1)
		n := l.nodes[0]
		var hosts []*host
		var services []loadbalance.Service
		for i := range 40 {
			h, addr := n.attach(byte(2 + 6*i))
			h.serve(addr.String(), "0.0.0.0:5000")
			hosts = append(hosts, h)
			services = append(services, loadbalance.Service{
				Name: addr.String(), VirtualIP: netip.AddrFrom4([4]byte{10, 77, 255, byte(1 + 6*i)}), Backends: []netip.Addr{addr},
				Ports: []loadbalance.Port{{Published: uint16(9000 + 7*i), Protocol: cluster.TCP, Targets: at(5000, addr)}},
			})
		}
		l.apply(services)
		for i, h := range hosts {
			own, next := services[i], services[(i+1)%len(services)]
			for _, to := range []string{own.VirtualIP.String() + ":5000", fmt.Sprintf("%s:%d", n.addr, own.Ports[0].Published)} {
				got, err := h.ask("tcp", to, 1)
				if err != nil || got[0].server != own.Name || got[0].client == own.Backends[0] {
					t.Fatalf("%s to itself by %s: %v, %v", own.Name, to, got, err)
				}
			}
			got, err := h.ask("tcp", next.VirtualIP.String()+":5000", 1)
			if err != nil || got[0] != (answer{next.Name, own.Backends[0]}) {
				t.Fatalf("%s to %s: %v, %v", own.Name, next.Name, got, err)
			}
		}
	})
}

// A client that sent datagrams while nobody was there to answer is led on as soon as somebody is.
func TestFlushUnled(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		for from, to := range map[*host]string{c.laptop: n.addr.String(), n.host: "127.0.0.1", c.clients[0]: "10.77.1.1"} {
			c.apply([]loadbalance.Service{greeters()})
			var conn net.Conn
			err := from.in(func() (err error) {
				conn, err = net.DialTimeout("udp", to+":9000", 5*time.Second)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := askOver(conn); err == nil {
				t.Fatalf("%s: nobody is ready, and %v answers", to, got)
			}
			c.apply([]loadbalance.Service{greeters(c.backends[1])})
			if got, err := askOver(conn); err == nil {
				t.Fatalf("%s: before the flush %v answers: the test shows nothing", to, got)
			}
			if err := n.network.FlushUnled(context.Background(), []uint16{9001}); err != nil {
				t.Fatal(err)
			}
			if got, err := askOver(conn); err == nil {
				t.Errorf("%s: %v answers when another port was flushed", to, got)
			}
			if err := n.network.FlushUnled(context.Background(), []uint16{9000}); err != nil {
				t.Fatal(err)
			}
			if got, err := askOver(conn); err != nil || got.server != c.backends[1].String() {
				t.Errorf("%s: after the flush: %v, %v", to, got, err)
			}
		}
	})
}
