package lab

import (
	"net/netip"
	"strings"
	"testing"
)

// TestReaddress gives a host another address, which it and the others have from its next start on.
func TestReaddress(t *testing.T) {
	l := startLab(t, 2)
	named := func(on string) string {
		return strings.Fields(run(t, l, on, "getent hosts pi2", 0))[0]
	}
	mac := run(t, l, "pi2", "cat /sys/class/net/eth0/address", 0)
	if err := l.Readdress("pi2", netip.MustParseAddr("192.168.77.99")); err != nil {
		t.Fatal(err)
	}
	if got := l.List()[1].Address; got != "192.168.77.12" || named("laptop") != got {
		t.Errorf("before its next start pi2 is at %s, by name at %s", got, named("laptop"))
	}
	if err := l.PowerOff("pi2"); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "pi2"); err != nil {
		t.Fatal(err)
	}
	if got := l.List()[1].Address; got != "192.168.77.99" {
		t.Errorf("pi2 is at %s", got)
	}
	for _, on := range []string{"laptop", "pi1", "pi2"} {
		if got := named(on); got != "192.168.77.99" {
			t.Errorf("%s finds pi2 at %s", on, got)
		}
	}
	if got := run(t, l, "pi2", "ip -4 -o addr show eth0", 0); !strings.Contains(got, "192.168.77.99/24") || strings.Contains(got, "192.168.77.12/") {
		t.Errorf("addresses of pi2: %s", got)
	}
	if got := run(t, l, "pi2", "cat /sys/class/net/eth0/address", 0); got != mac {
		t.Errorf("its MAC was %s and is %s", mac, got)
	}
	if !answers(t, l, "pi1", "pi2") {
		t.Error("pi1 does not reach pi2")
	}
	for addr, want := range map[string]string{
		"192.168.77.11":  "pi1 has it",
		"192.168.77.2":   "laptop has it",
		"192.168.77.1":   "the router has it",
		"192.168.77.0":   "want one of",
		"192.168.77.255": "want one of",
		"192.168.78.5":   "want one of",
		"fe80::1":        "want one of",
	} {
		if err := l.Readdress("pi2", netip.MustParseAddr(addr)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", addr, err, want)
		}
	}
	// The address that pi2 had is free for another.
	if err := l.Readdress("pi1", netip.MustParseAddr("192.168.77.12")); err != nil {
		t.Error(err)
	}
}
