package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// A backend that goes from one of a thousand services changes that service's chains, and the last one that a service
// has changes those that lead there.
func TestOneBackendOfManyServices(t *testing.T) {
	in := loadbalance.Input{
		Interface: "eth0", Address: netip.MustParseAddr("192.168.1.20"), Bridge: "piswarm0",
		Subnet: netip.MustParsePrefix("10.77.1.0/24"), Pool: netip.MustParsePrefix("10.77.0.0/16"), VirtualIPs: netip.MustParsePrefix("10.77.240.0/20"),
	}
	with := func(i int, last ...byte) loadbalance.Service {
		s := loadbalance.Service{Name: fmt.Sprintf("s%d", i), VirtualIP: netip.AddrFrom4([4]byte{10, 77, 240 + byte(i>>8), byte(i)})}
		port := loadbalance.Port{Published: uint16(20000 + i), Protocol: cluster.TCP}
		for _, b := range last {
			a := netip.AddrFrom4([4]byte{10, 77, 2, b})
			s.Backends, port.Targets = append(s.Backends, a), append(port.Targets, netip.AddrPortFrom(a, 80))
		}
		s.Ports = []loadbalance.Port{port}
		return s
	}
	for i := range 1000 {
		in.Services = append(in.Services, with(i, 2, 3))
	}
	k := newFake()
	f := newFirewall(k)
	var p loadbalance.Planner
	apply := func(s loadbalance.Service) []string {
		t.Helper()
		in.Services[500] = s
		if err := f.Apply(context.Background(), p.Plan(in)); err != nil {
			t.Fatal(err)
		}
		var chains []string
		for line := range strings.Lines(k.log[len(k.log)-1]) {
			if name, ok := strings.CutPrefix(line, ":"); ok {
				chains = append(chains, strings.Fields(name)[0])
			}
		}
		slices.Sort(chains)
		return chains
	}
	apply(with(500, 2, 3))
	own := []string{"PISWARM-TCP-20500", "PISWARM-VIP-10.77.241.244"}
	for _, change := range []struct {
		to    loadbalance.Service
		lines int // at most
		own   bool
	}{{with(500, 2), 10, true}, {with(500, 4), 10, true}, {with(500), 50, false}, {with(500, 2, 3), 50, false}} {
		chains := apply(change.to)
		text := k.log[len(k.log)-1]
		if n := strings.Count(text, "\n"); n > change.lines {
			t.Errorf("%d lines for backends %v:\n%.2000s", n, change.to.Backends, text)
		}
		for _, chain := range own {
			if !slices.Contains(chains, chain) {
				t.Errorf("backends %v: chain %s is not written", change.to.Backends, chain)
			}
		}
		if change.own && len(chains) != len(own) {
			t.Errorf("backends %v: it writes %d chains, want %v", change.to.Backends, len(chains), own)
		}
	}
}
