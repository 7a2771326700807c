package nettest

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

func gone(server string) []network.Backend {
	addr := netip.AddrPortFrom(netip.MustParseAddr(server), 5000)
	return []network.Backend{{Address: addr, Protocol: cluster.UDP}, {Address: addr, Protocol: cluster.TCP}}
}

// Rules that change, and agents that restart, must not cost a connection.
func TestChangeUnderLoad(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var mu sync.Mutex
		asked, changes := 0, 0
		enough := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return asked >= 400 && changes >= 12
		}
		for _, client := range []struct {
			*host
			addr string
		}{
			{c.laptop, c.nodes[0].addr.String() + ":9000"},
			{c.laptop, c.nodes[1].addr.String() + ":9000"},
			{c.clients[0], vip.String() + ":5000"},
			{c.nodes[0].host, "127.0.0.1:9000"},
		} {
			wg.Go(func() {
				for ctx.Err() == nil {
					answers, err := client.ask("tcp", client.addr, 20)
					mu.Lock()
					asked += len(answers)
					mu.Unlock()
					if err != nil {
						t.Errorf("%s: %v", client.addr, err)
						return
					}
				}
			})
		}
		other := loadbalance.Service{Name: "other", VirtualIP: vip.Next(), Backends: c.backends[:1],
			Ports: []loadbalance.Port{{Published: 80, Protocol: cluster.TCP, Targets: at(5000, c.backends[0])}}}
		for end := time.Now().Add(time.Minute); !enough() && !t.Failed(); changes++ {
			if time.Now().After(end) {
				t.Errorf("%d connections and %d changes in a minute show nothing", asked, changes)
			}
			switch changes % 4 {
			case 0:
				c.apply([]loadbalance.Service{greeters(c.backends[:2]...)})
			case 1:
				c.apply([]loadbalance.Service{greeters(c.backends...), other})
			case 2:
				for _, n := range c.nodes {
					// The old one stays open, as a process that was killed leaves nothing closed either.
					t.Cleanup(n.network.Close)
					n.open(command)
				}
				c.apply([]loadbalance.Service{greeters(c.backends...)})
			case 3:
				c.apply([]loadbalance.Service{greeters(c.backends[3])})
			}
		}
		cancel()
		wg.Wait()
		t.Logf("%d connections, %d changes", asked, changes)
	})
}

// A service whose backends stay keeps its turn when another one changes.
func TestRoundRobinGoesOn(t *testing.T) {
	c := newCluster4(t, "iptables-nft")
	addr := c.nodes[0].addr.String() + ":9000"
	var servers []string
	for i := range 8 {
		got, err := c.laptop.ask("tcp", addr, 1)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, got[0].server)
		c.apply([]loadbalance.Service{greeters(c.backends...), {Name: "other", VirtualIP: vip.Next(), Backends: c.backends[:1+i%3]}})
	}
	for i := range servers {
		if want := c.backends[i%4].String(); servers[i] != want {
			t.Errorf("answer %d is from %s, want %s", i, servers[i], want)
		}
	}
}

// Applying the same again starts no process, and writes no rule or route.
func TestApplyTwice(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		execs, before := n.fw.Execs(), n.inventory(command)
		if execs == 0 {
			t.Fatal("no process was counted: the test shows nothing")
		}
		routes := n.must("ip -4 route show table all")
		c.apply([]loadbalance.Service{greeters(c.backends...)})
		if got := n.fw.Execs(); got != execs {
			t.Errorf("%d processes for unchanged rules", got-execs)
		}
		if got := n.inventory(command); got != before {
			t.Errorf("got\n%s\nwant\n%s", got, before)
		}
		if got := n.must("ip -4 route show table all"); got != routes {
			t.Errorf("got\n%s\nwant\n%s", got, routes)
		}
	})
}

// inventory is all that piswarm could leave on a node.
func (n *node) inventory(command string) string {
	n.t.Helper()
	return stripCounters(n.must(command + "-save; ip -o link | sed 's/^[0-9]*: //; s/@[^:]*//' | sort; ip -4 rule; ip -4 route show table all; ls " + n.dir))
}

