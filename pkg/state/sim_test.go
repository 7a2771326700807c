package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// world is a cluster in memory, on the virtual time of synctest: nodes that write, talk, crash and come back
// over a network that loses, delays, repeats and reorders. It also knows what must be true.
type world struct {
	nodes []*simNode
	guard bool

	mu       sync.Mutex
	side     map[string]int // the side of the partition that a node is on
	loss     float64
	best     map[string]Record // of each key, the newest record that was ever saved by its writer
	problems []string
}

// simNode is a machine: its disk outlives its store.
type simNode struct {
	*world
	id string

	mu     sync.Mutex
	rng    *rand.Rand
	store  *Store // nil while off
	disk   Snapshot
	report string // what it last said about itself in this life
	quiet  bool   // writes nothing
	off    context.CancelFunc
	done   chan struct{}
}

var errLost = errors.New("lost")

func newWorld(seed uint64, n int, guard bool) *world {
	w := &world{guard: guard, side: make(map[string]int), best: make(map[string]Record), loss: 0.1}
	for i := range n {
		id := fmt.Sprintf("n%02d", i)
		w.nodes = append(w.nodes, &simNode{world: w, id: id, rng: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	return w
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.problems) < 20 {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

// wrote remembers a record that is safe on its writer's disk.
func (w *world) wrote(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, ok := w.best[r.Key]; !ok || newer(r, old) {
		w.best[r.Key] = r
	}
}

// reachable tells whether a packet gets through.
func (w *world) reachable(from, to *simNode, dice float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.side[from.id] == w.side[to.id] && dice >= w.loss
}

func (w *world) setLoss(loss float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = loss
}

func (w *world) split(side func(i int) int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, n := range w.nodes {
		w.side[n.id] = side(i)
	}
}

func (n *simNode) dice() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.Float64()
}

// live returns the store of the present life, nil while off.
func (n *simNode) live() *Store {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store
}

func (n *simNode) powerOn() {
	store, err := New(n.id, n.disk)
	if err != nil {
		n.problem("%s does not come up: %v", n.id, err)
		return
	}
	store.trusting = !n.guard
	ctx, cancel := context.WithCancel(context.Background())
	n.mu.Lock()
	n.store, n.off, n.done, n.report = store, cancel, make(chan struct{}), ""
	n.mu.Unlock()
	go func() {
		defer close(n.done)
		n.run(ctx, store)
	}()
}

// powerOff ends the node's life at once. Packets that it has sent are still on their way.
func (n *simNode) powerOff() {
	n.mu.Lock()
	n.store = nil
	off, done := n.off, n.done
	n.mu.Unlock()
	off()
	<-done
}

// run is what an agent does with its store.
func (n *simNode) run(ctx context.Context, store *Store) {
	for {
		pause := time.Duration(500+3000*n.dice()) * time.Millisecond
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if !store.hasNode(n.id) {
			n.write(store, cluster.NodeKey(n.id), "{}")
		}
		n.mu.Lock()
		quiet := n.quiet
		n.mu.Unlock()
		if !quiet {
			n.work(store)
		}
		if peer := n.nodes[int(n.dice()*float64(len(n.nodes)))]; peer != n {
			n.exchange(ctx, store, peer)
		}
		if n.dice() < 0.5 {
			n.save(store)
		}
		// The leader raises the horizon, and now and then somebody who takes himself for it.
		if n.dice() < 0.05 || n.leads() && n.dice() < 0.3 {
			for _, r := range store.RaiseHorizon() {
				n.purged(r)
			}
		}
	}
}

func (s *Store) hasNode(id string) bool { return has(s, cluster.NodeKey(id)) }

func (n *simNode) leads() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	for _, other := range n.nodes {
		if other == n {
			return true
		}
		if n.side[other.id] == n.side[n.id] && other.live() != nil {
			return false
		}
	}
	return false
}

// work makes at most one random write.
func (n *simNode) work(store *Store) {
	key := fmt.Sprintf("service/s%02d", int(n.dice()*20))
	switch d := n.dice(); {
	case d < 0.25:
		n.write(store, key, fmt.Sprintf(`"%s %d"`, n.id, int(n.dice()*1e9)))
	case d < 0.45:
		n.remove(store, key)
	case d < 0.6:
		n.write(store, cluster.PlanKey(key[8:]), fmt.Sprint(int(n.dice()*1e9)))
	case d < 0.8:
		n.write(store, cluster.ReportKey(n.id), fmt.Sprint(int(n.dice()*1e9)))
	}
}

func (n *simNode) write(store *Store, key, value string) {
	n.commit(store, func() (Record, error) { return store.Put(key, []byte(value)) })
}

func (n *simNode) remove(store *Store, key string) {
	n.commit(store, func() (Record, error) {
		r, _, err := store.Delete(key)
		return r, err
	})
}

// commit writes, saves and spreads, in that order, as the API does.
func (n *simNode) commit(store *Store, do func() (Record, error)) {
	n.mu.Lock()
	if n.store != store {
		n.mu.Unlock()
		return
	}
	r, err := do()
	if err != nil || r.Key == "" {
		n.mu.Unlock()
		if err != nil {
			n.problem("%s: %v", n.id, err)
		}
		return
	}
	n.disk = save(store)
	if r.Key == cluster.ReportKey(n.id) {
		n.report = string(r.Value)
	}
	n.mu.Unlock()
	n.wrote(r)
	n.gossip(store, r.Key)
}

func (n *simNode) save(store *Store) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.store == store {
		n.disk = save(store)
	}
}

// gossip hands the records to everybody as a serf event would: late, twice, or never.
func (n *simNode) gossip(store *Store, keys ...string) {
	b, ok := EncodeDelta(store.Delta(keys...), 1000)
	if !ok {
		return
	}
	for _, peer := range n.nodes {
		for range 2 {
			d := n.dice()
			if peer == n || d < 0.3 {
				continue
			}
			delay := time.Duration(d * float64(time.Second))
			if d > 0.95 {
				delay = time.Duration((d - 0.95) * 20 * float64(3*time.Minute))
			}
			time.AfterFunc(delay, func() {
				to := peer.live()
				if to == nil || !n.reachable(n, peer, 1) {
					return
				}
				delta, err := DecodeDelta(b)
				if err != nil {
					n.problem("delta: %v", err)
					return
				}
				o, err := to.Merge(delta)
				peer.after(to, o, err)
			})
		}
	}
}

func (n *simNode) exchange(ctx context.Context, store *Store, peer *simNode) {
	o, err := store.Exchange(func(m Message) (Message, error) {
		b := m.Encode()
		if !n.hop(ctx, peer) {
			return Message{}, errLost
		}
		to := peer.live()
		if to == nil {
			return Message{}, errLost
		}
		reply, err := peer.receive(to, b)
		if err != nil {
			return Message{}, err
		}
		if d := n.dice(); d < 0.05 { // The same packet once more, much later.
			time.AfterFunc(time.Duration(d*20*float64(time.Minute)), func() {
				if to := peer.live(); to != nil {
					_, _ = peer.receive(to, b)
				}
			})
		}
		if !n.hop(ctx, peer) {
			return Message{}, errLost
		}
		return DecodeMessage(reply)
	})
	if errors.Is(err, errLost) {
		err = nil
	}
	n.after(store, o, err)
}

// receive is a node's end of a packet of an exchange.
func (n *simNode) receive(store *Store, b []byte) ([]byte, error) {
	m, err := DecodeMessage(b)
	if err != nil {
		return nil, err
	}
	reply, o, err := store.Receive(m)
	n.after(store, o, err)
	if size := len(reply.Encode()); size > MaxMessage {
		n.problem("a message of %d bytes", size)
	}
	return reply.Encode(), err
}

func (n *simNode) hop(ctx context.Context, peer *simNode) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(n.dice() * float64(200*time.Millisecond))):
	}
	return n.reachable(n, peer, n.dice())
}

