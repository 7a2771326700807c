//go:build !race

package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// shelf is a cluster of real parts, state, replication and gossip, in virtual time on a network in memory.
type shelf struct {
	*air
	pis []*pi
}

// pi is one of its nodes. All but its disk is lost at a power cut.
type pi struct {
	*Replicator
	shelf  *shelf
	store  *state.Store
	gossip *gossip.Gossip
	radio  *radio
	disk   *card
	off    func()
}

// card is a disk that counts what is written, as package snapshot would: what is there already is not written again.
type card struct {
	mu     sync.Mutex
	bytes  []byte
	writes int
	full   bool
}

var errFull = errors.New("no space left")

func (c *card) Save(s state.Snapshot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := s.Encode()
	switch {
	case bytes.Equal(b, c.bytes):
		return nil
	case c.full:
		return errFull
	}
	c.bytes = b
	c.writes++
	return nil
}

func (c *card) read(t *testing.T) (s state.Snapshot) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes != nil {
		var err error
		if s, err = state.DecodeSnapshot(c.bytes); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (c *card) written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// powered starts a Pi with that card.
func (s *shelf) powered(t *testing.T, i int, disk *card) *pi {
	t.Helper()
	id := fmt.Sprintf("%016x", 0x5eed0000+i)
	store, err := state.New(id, disk.read(t))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), cluster.GossipPort)
	p := &pi{shelf: s, store: store, disk: disk, radio: s.radio(at)}
	p.Replicator = New(Config{
		Store: store, Disk: disk, Peers: p, MaxBroadcast: gossip.MaxMessage, Log: slog.New(slog.DiscardHandler),
	})
	p.gossip, err = gossip.Start(gossip.Config{
		ID: id, Key: bytes.Repeat([]byte{1}, 32), Address: at.Addr(), Port: int(at.Port()), Name: fmt.Sprintf("pi%d", i),
		Log: slog.New(slog.DiscardHandler), Payload: p.Payload, Transport: p.radio, Known: s.addresses,
		OnAck: func(peer string, payload []byte, _ time.Duration) { p.Acknowledged(peer, payload) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = p.Run(ctx) })
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case message := <-p.gossip.Messages():
				p.Heard(message)
			case <-p.gossip.Changed():
			}
		}
	})
	p.off = sync.OnceFunc(func() {
		disk.mu.Lock()
		disk.full = true // what the loop saves when it ends, a power cut would not
		disk.mu.Unlock()
		p.radio.Shutdown()
		cancel()
		p.gossip.Close()
		work.Wait()
	})
	t.Cleanup(func() { p.off() })
	return p
}

// addresses are those that the Pis remember of one another.
func (s *shelf) addresses() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []netip.AddrPort
	for at := range s.on {
		all = append(all, at)
	}
	return all
}

func (p *pi) Ready() []string {
	var ready []string
	for _, m := range p.gossip.Members() {
		if m.Condition == cluster.Ready && m.ID != p.store.Self() {
			ready = append(ready, m.ID)
		}
	}
	return ready
}

func (p *pi) Exchange(ctx context.Context, peer string, message []byte) ([]byte, error) {
	for _, other := range p.shelf.pis {
		if other.store.Self() == peer {
			return p.radio.call(ctx, p.store.Self(), other, message)
		}
	}
	return nil, fmt.Errorf("no node %s", peer)
}

func (p *pi) Broadcast(message []byte) error { return p.gossip.Broadcast(message) }

// onShelf runs a test on a shelf of n Pis that know one another and hold the same: their node records, that many
// services with plans, and a report each.
func onShelf(t *testing.T, n, services int, test func(t *testing.T, s *shelf)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(30 * time.Second) }) // runs last: timeouts of what was under way
		s := &shelf{air: &air{on: map[netip.AddrPort]*radio{}, side: map[netip.AddrPort]int{}, loss: 1}}
		for i := range n {
			s.pis = append(s.pis, s.powered(t, i, &card{}))
		}
		s.fill(t, services)
		s.meet(t)
		s.set(func() { s.loss = 0 })
		s.within(t, time.Minute, "all ready and equal", func() bool { return s.ready() && s.equal() })
		test(t, s)
	})
}

