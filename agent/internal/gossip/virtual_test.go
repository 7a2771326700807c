//go:build !race

package gossip

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// virtual starts a member of an in-memory network. It is closed at the latest when the test ends.
func virtual(t *testing.T, n *network, id string, address netip.AddrPort, cfg Config) *Gossip {
	t.Helper()
	cfg.ID, cfg.Key = id, bytes.Repeat([]byte{1}, 32)
	cfg.Address, cfg.Port = address.Addr(), int(address.Port())
	cfg.Transport, cfg.Log = n.host(address), slog.New(slog.DiscardHandler)
	g, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// bubble runs a test in virtual time. When it returns, every goroutine of the members must have ended: the bubble
// fails the test otherwise.
func bubble(t *testing.T, test func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // runs last: timeouts of what was under way
		test(t)
	})
}

// within waits for something and returns how long it took.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) >= limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

func addresses(all ...netip.AddrPort) []netip.AddrPort { return all }

func join(t *testing.T, g *Gossip, address netip.AddrPort) {
	t.Helper()
	if n, err := g.Join([]netip.AddrPort{address}); n != 1 || err != nil {
		t.Fatalf("Join = %d, %v", n, err)
	}
}

func TestMembersLiveInABubble(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n network
		a, b := virtual(t, &n, "a", at(1), Config{}), virtual(t, &n, "b", at(2), Config{})
		join(t, a, at(2))
		within(t, time.Second, "two members", func() bool { return conditions(b) == "a=ready b=ready " })
		if err := a.Broadcast([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got := <-b.Messages(); string(got) != "hello" {
			t.Errorf("b heard %q", got)
		}
		time.Sleep(time.Hour)
		a.Close()
		within(t, 5*time.Second, "a is seen down", func() bool { return conditions(b) == "a=down b=ready " })
	})
}