// after checks what a message did to a node and spreads what it made.
func (n *simNode) after(store *Store, o Outcome, err error) {
	if err != nil {
		n.problem("%s: %v", n.id, err)
	}
	for _, r := range o.Dropped {
		n.purged(r)
	}
	for _, r := range o.Spread {
		n.save(store)
		n.wrote(r)
		n.gossip(store, r.Key)
	}
}

// purged complains if a node gives up what it wrote itself and nothing has replaced. What others give up of its
// it will bring back.
func (n *simNode) purged(r Record) {
	n.world.mu.Lock()
	best := n.best[r.Key]
	n.world.mu.Unlock()
	if !r.Deleted && r.Version.Node == n.id && best.Version == r.Version {
		n.problem("%s dropped its %s %v, which nothing has replaced", n.id, r.Key, r.Version)
	}
}

// calm ends all trouble and waits until all nodes are equal and the last tombstone is gone.
func (w *world) calm() {
	w.split(func(int) int { return 0 })
	w.setLoss(0)
	for _, n := range w.nodes {
		n.mu.Lock()
		n.quiet = true
		on := n.store != nil
		n.mu.Unlock()
		if !on {
			n.powerOn()
		}
	}
	deadline := time.Now().Add(30 * time.Minute)
	for !w.settled() {
		if time.Now().After(deadline) {
			w.problem("not equal after half an hour of calm")
			for _, n := range w.nodes[:min(3, len(w.nodes))] {
				w.problem("%s: %v, acks %v, %v", n.id, n.store.Digest(), n.store.acks, everything(n.store))
			}
			break
		}
		time.Sleep(5 * time.Second)
	}
	w.check()
	for _, n := range w.nodes {
		n.powerOff()
	}
}

func (w *world) settled() bool {
	first := w.nodes[0].live()
	for _, n := range w.nodes {
		if s := n.live(); s.Digest() != first.Digest() || tombstones(s) > 0 || !s.hasNode(n.id) {
			return false
		}
	}
	return true
}

