package cluster

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPoolIsCutWithoutOverlap(t *testing.T) {
	for _, text := range []string{DefaultPool, "10.0.0.0/12", "192.168.16.0/20"} {
		p, err := ParsePool(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.VirtualIPs().Overlaps(p.Subnet(p.Nodes())) || !p.VirtualIPs().Overlaps(p.Subnet(p.Nodes()+1)) {
			t.Errorf("%s: the last node's %s and the virtual %s do not touch", p, p.Subnet(p.Nodes()), p.VirtualIPs())
		}
		for i := 1; i <= p.Nodes(); i++ {
			if got, ok := p.Index(p.Subnet(i)); !ok || got != i || !p.Prefix().Overlaps(p.Subnet(i)) {
				t.Fatalf("%s: subnet %d is %s, whose index is %d, %v", p, i, p.Subnet(i), got, ok)
			}
		}
		for _, n := range []uint32{0, 253, 254, 1 << 30} {
			a := p.VirtualIP(n)
			if last := a.As4()[3]; !p.VirtualIPs().Contains(a) || last == 0 || last == 255 {
				t.Errorf("%s: virtual address %d is %s", p, n, a)
			}
		}
	}
}

func TestParsePoolRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"": "IPv4 network", "10.77.0.0": "IPv4 network", "fd00::/48": "IPv4 network", "10.0.0.0/8": "/12 to /20",
		"10.77.0.0/24": "/12 to /20", "10.77.1.0/16": "its network is 10.77.0.0/16", "8.8.0.0/16": "private",
	} {
		if _, err := ParsePool(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePool(%q) = %v, want %q", text, err, want)
		}
	}
}

func TestChoicesAvoidWhatIsTaken(t *testing.T) {
	p, err := ParsePool("10.77.0.0/20")
	if err != nil {
		t.Fatal(err)
	}
	taken := map[int]bool{}
	for range p.Nodes() {
		index := p.ChooseSubnet("node", taken)
		if index < 1 || index > p.Nodes() || taken[index] {
			t.Fatalf("chose %d with %v taken", index, taken)
		}
		taken[index] = true
	}
	if index := p.ChooseSubnet("node", taken); index != 0 {
		t.Errorf("chose %d though all are taken", index)
	}
	addresses := map[netip.Addr]bool{}
	for range 254 {
		a := p.ChooseVirtualIP("greeters", addresses)
		if !p.VirtualIPs().Contains(a) || addresses[a] {
			t.Fatalf("chose %s again", a)
		}
		addresses[a] = true
	}
	if a := p.ChooseVirtualIP("greeters", addresses); a.IsValid() {
		t.Errorf("chose %s though all are taken", a)
	}
}
