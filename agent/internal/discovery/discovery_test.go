package discovery

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/grandcat/zeroconf"
)

func TestNodesFindEachOther(t *testing.T) {
	const iface = "lo" // multicast works on it
	want := []Found{
		{ID: "aaaa", Cluster: "abcd", Address: netip.MustParseAddrPort("192.0.2.1:7946")},
		{ID: "bbbb", Cluster: "efgh", Was: "abcd,ijkl", Address: netip.MustParseAddrPort("192.0.2.2:7000")},
	}
	for _, f := range want {
		a, err := Announce(Self{Found: f, Interface: iface})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
	}
	var got []Found
	for range 3 { // mDNS may lose a packet
		if err := Look(context.Background(), iface, func(f Found) { got = append(got, f) }); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(got, want[0]) && slices.Contains(got, want[1]) {
			return
		}
	}
	t.Fatalf("found %v, want %v", got, want)
}

func TestReadRefusesJunk(t *testing.T) {
	good := func() *zeroconf.ServiceEntry {
		e := zeroconf.NewServiceEntry("x", serviceType, domain)
		e.Port, e.Text, e.AddrIPv4 = 7946, []string{"id=x", "cluster=y"}, []net.IP{net.IPv4(192, 0, 2, 1)}
		return e
	}
	if _, ok := read(good()); !ok {
		t.Fatal("a good answer was refused")
	}
	for name, spoil := range map[string]func(*zeroconf.ServiceEntry){
		"no address": func(e *zeroconf.ServiceEntry) { e.AddrIPv4 = nil },
		"port 0":     func(e *zeroconf.ServiceEntry) { e.Port = 0 },
		"port 70000": func(e *zeroconf.ServiceEntry) { e.Port = 70000 },
		"no id":      func(e *zeroconf.ServiceEntry) { e.Text = []string{"cluster=y"} },
		"long id":    func(e *zeroconf.ServiceEntry) { e.Text = []string{"id=" + string(make([]byte, 65))} },
		"bad ip":     func(e *zeroconf.ServiceEntry) { e.AddrIPv4 = []net.IP{{1, 2}} },
	} {
		e := good()
		spoil(e)
		if f, ok := read(e); ok {
			t.Errorf("%s: taken as %+v", name, f)
		}
	}
}

func TestFormerly(t *testing.T) {
	f := Found{Was: "abcd,ijkl"}
	if !f.Formerly("abcd") || !f.Formerly("ijkl") || f.Formerly("abcd,ijkl") || f.Formerly("jkl") {
		t.Error("it takes a part for the whole, or the other way round")
	}
	if (Found{}).Formerly("abcd") {
		t.Error("it was something before")
	}
}
