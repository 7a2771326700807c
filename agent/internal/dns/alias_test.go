package dns

import (
	"net/netip"
	"testing"
)

// Containers know the aliases of the networks of their services, and no others.
func TestAliases(t *testing.T) {
	address := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 1, last}) }
	vip := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 240, last}) }
	n := index([]Service{
		{Name: "shop_web", VirtualIP: vip(1), Aliases: map[string][]string{"shop": {"web"}, "front": nil}, Askers: []netip.Addr{address(1)}},
		{Name: "shop_db", VirtualIP: vip(2), Tasks: []netip.Addr{address(2)}, Aliases: map[string][]string{"shop": {"DB"}}, Askers: []netip.Addr{address(2)}},
		{Name: "blog_db", VirtualIP: vip(3), Aliases: map[string][]string{"blog": {"db"}}, Askers: []netip.Addr{address(3)}},
		{Name: "blog_more", VirtualIP: vip(4), Aliases: map[string][]string{"blog": {"db"}}},
		{Name: "db", VirtualIP: vip(5)},
		{Name: "proxy", VirtualIP: vip(6), Aliases: map[string][]string{"front": {"proxy"}}, Askers: []netip.Addr{address(6)}},
	})
	for _, test := range []struct {
		name  string
		asker netip.Addr
		want  []netip.Addr // none: the name is not known
	}{
		{"db.", address(1), []netip.Addr{vip(2)}},
		{"db.piswarm.", address(1), []netip.Addr{vip(2)}},
		{"tasks.db.", address(1), []netip.Addr{address(2)}},
		{"web.", address(2), []netip.Addr{vip(1)}},
		{"web.", address(3), nil},
		{"web.", address(6), nil}, // of the other network of shop_web
		{"db.", address(3), []netip.Addr{vip(3), vip(4)}},
		{"db.", address(6), []netip.Addr{vip(5)}},
		{"db.", address(9), []netip.Addr{vip(5)}},
		{"shop_db.", address(9), []netip.Addr{vip(2)}},
		{"proxy.", address(1), []netip.Addr{vip(6)}},
	} {
		got, ok := n.find(test.name, test.asker)
		if ok != (test.want != nil) || len(got) != len(test.want) {
			t.Errorf("%s asked by %s: %v %t, want %v", test.name, test.asker, got, ok, test.want)
			continue
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%s asked by %s: %v, want %v", test.name, test.asker, got, test.want)
			}
		}
	}
}
