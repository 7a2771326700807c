//go:build !race

package gossip

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// sees tells whether all see a member in a condition at an address.
func sees(all []*Gossip, id string, condition cluster.Condition, address netip.AddrPort) bool {
	for _, g := range all {
		if !slices.ContainsFunc(g.Members(), func(m cluster.Member) bool {
			return m.ID == id && m.Condition == condition && m.Address == address.Addr()
		}) {
			return false
		}
	}
	return true
}

func TestOneThatLeavesSaysSoAndMayComeBackAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		at   netip.AddrPort
	}{{"to the same address", at(3)}, {"to another address", at(4)}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var net network
				all := shelf(t, &net, 3)
				began := time.Now()
				if err := all[2].Leave(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 1200*time.Millisecond {
					t.Errorf("leaving took %s", took)
				}
				all[2].Close()
				if !sees(all[:2], "m3", cluster.Left, at(3)) {
					t.Errorf("%s| %s", conditions(all[0]), conditions(all[1]))
				}
				time.Sleep(100 * time.Millisecond)
				all[2] = virtual(t, &net, "m3", c.at, Config{})
				join(t, all[2], at(1))
				within(t, time.Second, "all see it ready", func() bool { return sees(all, "m3", cluster.Ready, c.at) })
				calm(t, all, time.Minute)
			})
		})
	}
}

// told collects what OnConflict says.
type told struct {
	mu  sync.Mutex
	all []netip.AddrPort
}

func (o *told) hear(a netip.AddrPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, a)
}

func (o *told) said() []netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

func TestOneThatMovesIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		var conflicts told
		a := virtual(t, &net, "a", at(1), Config{OnConflict: conflicts.hear})
		b := virtual(t, &net, "b", at(2), Config{OnConflict: conflicts.hear})
		x := virtual(t, &net, "x", at(3), Config{})
		join(t, b, at(1))
		join(t, x, at(1))
		all := []*Gossip{a, b}
		within(t, time.Second, "all see it", func() bool { return sees(all, "x", cluster.Ready, at(3)) })
		time.Sleep(20 * time.Second)
		x.Close()
		x = virtual(t, &net, "x", at(4), Config{OnConflict: conflicts.hear})
		join(t, x, at(1))
		t.Log(within(t, 3*time.Second, "all see it where it is", func() bool { return sees(all, "x", cluster.Ready, at(4)) }))
		time.Sleep(time.Minute)
		if said := conflicts.said(); len(said) > 0 {
			t.Errorf("it was taken for two: %v", said)
		}
	})
}

func TestTwoWithOneIDAreNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var net network
		var conflicts, own told
		a := virtual(t, &net, "a", at(1), Config{OnConflict: conflicts.hear})
		x := virtual(t, &net, "x", at(2), Config{OnConflict: own.hear})
		join(t, x, at(1))
		time.Sleep(10 * time.Second)
		clone := virtual(t, &net, "x", at(3), Config{})
		join(t, clone, at(1))
		within(t, 5*time.Second, "it is noticed", func() bool { return slices.Contains(conflicts.said(), at(3)) })
		if !sees([]*Gossip{a}, "x", cluster.Ready, at(2)) {
			t.Errorf("the first is not where it was: %+v", a.Members())
		}
		join(t, clone, at(2))
		within(t, 5*time.Second, "the first notices, too", func() bool { return slices.Contains(own.said(), at(3)) })
		for range 100 {
			join(t, clone, at(1))
			time.Sleep(100 * time.Millisecond)
		}
		if said := conflicts.said(); len(said) > 1 {
			t.Errorf("told %d times in 10 s", len(said))
		}
	})
}
