//go:build !race

package gossip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// shelf starts n members with the IDs m1…mn at at(1)…at(n), and waits until all see all ready and know their links.
func shelf(t *testing.T, net *network, n int) []*Gossip {
	t.Helper()
	var all []*Gossip
	for i := 1; i <= n; i++ {
		all = append(all, virtual(t, net, fmt.Sprintf("m%d", i), at(i), Config{}))
	}
	for _, g := range all[1:] {
		join(t, g, at(1))
	}
	within(t, 5*time.Second, "all see all", func() bool { return whole(all) })
	time.Sleep(time.Duration(n) * 4 * time.Second)
	return all
}

func whole(all []*Gossip) bool {
	for _, g := range all {
		if len(g.Members()) != len(all) || down(g) != "" {
			return false
		}
	}
	return true
}

// down lists who is not ready.
func down(g *Gossip) (ids string) {
	for _, m := range g.Members() {
		if m.Condition != cluster.Ready {
			ids += fmt.Sprintf("%s=%s ", m.ID, m.Condition)
		}
	}
	return ids
}

// accused counts the trials under way.
func accused(all []*Gossip) (n int) {
	for _, g := range all {
		g.mu.Lock()
		n += len(g.trials)
		g.mu.Unlock()
	}
	return n
}

// calm watches for a time, in which no living member may be seen down, and returns in how many looks one was accused.
func calm(t *testing.T, all []*Gossip, length time.Duration) (accusations int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < length; time.Sleep(50 * time.Millisecond) {
		if accused(all) > 0 {
			accusations++
		}
		for _, g := range all {
			if ids := down(g); ids != "" {
				t.Fatalf("after %s %s sees %s", time.Since(began), g.asker.id, ids)
			}
		}
	}
	return accusations
}

func TestThePowerIsCut(t *testing.T) {
	for _, size := range []int{2, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var net network
				all := shelf(t, &net, size)
				victim := all[size-1]
				victim.Close()
				took := within(t, 2500*time.Millisecond, "all see it down", func() bool {
					for _, g := range all[:size-1] {
						if down(g) != victim.asker.id+"=down " {
							return false
						}
					}
					return true
				})
				t.Logf("%d members: %s", size, took)
				// It comes back where it was.
				again := virtual(t, &net, victim.asker.id, victim.asker.address, Config{})
				join(t, again, at(1))
				all[size-1] = again
				within(t, 3*time.Second, "all see it ready", func() bool { return whole(all) })
			})
		})
	}
}

func TestLostPacketsAccuseButKillNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		all := shelf(t, &net, 4)
		net.set(func() { net.loss = func(_, _ netip.AddrPort) float64 { return 0.25 } })
		if n := calm(t, all, 5*time.Minute); n == 0 {
			t.Error("nobody was ever accused: this tested nothing")
		} else {
			t.Logf("somebody was accused in %d looks", n)
		}
	})
}

func TestSlowAnswersKillNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		all := shelf(t, &net, 3)
		slow := at(3)
		net.set(func() {
			net.delay = func(from, to netip.AddrPort) time.Duration {
				if from != slow && to != slow {
					return 200 * time.Microsecond
				}
				return 200*time.Millisecond + time.Duration(rand.Int64N(int64(800*time.Millisecond)))
			}
		})
		time.Sleep(time.Minute) // a wire that suddenly is none may deceive once
		if n := calm(t, all, 5*time.Minute); n == 0 {
			t.Error("nobody was ever accused: this tested nothing")
		}
	})
}

func TestOneThatStandsStillForAMomentIsNotDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		all := shelf(t, &net, 3)
		for range 10 {
			net.set(func() { net.loss = cut(at(3)) })
			time.Sleep(900 * time.Millisecond)
			net.set(func() { net.loss = nil })
			calm(t, all, 5*time.Second)
		}
	})
}

// cut is the loss of a network in which these addresses and the others do not hear one another.
func cut(these ...netip.AddrPort) func(from, to netip.AddrPort) float64 {
	apart := map[netip.AddrPort]bool{}
	for _, a := range these {
		apart[a] = true
	}
	return func(from, to netip.AddrPort) float64 {
		if apart[from] != apart[to] {
			return 1
		}
		return 0
	}
}

func TestAHealedPartitionIsOneClusterAgain(t *testing.T) {
	for _, c := range []struct {
		name        string
		size, apart int
		length      time.Duration
	}{
		{"two and three, half a minute", 5, 2, 30 * time.Second},
		{"one and one, half a minute", 2, 1, 30 * time.Second},
		{"one and one, 30 hours", 2, 1, 30 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var net network
				all := shelf(t, &net, c.size)
				var apart []netip.AddrPort
				for i := 1; i <= c.apart; i++ {
					apart = append(apart, at(i))
				}
				net.set(func() { net.loss = cut(apart...) })
				time.Sleep(c.length)
				for i, g := range all {
					missing := 0
					for _, m := range g.Members() {
						if m.Condition == cluster.Down {
							missing++
						}
					}
					if want := map[bool]int{true: c.size - c.apart, false: c.apart}[i < c.apart]; missing != want {
						t.Errorf("%s misses %d, want %d: %s", g.asker.id, missing, want, conditions(g))
					}
				}
				net.set(func() { net.loss = nil })
				t.Log(within(t, 5*time.Second, "one cluster", func() bool { return whole(all) }))
			})
		})
	}
}

func TestAddressesThatTheCallerKnowsAreKnockedAt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		a := virtual(t, &net, "a", at(1), Config{})
		known := func() []netip.AddrPort { return []netip.AddrPort{at(9), at(1), at(2)} }
		b := virtual(t, &net, "b", at(2), Config{Known: known})
		c := virtual(t, &net, "c", at(3), Config{Known: known})
		within(t, 5*time.Second, "all together", func() bool { return whole([]*Gossip{a, b, c}) })
	})
}