// fill puts the same into all stores, without a packet, and makes them members of one another.
func (s *shelf) fill(t *testing.T, services int) {
	t.Helper()
	var all []state.Delta
	put := func(p *pi, key, value string) {
		if _, err := p.store.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		all = append(all, p.store.Delta(key))
	}
	tell := func() {
		for _, p := range s.pis {
			for _, d := range all {
				if _, err := p.store.Merge(d); err != nil {
					t.Fatal(err)
				}
			}
			p.store.Saved(p.store.Snapshot())
		}
		all = nil
	}
	for _, p := range s.pis {
		put(p, cluster.NodeKey(p.store.Self()), `{"availability":"active","role":"manager"}`)
	}
	tell()
	for i, p := range s.pis {
		peer := s.pis[(i+1)%len(s.pis)]
		_, err := p.store.Exchange(func(m state.Message) (state.Message, error) {
			answer, _, err := peer.store.Receive(m)
			return answer, err
		})
		if err != nil || p.store.Stranger() {
			t.Fatalf("no member: %v", err)
		}
		for _, p := range []*pi{p, peer} {
			all = append(all, p.store.Delta(cluster.NodeKey(p.store.Self())))
		}
		tell()
	}
	for _, p := range s.pis {
		put(p, cluster.ReportKey(p.store.Self()), `{"node":{"hostname":"pi","address":"192.168.1.20"},"tasks":[]}`)
	}
	for i := range services {
		put(s.pis[0], fmt.Sprintf("service/web%d", i), service(i))
		put(s.pis[0], fmt.Sprintf("plan/web%d", i), `{"tasks":[{"id":"k3j2zq8w1m","slot":1,"node":"000000005eed0001"}]}`)
	}
	tell()
}

// service is one of usual size.
func service(i int) string {
	return fmt.Sprintf(`{"id":"x7c2mfpq90ab","image":"docker.io/library/web:%d","digest":"sha256:%064x","replicas":2,`+
		`"ports":[{"published":%d,"target":80,"protocol":"tcp","mode":"ingress"}]}`, i, i, 8000+i)
}

// meet makes them members. Only streams get through meanwhile, for news of each of 200 to each of 200 by gossip is
// much work and not what is looked at.
func (s *shelf) meet(t *testing.T) {
	t.Helper()
	for range 2 {
		for _, p := range s.pis[1:] {
			if n, err := p.gossip.Join([]netip.AddrPort{s.pis[0].radio.at}); n != 1 {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(10 * time.Second)
}

func (s *shelf) ready() bool {
	for _, p := range s.pis {
		if len(p.Ready()) != len(s.pis)-1 {
			return false
		}
	}
	return true
}

func (s *shelf) equal() bool {
	for _, p := range s.pis[1:] {
		if p.store.Digest() != s.pis[0].store.Digest() {
			return false
		}
	}
	return true
}

// within waits for something and returns how long it took.
func (s *shelf) within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return time.Since(began)
		}
		if time.Since(began) >= limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// rate returns how many bytes a Pi sends in a second, on average, while that time passes.
func (s *shelf) rate(during time.Duration, count func(*radio) int64) float64 {
	total := func() (n int64) {
		for _, p := range s.pis {
			n += count(p.radio)
		}
		return n
	}
	before := total()
	time.Sleep(during)
	return float64(total()-before) / during.Seconds() / float64(len(s.pis))
}

// put writes a record on a Pi and returns its key.
func (p *pi) put(t *testing.T, key, value string) string {
	t.Helper()
	if _, err := p.store.Put(key, []byte(value)); err != nil {
		t.Fatal(err)
	}
	return key
}
