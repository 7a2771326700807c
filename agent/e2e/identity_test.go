package e2e

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestAddressChange: a node to which the router gives another address is the same node.
func TestAddressChange(t *testing.T) {
	together(t)
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 6 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 6)
	before := s.node("pi1", "pi2")
	// pi3 gets the address that pi2 had: neither is taken for the other.
	if err := s.lab.Readdress("pi2", netip.MustParseAddr("192.168.77.99")); err != nil {
		t.Fatal(err)
	}
	s.powerOff("pi2")
	s.powerOn("pi2")
	if err := s.lab.Readdress("pi3", netip.MustParseAddr("192.168.77.12")); err != nil {
		t.Fatal(err)
	}
	s.powerOff("pi3")
	s.powerOn("pi3")
	s.awaitReady(3)
	for _, n := range pis(3) {
		s.eventually(20*time.Second, n+" knows the new addresses", func() bool {
			return s.node(n, "pi2").Address == "192.168.77.99" && s.node(n, "pi3").Address == "192.168.77.12"
		})
	}
	if after := s.node("pi1", "pi2"); after.ID != before.ID {
		t.Errorf("pi2 was %s and is %s", before.ID, after.ID)
	}
	s.eventually(60*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", 6) })
	s.answering(20*time.Second, "at the new addresses", pis(3), 9000, 6)
}

// node is what a node says of another that is ready. One that had the same name may be remembered as down.
func (s *shelf) node(on, name string) client.NodeStatus {
	for _, n := range s.status(on).Nodes {
		if n.Name == name && n.State == cluster.Ready {
			return n
		}
	}
	return client.NodeStatus{}
}

// TestCopiedCard: two Pis start from copies of one card. They are told apart, and the one that yields says so.
func TestCopiedCard(t *testing.T) {
	together(t)
	for _, c := range []struct {
		what  string
		start func(s *shelf) // from both off, pi2 with a copy of pi1's card
	}{
		{"the copy last", func(s *shelf) { s.powerOn("pi1"); s.awaitNodes("pi1", 1); s.powerOn("pi2") }},
		{"the copy first", func(s *shelf) { s.powerOn("pi2"); s.awaitNodes("pi2", 1); s.powerOn("pi1") }},
		{"both at once", func(s *shelf) {
			on := make(chan error, 2)
			for _, n := range pis(2) {
				go func() { on <- s.lab.PowerOn(s.t.Context(), n) }()
			}
			for range 2 {
				if err := <-on; err != nil {
					s.t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newShelf(t, 2)
			id := s.node("pi1", "pi1").ID
			for _, n := range pis(2) {
				s.powerOff(n)
			}
			if err := s.lab.Clone(t.Context(), "pi1", "pi2"); err != nil {
				t.Fatal(err)
			}
			c.start(s)
			for _, n := range pis(2) {
				s.awaitNodes(n, 2)
			}
			one, two := s.node("pi2", "pi1").ID, s.node("pi2", "pi2").ID
			if one == two || !slices.Contains([]string{one, two}, id) {
				t.Errorf("pi1 is %s and pi2 is %s; the card was %s", one, two, id)
			}
			var said bool
			for _, n := range pis(2) {
				path, err := s.lab.LogFile(n, "agent")
				if err != nil {
					t.Fatal(err)
				}
				raw, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(raw)) {
					if strings.Contains(line, "WARN") && (strings.Contains(line, "copied") || strings.Contains(line, "copy") || strings.Contains(line, "another node has")) {
						t.Logf("%s says: %s", n, line)
						said = true
					}
				}
			}
			if !said {
				t.Error("nobody says that a card was copied")
			}
			s.load("pi1")
			s.piswarm("pi2", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
			s.answering(20*time.Second, "two Pis from one card", pis(2), 9000, 4)
			s.alike(10*time.Second, "two Pis from one card", pis(2))
		})
	}
}

// awaitNodes waits until a node sees so many ready nodes, and that is what it sees on.
func (s *shelf) awaitNodes(on string, want int) {
	s.t.Helper()
	s.eventually(60*time.Second, on+" sees its ready nodes", func() bool {
		r := s.on(on, "piswarm", "node", "ls", "--format", "{{.ID}} {{.Status}}")
		ids := map[string]bool{}
		for line := range strings.Lines(r.out) {
			if f := strings.Fields(line); len(f) > 1 && strings.EqualFold(f[1], string(cluster.Ready)) {
				ids[f[0]] = true
			}
		}
		return r.code == 0 && len(ids) >= want
	})
}

// TestWithoutNetwork: a member that starts without an address says so, and not that it is in no cluster; what it is told to
// do is not undone when the network is there.
func TestWithoutNetwork(t *testing.T) {
	together(t)
	s := startLab(t, 1, "")
	s.piswarm("pi1", "init")
	s.awaitReady(1)
	routes := s.must("pi1", "ip", "-4", "route", "show", "default")
	address := strings.Fields(s.must("pi1", "ip", "-4", "-o", "addr", "show", "dev", "eth0"))[3]
	s.must("pi1", "ip", "-4", "addr", "flush", "dev", "eth0")
	s.must("pi1", "pkill", "-9", "-f", "^piswarm agent|/piswarm agent")
	const want = "belongs to a cluster, but is not up in it yet"
	s.eventually(20*time.Second, "it says what is wrong", func() bool { return strings.Contains(s.on("pi1", "piswarm", "status").err, want) })
	for _, line := range []string{"leave", "init"} {
		if got := s.on("pi1", "piswarm", line); got.code != 1 || !strings.Contains(got.err, "cluster") || strings.Contains(got.err, "in no cluster") {
			t.Errorf("%s: %d %s", line, got.code, got.err)
		}
	}
	s.must("pi1", "ip", "addr", "add", address, "dev", "eth0")
	s.must("pi1", append([]string{"ip", "route", "add"}, strings.Fields(routes)...)...)
	s.awaitReady(1)
}
