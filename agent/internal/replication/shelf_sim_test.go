//go:build !race

package replication

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/state"
)

// pushPull is how often each of 200 nodes tells another all that it knows of the members: memberlist's minute, made
// longer for so many.
const pushPull = 4 * time.Minute

// A change reaches all of 200 nodes within a second, and within three where one packet in ten is lost. Then it is quiet.
func TestTwoHundredNodes(t *testing.T) {
	onShelf(t, 200, 20, func(t *testing.T, s *shelf) {
		// serf takes the first event that comes after a join for one from before it; the digests bring what it was.
		if err := s.pis[0].Publish(s.pis[0].put(t, "service/first", service(0))); err != nil {
			t.Fatal(err)
		}
		s.within(t, 10*time.Second, "all have the first change", s.equal)
		for i, test := range []struct {
			loss  float64
			limit time.Duration
		}{{0, time.Second}, {0, time.Second}, {0.1, 3 * time.Second}, {0.1, 3 * time.Second}} {
			s.set(func() { s.loss = test.loss })
			p := s.pis[1+i*len(s.pis)/4]
			began := time.Now()
			held, err := p.Write(t.Context(), p.put(t, fmt.Sprintf("service/new%d", i), service(i)))
			if err != nil || held.Holders != 3 {
				t.Errorf("held by %+v, %v", held, err)
			}
			s.within(t, 20*time.Second, "all have it", s.equal)
			took := time.Since(began)
			t.Logf("%.0f %% loss: %s until all have a change", 100*test.loss, took)
			if took > test.limit {
				t.Errorf("at %.0f %% loss a change took %s, more than %s", 100*test.loss, took, test.limit)
			}
		}
		s.set(func() { s.loss = 0 })
		time.Sleep(2 * time.Second)
		packets := s.rate(5*time.Second, func(r *radio) int64 { return r.sent.Load() })
		a, b := s.pis[0], s.pis[1]
		before := a.radio.poured.Load() + b.radio.poured.Load()
		if _, err := a.gossip.Join([]netip.AddrPort{b.radio.at}); err != nil {
			t.Fatal(err)
		}
		// Each begins one push/pull in that time, and answers one.
		streams := float64(a.radio.poured.Load()+b.radio.poured.Load()-before) / pushPull.Seconds()
		t.Logf("idle: %.0f bytes a second, and %.0f by push/pull", packets, streams)
		if packets+streams > 2000 {
			t.Errorf("an idle node sends %.0f bytes a second", packets+streams)
		}
	})
}

