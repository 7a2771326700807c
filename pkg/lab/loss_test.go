package lab

import (
	"fmt"
	"strings"
	"testing"
)

// TestLoss counts the packets that arrive, each way.
func TestLoss(t *testing.T) {
	l := startLab(t, 2)
	const other = "-A PREROUTING -i lo -j ACCEPT" // somebody's own rule
	run(t, l, "pi2", "iptables -t raw "+other, 0)
	// arrived sends 400 datagrams and returns how many were not lost.
	arrived := func(from, to, address string) (n int) {
		run(t, l, to, "iptables -F INPUT; iptables -A INPUT -p udp --dport 9 -j DROP", 0)
		run(t, l, from, "bash -c 'for i in {1..400}; do echo x >/dev/udp/"+address+"/9; done'", 0)
		out := run(t, l, to, "iptables -nvxL INPUT | awk '/dpt:9/ { print $1 }'", 0)
		if _, err := fmt.Sscan(out, &n); err != nil {
			t.Fatalf("%s counted %q", to, out)
		}
		return n
	}
	check := func(what string, low, high int) {
		t.Helper()
		if n := arrived("pi1", "pi2", "192.168.77.12"); n < low || n > high {
			t.Errorf("%s: %d of 400 came in, want %d to %d", what, n, low, high)
		}
		if n := arrived("pi2", "pi1", "192.168.77.11"); n < low || n > high {
			t.Errorf("%s: %d of 400 went out, want %d to %d", what, n, low, high)
		}
	}
	for _, c := range []struct{ percent, low, high int }{{0, 400, 400}, {50, 140, 260}, {100, 0, 0}, {0, 400, 400}, {10, 310, 395}} {
		if err := l.Loss(t.Context(), "pi2", c.percent); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("a loss of %d %%", c.percent), c.low, c.high)
		if got := l.List()[1].Loss; got != c.percent {
			t.Errorf("list says a loss of %d %%, want %d", got, c.percent)
		}
	}
	if got := run(t, l, "pi2", "iptables-save -t raw", 0); !strings.Contains(got, other) {
		t.Errorf("the other rule is gone:\n%s", got)
	}
	// It lasts through a power cut, and can be changed meanwhile.
	cycle := func(meanwhile int) {
		t.Helper()
		if err := l.PowerOff("pi2"); err != nil {
			t.Fatal(err)
		}
		if err := l.Loss(t.Context(), "pi2", meanwhile); err != nil {
			t.Fatal(err)
		}
		if err := l.PowerOn(t.Context(), "pi2"); err != nil {
			t.Fatal(err)
		}
	}
	cycle(10)
	check("10 % after a power cut", 310, 395)
	cycle(0)
	check("mended while off", 400, 400)
	for _, percent := range []int{-1, 101} {
		if err := l.Loss(t.Context(), "pi2", percent); err == nil || !strings.Contains(err.Error(), "want 0 to 100") {
			t.Errorf("a loss of %d: error %v", percent, err)
		}
	}
}
