package loadbalance

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// many is a node that answers for a thousand services, every fourth also by udp, with the ports and the addresses that a
// shuffle gives them, and as many containers of its own as it can have.
func many(t *testing.T, dense bool) Input {
	in := parseInput(t, "node 192.168.1.20 eth0 10.77.1.0/24")
	in.Pool, in.Subnet = netip.MustParsePrefix("110.177.0.0/16"), netip.MustParsePrefix("110.177.101.0/24")
	in.VirtualIPs = netip.MustParsePrefix("110.177.240.0/20")
	random := rand.New(rand.NewSource(1))
	ports, addresses := random.Perm(65535), random.Perm(4096)
	for i := range 1000 {
		port := uint16(ports[i] + 1)
		if dense {
			port = uint16(20000 + i)
		}
		backend := netip.AddrFrom4([4]byte{110, 177, 101, byte(1 + i%254)})
		s := Service{
			Name: fmt.Sprintf("s%d", i), Backends: []netip.Addr{backend},
			VirtualIP: netip.AddrFrom4([4]byte{110, 177, 240 + byte(addresses[i]>>8), byte(addresses[i])}),
			Ports:     []Port{{Published: port, Protocol: cluster.TCP, Targets: at(80, backend)}},
		}
		if i%4 == 0 {
			s.Ports = append(s.Ports, Port{Published: port, Protocol: cluster.UDP, Targets: at(80, backend)})
		}
		in.Services = append(in.Services, s)
	}
	return in
}

// packet is the first one of a connection, as far as the rules of a dispatch look at it.
type packet struct {
	proto    string
	from, to netip.Addr
	port     int
	compared int // with how many rules
	ends     []string
	unread   string // a rule that this test does not understand
}

// walk takes the packet through a chain, as the kernel does.
func (p *packet) walk(chains map[string]Chain, name string) {
	for _, rule := range chains[name].Rules {
		p.compared++
		f := strings.Fields(rule)
		matches, target := true, ""
		for i := 0; i+1 < len(f); i += 2 {
			switch value := f[i+1]; f[i] {
			case "-p":
				matches = matches && value == p.proto
			case "-s":
				matches = matches && netip.MustParsePrefix(value).Contains(p.from)
			case "-d":
				matches = matches && netip.MustParsePrefix(value).Contains(p.to)
			case "--dport":
				first, last, isRange := strings.Cut(value, ":")
				if !isRange {
					last = first
				}
				a, _ := strconv.Atoi(first)
				b, _ := strconv.Atoi(last)
				matches = matches && a <= p.port && p.port <= b
			case "-j":
				target = value
			case "-m", "--comment":
			default:
				p.unread = rule
			}
		}
		switch {
		case !matches:
		case chains[target].Name == "":
			p.ends = append(p.ends, rule)
			return
		case strings.Contains(strings.Join(chains[target].Rules, ""), "DNAT"):
			p.ends = append(p.ends, target)
			return
		default:
			if p.walk(chains, target); len(p.ends) > 0 {
				return
			}
		}
	}
}

func natChains(t *testing.T, in Input) map[string]Chain {
	t.Helper()
	chains := map[string]Chain{}
	for _, table := range Plan(in).Tables {
		for _, c := range table.Chains {
			if len(c.Name) > 28 {
				t.Errorf("chain name %s is longer than the kernel takes", c.Name)
			}
			if table.Name != "nat" {
				continue
			}
			if _, twice := chains[c.Name]; twice {
				t.Fatalf("two chains are named %s", c.Name)
			}
			chains[c.Name] = c
		}
	}
	return chains
}

// A thousand services must not cost a packet a thousand comparisons, and each must be found.
func TestManyServices(t *testing.T) {
	for _, dense := range []bool{true, false} {
		in := many(t, dense)
		chains := natChains(t, in)
		worst := 0
		find := func(chain, want string, p packet) {
			t.Helper()
			p.walk(chains, chain)
			worst = max(worst, p.compared)
			var ends []string
			if want != "" {
				ends = []string{want}
			}
			if !slices.Equal(p.ends, ends) || p.unread != "" {
				t.Fatalf("%s %s→%s:%d leads to %q, want %q (%s)", p.proto, p.from, p.to, p.port, p.ends, ends, p.unread)
			}
		}
		tcp := map[int]bool{}
		udp := map[int]bool{}
		for _, s := range in.Services {
			for _, p := range s.Ports {
				find("PISWARM-PORTS", fmt.Sprintf("PISWARM-%s-%d", strings.ToUpper(string(p.Protocol)), p.Published),
					packet{proto: string(p.Protocol), port: int(p.Published)})
				map[cluster.Protocol]map[int]bool{cluster.TCP: tcp, cluster.UDP: udp}[p.Protocol][int(p.Published)] = true
			}
			find("PISWARM-VIPS", "PISWARM-VIP-"+s.VirtualIP.String(), packet{to: s.VirtualIP})
		}
		for port := 0; port < 1<<16; port += 13 {
			if !tcp[port] {
				find("PISWARM-PORTS", "", packet{proto: "tcp", port: port})
			}
			if !udp[port] {
				find("PISWARM-PORTS", "", packet{proto: "udp", port: port})
			}
		}
		t.Logf("dense %t: at most %d comparisons", dense, worst)
		if worst > 64 {
			t.Errorf("dense %t: %d comparisons", dense, worst)
		}
		worst = 0
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{110, 177, 101, byte(i)})
			want := fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", a, a)
			if i == 0 || i == 255 {
				want = ""
			}
			find("PISWARM-SELF", want, packet{from: a, to: a})
			find("PISWARM-SELF", "", packet{from: a, to: a.Next()})
		}
		if worst > 32 {
			t.Errorf("%d comparisons for a container that reaches itself", worst)
		}
		if n := len(chains["PISWARM-POSTROUTING"].Rules); n > 4 {
			t.Errorf("every connection is compared with %d rules when it leaves", n)
		}
	}
}

// One service more or less, or one backend, changes the few chains that are about it.
func TestOneChangeOfManyServices(t *testing.T) {
	for _, dense := range []bool{true, false} {
		in := many(t, dense)
		before := natChains(t, in)
		for i := 0; i < len(in.Services); i += 43 {
			less := in
			less.Services = slices.Delete(slices.Clone(in.Services), i, i+1)
			after := natChains(t, less)
			lines := 0
			for name := range maps.Keys(before) {
				if !slices.Equal(before[name].Rules, after[name].Rules) {
					lines += 1 + len(after[name].Rules)
				}
			}
			for name, c := range after {
				if before[name].Name == "" {
					lines += 1 + len(c.Rules)
				}
			}
			if lines > 3*fanOut {
				t.Errorf("dense %t: without %s, %d lines are written anew", dense, in.Services[i].Name, lines)
			}
		}
	}
}

func TestBlock(t *testing.T) {
	for _, want := range []string{"10.77.240.0/20", "10.77.240.16/28", "10.77.240.7/32", "0.0.0.0/0"} {
		p := netip.MustParsePrefix(want)
		first := binary.BigEndian.Uint32(p.Addr().AsSlice())
		if got := block(first, first|uint32(1<<(32-p.Bits())-1)); got != p {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
