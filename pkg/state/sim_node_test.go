package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// simNode is a machine: its disk outlives its lives.
type simNode struct {
	*world
	id string

	mu     sync.Mutex
	rng    *rand.Rand
	alive  *life    // nil while off
	disk   Snapshot // what it finds at the next power-on
	former Snapshot // the copy of it that was saved before
	report string   // what it last said about itself in this life
	quiet  bool     // writes nothing
	leaves bool     // has told the others that it goes
}

// life is a machine from power-on to power-off.
type life struct {
	*simNode
	store  *Store
	ctx    context.Context
	off    context.CancelFunc
	done   chan struct{}
	saving chan struct{} // of capacity one, full while a save is under way
}

var errLost = errors.New("lost")

func (n *simNode) dice() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.Float64()
}

// now returns the present life, nil while off.
func (n *simNode) now() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive
}

// hush makes the node write nothing more, or go on.
func (n *simNode) hush(quiet bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quiet = quiet
}

func (n *simNode) powerOn() {
	store, err := New(n.id, n.disk)
	if err != nil {
		n.problem("%s does not come up: %v", n.id, err)
		return
	}
	store.trusting = !n.guard
	ctx, off := context.WithCancel(context.Background())
	l := &life{
		simNode: n, store: store, ctx: ctx, off: off, done: make(chan struct{}), saving: make(chan struct{}, 1),
	}
	n.mu.Lock()
	n.alive, n.report, n.leaves = l, "", false
	n.mu.Unlock()
	go func() {
		defer close(l.done)
		l.run()
	}()
}

// powerOff ends the node's life at once. Packets that it has sent are still on their way.
func (n *simNode) powerOff() {
	n.mu.Lock()
	l := n.alive
	n.alive = nil
	n.mu.Unlock()
	l.off()
	<-l.done
}

// replaceDisk lets a node that is off find something else at its next power-on.
func (n *simNode) replaceDisk(s Snapshot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disk = s
}

func (n *simNode) copyDisk() Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.disk
}

// lasts waits, and tells whether the power stayed on.
func (l *life) lasts(d time.Duration) bool {
	select {
	case <-l.ctx.Done():
		return false
	case <-time.After(d):
		return l.ctx.Err() == nil
	}
}

// run is what an agent does with its store.
func (l *life) run() {
	for l.lasts(time.Duration(500+3000*l.dice()) * time.Millisecond) {
		l.mu.Lock()
		quiet, leaves := l.quiet, l.leaves
		l.mu.Unlock()
		if !leaves && !has(l.store, cluster.NodeKey(l.id)) {
			l.write(cluster.NodeKey(l.id), "{}")
		}
		if !quiet {
			l.work()
		}
		if peer := l.nodes[int(l.dice()*float64(len(l.nodes)))]; peer != l.simNode {
			l.exchange(peer)
		}
		if l.dice() < 0.5 {
			l.save()
		}
		// The leader raises the horizon, and now and then somebody who takes himself for it.
		if l.dice() < 0.05 || l.leads() && l.dice() < 0.3 {
			for _, r := range l.store.RaiseHorizon() {
				l.purged(r)
			}
		}
	}
}

func (l *life) leads() bool {
	for _, other := range l.nodes {
		if other == l.simNode {
			return true
		}
		if l.connected(l.simNode, other) && other.now() != nil {
			return false
		}
	}
	return false
}

// work makes at most one random write.
func (l *life) work() {
	key := fmt.Sprintf("service/s%02d", int(l.dice()*20))
	switch d := l.dice(); {
	case d < 0.25:
		l.write(key, fmt.Sprintf(`"%s %d"`, l.id, int(l.dice()*1e9)))
	case d < 0.45:
		l.remove(key)
	case d < 0.6:
		l.write(cluster.PlanKey(key[8:]), fmt.Sprint(int(l.dice()*1e9)))
	case d < 0.8:
		l.write(cluster.ReportKey(l.id), fmt.Sprint(int(l.dice()*1e9)))
	}
}

func (l *life) write(key, value string) {
	l.commit(func() (Record, error) { return l.store.Put(key, []byte(value)) })
}

func (l *life) remove(key string) {
	l.commit(func() (Record, error) {
		r, _, err := l.store.Delete(key)
		return r, err
	})
}

// commit writes, saves, spreads and hands over, in that order, as the API does.
func (l *life) commit(do func() (Record, error)) {
	l.mu.Lock()
	if l.alive != l {
		l.mu.Unlock()
		return
	}
	r, err := do()
	if err == nil && r.Key == cluster.ReportKey(l.id) {
		l.report = string(r.Value)
	}
	l.mu.Unlock()
	if err != nil {
		l.problem("%s: %v", l.id, err)
	}
	if err != nil || r.Key == "" {
		return
	}
	l.wrote(r, 0) // A save that is under way may bring it to the disk, whatever becomes of the next one.
	if !l.save() {
		return
	}
	l.wrote(r, 1)
	l.gossip(r.Key)
	if cluster.Persistent(r.Key) {
		if disks := 1 + l.handOver(r.Key); disks > 1 {
			l.wrote(r, disks)
		}
	}
}

// save puts on disk what the store holds now. A power cut before it is done leaves the disk as it was.
func (l *life) save() bool {
	select {
	case l.saving <- struct{}{}:
	case <-l.ctx.Done():
		return false
	}
	defer func() { <-l.saving }()
	snapshot := l.store.Snapshot()
	if !l.lasts(time.Duration(l.dice() * float64(50*time.Millisecond))) {
		return false
	}
	l.mu.Lock()
	on := l.alive == l
	if on {
		l.former, l.disk = l.disk, snapshot
	}
	l.mu.Unlock()
	if on {
		l.store.Saved(snapshot)
	}
	return on
}

// after checks what a message did to a node and spreads what it made.
func (l *life) after(o Outcome, err error) {
	if err != nil {
		l.problem("%s: %v", l.id, err)
	}
	for _, r := range o.Dropped {
		l.purged(r)
	}
	for _, r := range o.Spread {
		l.wrote(r, 0)
		if l.save() {
			l.wrote(r, 1)
			l.gossip(r.Key)
		}
	}
}

// purged complains if a node gives up what it wrote itself and nothing has replaced. What others give up of its
// it will bring back.
func (l *life) purged(r Record) {
	l.world.mu.Lock()
	best := l.best[r.Key]
	replaced := slices.ContainsFunc(l.perhaps[r.Key], func(p Record) bool { return newer(p, best) })
	l.world.mu.Unlock()
	if !r.Deleted && r.Version.Node == l.id && best.Version == r.Version && !replaced {
		l.problem("%s dropped its %s %v, which nothing has replaced", l.id, r.Key, r.Version)
	}
}
