package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
	// lasting says that disks lose nothing that was saved, so that each saved write must survive. Otherwise only
	// those must that two more nodes have saved: these are what a command calls done.
	lasting bool

	mu       sync.Mutex
	side     map[string]int // the side of the partition that a node is on
	loss     float64
	best     map[string]Record   // of each key, the newest record that must survive
	perhaps  map[string][]Record // those that may be lost, or win
	problems []string
}

func newWorld(seed uint64, n int, guard, lasting bool) *world {
	w := &world{
		guard: guard, lasting: lasting, loss: 0.1,
		side: make(map[string]int), best: make(map[string]Record), perhaps: make(map[string][]Record),
	}
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

// wrote remembers a record that is sure to be on as many disks, its writer's first.
func (w *world) wrote(r Record, disks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if disks == 0 || !w.lasting && disks < 3 {
		w.perhaps[r.Key] = append(w.perhaps[r.Key], r)
		return
	}
	if old, ok := w.best[r.Key]; !ok || newer(r, old) {
		w.best[r.Key] = r
	}
}

// connected tells whether the two are on one side of whatever parts the network.
func (w *world) connected(from, to *simNode) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.side[from.id] == w.side[to.id]
}

// arrives tells whether a packet gets through.
func (w *world) arrives(from, to *simNode, dice float64) bool {
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

func (w *world) heal() { w.split(func(int) int { return 0 }) }

// allOn powers on whoever is off.
func (w *world) allOn() {
	for _, n := range w.nodes {
		if n.now() == nil {
			n.powerOn()
		}
	}
}

// calm ends all trouble and waits until all nodes are equal and the last tombstone is gone.
func (w *world) calm() {
	w.heal()
	w.setLoss(0)
	for _, n := range w.nodes {
		n.hush(true)
	}
	w.allOn()
	deadline := time.Now().Add(30 * time.Minute)
	for !w.settled() {
		if time.Now().After(deadline) {
			w.problem("not equal after half an hour of calm")
			for _, n := range w.nodes[:min(3, len(w.nodes))] {
				s := n.now().store
				w.problem("%s: %v, acks %v, %v", n.id, s.Digest(), s.acks, everything(s))
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
	first := w.nodes[0].now().store
	for _, n := range w.nodes {
		if s := n.now().store; s.Digest() != first.Digest() || tombstones(s) > 0 || !has(s, cluster.NodeKey(n.id)) {
			return false
		}
	}
	return true
}

// check compares the end with what was written: of each key, every node holds the newest record, or none if that
// was a tombstone.
func (w *world) check() {
	first := w.nodes[0].now().store
	want := everything(first)
	for _, n := range w.nodes[1:] {
		if got := everything(n.now().store); !slices.Equal(got, want) {
			w.problem("%s holds\n%v\nand %s\n%v", w.nodes[0].id, want, n.id, got)
		}
	}
	w.mu.Lock()
	best := w.best
	w.mu.Unlock()
	for key, b := range best {
		kind, id := cluster.SplitKey(key)
		r, held := first.Get(key)
		if !held {
			r = Record{Key: key, Deleted: true}
		}
		switch {
		case kind == cluster.KindReport:
			// It must be what its node said last, not what the greatest version says: a crash forgets versions.
			i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.id == id })
			if said := w.nodes[i].report; said != "" && said != string(r.Value) {
				w.problem("%s holds %q, its node said %q", key, r.Value, said)
			}
		case same(r, b) || slices.ContainsFunc(w.perhaps[key], func(p Record) bool { return newer(p, b) && same(r, p) }):
		case b.Deleted:
			w.problem("%s was deleted by %v and is back as %v", key, b.Version, r.Version)
		default:
			w.problem("%s: wrote %v %s, ended with %v %s", key, b.Version, b.Value, r.Version, r.Value)
		}
	}
}

// same tells whether a record that is held, or the lack of one, is what another one wanted.
func same(held, wanted Record) bool {
	if held.Deleted || wanted.Deleted {
		return held.Deleted && wanted.Deleted
	}
	return held.Version == wanted.Version && string(held.Value) == string(wanted.Value)
}

// story is what happens in a world.
type story struct {
	name    string
	lasting bool // see world
	tell    func(w *world, rng *rand.Rand)
}

// simulate runs a story in a world and returns what went wrong.
func simulate(t *testing.T, seed uint64, n int, guard bool, s story) (problems []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, n, guard, s.lasting)
		w.allOn()
		s.tell(w, random(seed))
		w.calm()
		time.Sleep(5 * time.Minute) // Until the last late packet has gone nowhere.
		problems = w.problems
	})
	return problems
}
