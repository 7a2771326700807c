package loadbalance

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

var update = flag.Bool("update", false, "write what the planner says into the golden files")

// TestGolden reads the files of testdata: a node's knowledge above the line, its rules below.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, want, ok := strings.Cut(string(text), "---\n")
			if !ok {
				t.Fatalf("%s has no line ---", file)
			}
			got := Plan(parseInput(t, config)).String()
			if *update {
				if err := os.WriteFile(file, []byte(config+"---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// parseInput reads lines of the forms
//
//	node ADDRESS INTERFACE SUBNET
//	peer INDEX ADDRESS MAC SUBNET
//	service NAME VIP PORT,… BACKEND…
//
// where a port is PUBLISHED:TARGET/PROTOCOL, and leads to that target of each backend, or PUBLISHED/PROTOCOL=ADDRESS:TARGET+…
func parseInput(t *testing.T, text string) Input {
	t.Helper()
	in := Input{
		Bridge:     "piswarm0",
		Pool:       netip.MustParsePrefix("10.77.0.0/16"),
		VirtualIPs: netip.MustParsePrefix("10.77.255.0/24"),
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		switch f[0] {
		case "node":
			in.Subnet = netip.MustParsePrefix(f[len(f)-1])
			if len(f) == 4 {
				in.Address, in.Interface = netip.MustParseAddr(f[1]), f[2]
			}
		case "peer":
			p := Peer{Address: netip.MustParseAddr(f[2]), MAC: f[3], Subnet: netip.MustParsePrefix(f[4])}
			if _, err := fmt.Sscan(f[1], &p.Index); err != nil {
				t.Fatal(err)
			}
			in.Peers = append(in.Peers, p)
		case "service":
			s := Service{Name: f[1], VirtualIP: netip.MustParseAddr(f[2])}
			for _, b := range f[4:] {
				s.Backends = append(s.Backends, netip.MustParseAddr(b))
			}
			for _, p := range strings.Split(f[3], ",") {
				if p != "-" {
					s.Ports = append(s.Ports, parsePort(t, p, s.Backends))
				}
			}
			in.Services = append(in.Services, s)
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return in
}

func parsePort(t *testing.T, text string, backends []netip.Addr) Port {
	t.Helper()
	var port Port
	var target uint16
	left, targets, own := strings.Cut(text, "=")
	form, into := "%d:%d/%s", []any{&port.Published, &target, &port.Protocol}
	if own {
		form, into = "%d/%s", []any{&port.Published, &port.Protocol}
	}
	if _, err := fmt.Sscanf(left, form, into...); err != nil {
		t.Fatalf("port %q: %v", text, err)
	}
	if !own {
		port.Targets = at(target, backends...)
		return port
	}
	for _, target := range strings.Split(targets, "+") {
		port.Targets = append(port.Targets, netip.MustParseAddrPort(target))
	}
	return port
}

// at are the backends with a port of theirs.
func at(port uint16, backends ...netip.Addr) (targets []netip.AddrPort) {
	for _, b := range backends {
		targets = append(targets, netip.AddrPortFrom(b, port))
	}
	return targets
}

// The order in which peers and services are told must not matter; that of the backends must.
func TestEqualInputsGiveEqualBytes(t *testing.T) {
	in := parseInput(t, `
node 192.168.1.20 eth0 10.77.1.0/24
peer 3 192.168.1.22 02:00:00:00:00:03 10.77.3.0/24
peer 2 192.168.1.21 02:00:00:00:00:02 10.77.2.0/24
service web 10.77.255.2 80:8080/tcp 10.77.1.3
service greeters 10.77.255.1 9000:5000/tcp 10.77.1.2 10.77.2.2
`)
	other := in
	other.Peers, other.Services = slices.Clone(in.Peers), slices.Clone(in.Services)
	slices.Reverse(other.Peers)
	slices.Reverse(other.Services)
	if a, b := Plan(in).String(), Plan(other).String(); a != b {
		t.Errorf("one order\n%s\nthe other\n%s", a, b)
	}
	if in.Services[0].Name != "web" || in.Peers[0].Index != 3 {
		t.Error("the planner changed its input")
	}
	other.Services[1].Backends = []netip.Addr{in.Services[1].Backends[0]}
	if Plan(in).String() == Plan(other).String() {
		t.Error("a backend less gives the same rules")
	}
	other.Services[1].Backends = in.Services[1].Backends
	other.Services[1].Ports = []Port{{Published: 9000, Protocol: cluster.TCP, Targets: at(5001, in.Services[1].Backends...)}}
	if Plan(in).String() == Plan(other).String() {
		t.Error("another target port gives the same rules")
	}
}

// What a planner remembers must not show.
func TestPlannerForgetsWhatChanged(t *testing.T) {
	const node = "node 192.168.1.20 eth0 10.77.1.0/24\n"
	const first = node + "service web 10.77.255.2 80:8080/tcp,53:53/udp 10.77.1.3 10.77.2.3\nservice app 10.77.255.3 81:80/tcp 10.77.1.4\n"
	var p Planner
	for _, text := range []string{
		first,
		strings.Replace(first, "10.77.2.3", "10.77.3.3", 1),
		strings.Replace(first, "80:8080", "80:8081", 1),
		strings.Replace(first, "80:8080", "82:8080", 1),
		strings.Replace(first, "53/udp", "53/tcp", 1),
		strings.Replace(first, ",53:53/udp", "", 1),
		strings.Replace(first, "255.2", "255.4", 1),
		strings.Replace(first, " 10.77.1.3 10.77.2.3", "", 1),
		strings.Replace(first, "web", "zoo", 1),
		node,
	} {
		p.Plan(parseInput(t, first))
		if got, want := p.Plan(parseInput(t, text)).String(), Plan(parseInput(t, text)).String(); got != want {
			t.Errorf("of\n%sit plans\n%swant\n%s", text, got, want)
		}
	}
	for _, change := range []func(s *Service){
		func(s *Service) { s.Backends[0] = netip.MustParseAddr("10.77.9.9") },
		func(s *Service) { s.Ports[0].Published = 99 },
		func(s *Service) { s.Ports[0].Targets[0] = netip.MustParseAddrPort("10.77.9.9:99") },
	} {
		in := parseInput(t, first)
		var p Planner
		p.Plan(in)
		change(&in.Services[0])
		if got, want := p.Plan(in).String(), Plan(in).String(); got != want {
			t.Errorf("an input that was changed in place is planned as\n%swant\n%s", got, want)
		}
	}
}

// Values that come from other nodes end up in rules that root runs.
func TestHostileValuesDoNotBecomeRules(t *testing.T) {
	in := parseInput(t, `
node 192.168.1.20 eth0 10.77.1.0/24
peer 2 192.168.1.21 02:00:00:00:00:02 10.77.2.0/24
service web 10.77.255.2 80:8080/tcp 10.77.1.3
`)
	in.Peers[0].MAC = "02:00:00:00:00:02 -j ACCEPT\n-A INPUT"
	in.Services[0].Name = "web\n-A INPUT -j ACCEPT\n"
	in.Services[0].Ports[0].Protocol = "tcp -j ACCEPT\n"
	got := Plan(in).String()
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "-A ") && !strings.HasPrefix(line, "-A "+Prefix) {
			t.Errorf("a rule of a chain that is not ours: %s", line)
		}
	}
	if strings.Contains(got, "mac-source") || strings.Contains(got, "dport 80 ") {
		t.Errorf("a peer without a proper MAC or a port without a proper protocol has rules:\n%s", got)
	}
}

func TestMark(t *testing.T) {
	seen := map[uint32]bool{0: true}
	for i := range MaxIndex + 1 {
		m, ok := Mark(i)
		if !ok || seen[m] || m&^MarkMask != 0 {
			t.Fatalf("mark of peer %d is %#x, %v", i, m, ok)
		}
		seen[m] = true
	}
	for _, i := range []int{-1, MaxIndex + 1} {
		if m, ok := Mark(i); ok {
			t.Errorf("peer %d has mark %#x", i, m)
		}
	}
}