// What an idle node sends is digests, not state: it hardly grows with the number of services, be they ever so new.
func TestIdleTrafficDoesNotGrowWithTheServices(t *testing.T) {
	var rates []float64
	for _, services := range []int{10, 100, 400} {
		onShelf(t, 5, 0, func(t *testing.T, s *shelf) {
			for i := range services {
				p := s.pis[i%5]
				if err := p.Publish(p.put(t, fmt.Sprintf("service/web%d", i), service(i))); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			s.within(t, 10*time.Second, "all have the services", s.equal)
			time.Sleep(10 * time.Second)
			average := s.rate(2*time.Minute, func(r *radio) int64 { return r.sent.Load() + r.poured.Load() })
			t.Logf("%d services: %.0f bytes a second", services, average)
			rates = append(rates, average)
		})
	}
	if rates[2] > 2000 {
		t.Errorf("an idle node sends %.0f bytes a second", rates[2])
	}
	if rates[2] > 2*rates[0] {
		t.Errorf("40 times the services make %.1f times the traffic", rates[2]/rates[0])
	}
}

// In an hour in which nothing happens, nothing is written to a card, and nothing is exchanged.
func TestIdleHourWritesNothing(t *testing.T) {
	onShelf(t, 3, 10, func(t *testing.T, s *shelf) {
		var before []int
		for _, p := range s.pis {
			before = append(before, p.disk.written())
		}
		time.Sleep(time.Hour)
		for i, p := range s.pis {
			if p.disk.written() != before[i] || before[i] == 0 {
				t.Errorf("%d writes in an hour, after %d", p.disk.written()-before[i], before[i])
			}
		}
		if !s.equal() {
			t.Error("not equal")
		}
	})
}

// Two and three of five write for half a minute without the others. When the network heals, all have all of it.
func TestPartitionHeals(t *testing.T) {
	onShelf(t, 5, 5, func(t *testing.T, s *shelf) {
		s.set(func() { s.side[s.pis[0].radio.at], s.side[s.pis[1].radio.at] = 1, 1 })
		s.within(t, 10*time.Second, "the sides miss one another", func() bool {
			return len(s.pis[0].Ready()) == 1 && len(s.pis[4].Ready()) == 2
		})
		for i := range 20 {
			for _, n := range []int{0, 4} {
				key := s.pis[n].put(t, fmt.Sprintf("service/side%d", i%(4+n)), service(100*i+n))
				held, err := s.pis[n].Write(t.Context(), key)
				if want := map[int]Held{0: {2, 2}, 4: {3, 3}}[n]; err != nil || held != want {
					t.Errorf("held by %+v, %v", held, err)
				}
			}
			if _, _, err := s.pis[1].store.Delete(fmt.Sprintf("service/web%d", i%5)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Second)
		s.set(func() { clear(s.side) })
		took := s.within(t, 5*time.Second, "all are equal again", s.equal)
		t.Logf("equal after %s", took)
		for i := range 8 {
			if r, ok := s.pis[2].store.Get(fmt.Sprintf("service/side%d", i)); !ok {
				t.Errorf("%s is lost", r.Key)
			}
		}
		for _, p := range s.pis[1:] {
			if a, b := s.pis[0].store.List(""), p.store.List(""); len(a) != len(b) {
				t.Errorf("%d and %d records", len(a), len(b))
			}
		}
	})
}

// The power goes right after the command said done: two more have it on their cards, and when all power is lost and
// only those two come back, it is there.
func TestPowerCutOfTheWriter(t *testing.T) {
	onShelf(t, 5, 2, func(t *testing.T, s *shelf) {
		writer := s.pis[2]
		s.set(func() { s.loss = 1 }) // no gossip helps
		key := writer.put(t, "service/new", service(1))
		held, err := writer.Write(t.Context(), key)
		writer.off()
		if err != nil || held != (Held{3, 3}) {
			t.Fatalf("held by %+v, %v", held, err)
		}
		holders := 0
		for i, p := range s.pis {
			p.off()
			again, err := state.New(fmt.Sprintf("after%d", i), p.disk.read(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := again.Get(key); ok {
				holders++
			}
		}
		if holders != 3 {
			t.Errorf("on %d cards", holders)
		}
	})
}

// The peers vanish in the middle of a write: it says so, in time.
func TestPeersVanishDuringAWrite(t *testing.T) {
	onShelf(t, 4, 2, func(t *testing.T, s *shelf) {
		for _, p := range s.pis[1:] {
			s.set(func() { s.side[p.radio.at] = 1 })
		}
		began := time.Now() // the gossip has not noticed yet
		held, err := s.pis[0].Write(t.Context(), s.pis[0].put(t, "service/new", service(1)))
		if took := time.Since(began); err != nil || held != (Held{1, 3}) || took > handOver+100*time.Millisecond {
			t.Errorf("held by %+v, %v, after %s", held, err, took)
		}
		// Alone for good it is done when it is on this card, for there is nobody else to hold it.
		s.within(t, 15*time.Second, "the others are missed", func() bool { return len(s.pis[0].Ready()) == 0 })
		held, err = s.pis[0].Write(t.Context(), s.pis[0].put(t, "service/newer", service(2)))
		if err != nil || held != (Held{1, 1}) {
			t.Errorf("alone: held by %+v, %v", held, err)
		}
	})
}

// A peer whose card is full does not count, and another one is asked in its stead. When there is room, it has it, too.
func TestFullCardOfAPeer(t *testing.T) {
	onShelf(t, 4, 2, func(t *testing.T, s *shelf) {
		fill := func(full bool, pis ...*pi) {
			for _, p := range pis {
				p.disk.mu.Lock()
				p.disk.full = full
				p.disk.mu.Unlock()
			}
		}
		fill(true, s.pis[1])
		held, err := s.pis[0].Write(t.Context(), s.pis[0].put(t, "service/new", service(1)))
		if err != nil || held != (Held{3, 3}) {
			t.Errorf("one full: held by %+v, %v", held, err)
		}
		fill(true, s.pis[2])
		held, err = s.pis[0].Write(t.Context(), s.pis[0].put(t, "service/newer", service(2)))
		if err != nil || held != (Held{2, 3}) {
			t.Errorf("two full: held by %+v, %v", held, err)
		}
		fill(false, s.pis...)
		time.Sleep(saveAgain + time.Second)
		for i, p := range s.pis {
			onCard, err := state.New("after", p.disk.read(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"service/new", "service/newer"} {
				if _, ok := onCard.Get(key); !ok {
					t.Errorf("%s is not on card %d", key, i)
				}
			}
		}
	})
}