// stripCounters leaves out what changes by itself: counters, dates and remarks.
func stripCounters(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, ":") {
			line, _, _ = strings.Cut(line, "[")
			line += "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

const foreign = `
%[1]s -A FORWARD -s 172.17.0.0/16 -m comment --comment "not ours" -j ACCEPT
%[1]s -t nat -N DOCKER
%[1]s -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
%[1]s -t nat -A DOCKER -p tcp --dport 8888 -j DNAT --to-destination 172.17.0.2:80
%[1]s -t mangle -A POSTROUTING -p tcp -j ACCEPT
%[1]s -t raw -A OUTPUT -p tcp -j ACCEPT
`

func TestCleanup(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		l := &lab{t: t, command: command, lan: newLAN(t), laptop: newHost(t)}
		n := l.newNode(1)
		l.nodes = []*node{n, l.newNode(2)}
		n.must(strings.ReplaceAll(foreign, "%[1]s", command))
		// The tables that a first command makes are there before as well.
		before := n.inventory(command)
		l.apply(nil)
		h, addr := n.attach(2)
		h.serve("a", "0.0.0.0:5000")
		n.attach(3)
		l.apply([]loadbalance.Service{greeters(addr)})

		with := n.inventory(command)
		for line := range strings.Lines(before) {
			if !strings.Contains(with, line) && !strings.Contains(line, "eth0") {
				t.Errorf("applying removed %q", line)
			}
		}
		if !strings.Contains(with, "PISWARM-TCP-9000") || !strings.Contains(with, "piswarm0") {
			t.Fatalf("nothing was applied:\n%s", with)
		}
		for range 2 {
			if err := n.network.Cleanup(context.Background()); err != nil {
				t.Error(err)
			}
			if err := n.in(func() error { return firewall.Cleanup(context.Background()) }); err != nil {
				t.Error(err)
			}
			if got := n.inventory(command); got != before {
				t.Errorf("got\n%s\nwant\n%s", got, before)
			}
		}
		if got := n.must("cat /proc/sys/net/ipv4/conf/eth0/route_localnet"); got != "0\n" {
			t.Errorf("route_localnet is %s after the guard is gone", got)
		}
		// And it can be made anew.
		l.apply(nil)
		_, addr = n.attach(2)
		l.apply([]loadbalance.Service{greeters(addr)})
		if got := n.inventory(command); !strings.Contains(got, "PISWARM-TCP-9000") {
			t.Errorf("nothing was applied after the cleanup:\n%s", got)
		}
	})
}

// Somebody flushes the rules; the slow clock brings them back, and starts no process otherwise.
func TestRepair(t *testing.T) {
	variants(t, func(t *testing.T, command string) {
		c := newCluster4(t, command)
		n := c.nodes[0]
		repair := func(want bool) {
			t.Helper()
			err := n.in(func() error {
				repaired, err := n.fw.Repair(context.Background())
				if repaired != want {
					t.Errorf("repaired: %t, want %t", repaired, want)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
		execs := n.fw.Execs()
		repair(false)
		if got := n.fw.Execs() - execs; got != 1 {
			t.Errorf("%d processes to see that a change is there, want 1", got)
		}
		repair(false)
		if got := n.fw.Execs() - execs; got != 1 {
			t.Errorf("%d processes to see that all is well, want none", got-1)
		}
		for _, damage := range []string{
			"-t nat -F PREROUTING",
			"-t nat -F PISWARM-PORTS",
			"-t nat -D OUTPUT -j PISWARM-OUTPUT",
			"-t mangle -F",
			"-F && " + command + " -X",
		} {
			n.must(command + " " + damage)
			repair(true)
			repair(false)
			c.exact(t, c.laptop, "tcp", n.addr.String()+":9000", 8, laptopAddr)
			c.exact(t, n.host, "tcp", "127.0.0.1:9000", 8)
		}
	})
}