// check compares the end with what was written: of each key, every node holds the newest record, or none if that
// was a tombstone.
func (w *world) check() {
	want := everything(w.nodes[0].store)
	for _, n := range w.nodes[1:] {
		if got := everything(n.store); !slices.Equal(got, want) {
			w.problem("%s holds\n%v\nand %s\n%v", w.nodes[0].id, want, n.id, got)
		}
	}
	w.mu.Lock()
	best := w.best
	w.mu.Unlock()
	for key, b := range best {
		kind, id := cluster.SplitKey(key)
		r, held := w.nodes[0].store.Get(key)
		switch {
		case kind == cluster.KindReport:
			// It must be what its node said last, not what the greatest version says: a crash forgets versions.
			i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.id == id })
			if said := w.nodes[i].report; said != "" && said != string(r.Value) {
				w.problem("%s holds %q, its node said %q", key, r.Value, said)
			}
		case b.Deleted && held:
			w.problem("%s was deleted by %v and is back as %v", key, b.Version, r.Version)
		case !b.Deleted && (!held || r.Version != b.Version || string(r.Value) != string(b.Value)):
			w.problem("%s: wrote %v %s, ended with %v %s", key, b.Version, b.Value, r.Version, r.Value)
		}
	}
}

// simulate runs a story in a world and returns what went wrong.
func simulate(t *testing.T, seed uint64, n int, guard bool, story func(w *world, rng *rand.Rand)) (problems []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, n, guard)
		for _, node := range w.nodes {
			node.powerOn()
		}
		story(w, random(seed))
		w.calm()
		time.Sleep(5 * time.Minute) // Until the last late packet has gone nowhere.
		problems = w.problems
	})
	return problems
}

// troubles: partitions, crashes and loss, in which no node is ever forgotten. No write may be lost.
func troubles(w *world, rng *rand.Rand) {
	for range 6 + 60/len(w.nodes) {
		time.Sleep(time.Duration(rng.IntN(40)) * time.Second)
		w.setLoss(rng.Float64() * 0.4)
		switch rng.IntN(4) {
		case 0: // A while of peace, in which horizons rise.
			w.split(func(int) int { return 0 })
			for _, n := range w.nodes {
				if n.live() == nil {
					n.powerOn()
				}
			}
			time.Sleep(time.Duration(rng.IntN(120)) * time.Second)
		case 1:
			w.split(func(int) int { return 0 })
		case 2:
			w.split(func(int) int { return rng.IntN(2) })
		}
		for range 1 + len(w.nodes)/5 {
			n := w.nodes[rng.IntN(len(w.nodes))]
			if n.live() == nil {
				n.powerOn()
			} else {
				n.powerOff()
			}
		}
	}
}

func TestSimulationConverges(t *testing.T) {
	for n, usual := range map[int]int{3: 8, 10: 2, 50: 1} {
		for _, seed := range seeds(t, usual) {
			t.Run(fmt.Sprintf("%d nodes, seed %d", n, seed), func(t *testing.T) {
				for _, p := range simulate(t, seed, n, true, troubles) {
					t.Error(p)
				}
			})
		}
	}
}

// drawer: a node goes into a drawer and is forgotten; what it knew is deleted, and the tombstones go; it comes
// back with its old disk, into a cluster that goes on as before.
func drawer(w *world, rng *rand.Rand) {
	w.setLoss(0.05)
	time.Sleep(time.Minute)
	gone := w.nodes[1+rng.IntN(len(w.nodes)-1)]
	gone.mu.Lock()
	gone.quiet = true
	gone.mu.Unlock()
	// Forgetting a node means to give up what it alone knows, so let it tell everything first.
	w.setLoss(0)
	time.Sleep(2 * time.Minute)
	gone.save(gone.live())
	gone.powerOff()
	leader := w.nodes[0]
	leader.remove(leader.live(), cluster.NodeKey(gone.id))
	leader.remove(leader.live(), cluster.ReportKey(gone.id))
	for i := range 20 {
		leader.remove(leader.live(), fmt.Sprintf("service/s%02d", i))
	}
	for i := range 20 {
		time.Sleep(time.Second)
		leader.write(leader.live(), fmt.Sprintf("service/s%02d", 20+i%4), fmt.Sprint(i))
	}
	time.Sleep(8 * time.Minute)
	gone.powerOn()
	time.Sleep(time.Minute)
}

func TestSimulationOfTheDrawer(t *testing.T) {
	for n, usual := range map[int]int{3: 4, 10: 1} {
		for _, seed := range seeds(t, usual) {
			t.Run(fmt.Sprintf("%d nodes, seed %d", n, seed), func(t *testing.T) {
				for _, p := range simulate(t, seed, n, true, drawer) {
					t.Error(p)
				}
			})
		}
	}
}

// Without the guard the drawer brings the dead back. If it did not, the simulation would show nothing.
func TestSimulationSeesAMissingGuard(t *testing.T) {
	for _, seed := range seeds(t, 3) {
		problems := simulate(t, seed, 3, false, drawer)
		back := func(p string) bool { return strings.Contains(p, "is back as") }
		if !slices.ContainsFunc(problems, back) {
			t.Errorf("seed %d: nothing came back without the guard; problems: %v", seed, problems)
		}
	}
}
