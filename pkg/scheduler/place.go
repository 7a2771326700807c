package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// place gives a node to every task of the service that has none or must leave its own, as far as nodes fit.
func (s *service) place(p *pass) {
	if s.global() {
		s.placeGlobal(p)
		return
	}
	full := false
	for _, t := range s.tasks {
		if t.node != nil && t.rank != departing && !t.node.Leaving || t.moving() {
			continue
		}
		avoid := s.avoided(t)
		if t.next != nil {
			avoid = s.avoided(t.next)
		}
		var n *node
		if !full {
			// The filters do not depend on the slot: what does not fit now, fits for no other slot either.
			n = s.bestWithout(p, t, avoid)
			full = n == nil
		}
		switch {
		case n == nil:
			s.unfit(p, t)
		case t.rank == departing:
			s.replace(p, t, n, avoid)
		default:
			s.abandon(t)
			if t.node != nil {
				s.release(t)
			}
			s.settle(p, t, n)
			t.Avoid = avoid
		}
	}
}

// bestWithout returns the best node for a task as if it had left its own already. That one never fits: it is the
// reason for leaving.
func (s *service) bestWithout(p *pass, t *task, avoid []string) *node {
	old := t.node
	if old != nil {
		s.release(t)
	}
	n, _ := s.best(p, t.Slot, avoid)
	if old != nil {
		s.assign(t, old)
	}
	return n
}

// unfit is for a task that fits nowhere else. On a node that merely shuts down it stays until the end; the node
// may be back in a minute.
func (s *service) unfit(p *pass, t *task) {
	s.abandon(t)
	if t.node != nil && !s.mayStay(t.node) {
		s.unplace(t)
		p.freed = true
	}
}

// placeGlobal gives a task to every node that fits and has none.
func (s *service) placeGlobal(p *pass) {
	for _, n := range s.candidates(p) {
		if s.perNode[n.index] == 0 && s.room(n) == fits {
			t := newTask(0)
			s.settle(p, t, n)
			s.tasks = append(s.tasks, t)
		}
	}
}

// settle makes a task of the present spec on the node. The attempt is above every one that the service has
// used up, so the task's ID is one that no container of the service has had; and should another leader have used
// up more, it is still none that a node has now.
func (s *service) settle(p *pass, t *task, n *node) {
	s.assign(t, n)
	t.rank, t.failing = unstarted, false
	attempt := max(t.Attempt, s.retired) + 1
	id := taskID(s.ID, t.Slot, n.ID, attempt)
	for _, taken := p.status[id]; taken; _, taken = p.status[id] {
		attempt++
		id = taskID(s.ID, t.Slot, n.ID, attempt)
	}
	t.Task = cluster.Task{
		ID: id, Slot: t.Slot, Node: n.ID, SpecVersion: s.SpecVersion, Attempt: attempt, Replaces: t.Replaces,
	}
}

// best returns the node that a slot should go to, nil where none fits, and whether it is not one to avoid.
func (s *service) best(p *pass, slot int, avoid []string) (n *node, fresh bool) {
	var best candidate
	for _, n := range s.candidates(p) {
		if s.room(n) != fits {
			continue
		}
		_, avoided := slices.BinarySearch(avoid, n.ID)
		c := candidate{node: n, avoided: avoided, share: s.share(n)}
		if best.node == nil || s.compare(slot, c, best) < 0 {
			best = c
		}
	}
	return best.node, !best.avoided
}

// avoided lists the nodes that failed this slot with the present spec; a new spec starts without prejudice.
func (s *service) avoided(t *task) []string {
	if t.SpecVersion != s.SpecVersion {
		return nil
	}
	return t.Avoid
}

// candidate is a node that fits, with what is dear to compute twice.
type candidate struct {
	*node
	avoided bool
	share   float64
}

// compare orders two nodes for a slot, the better one first.
func (s *service) compare(slot int, a, b candidate) int {
	if a.avoided != b.avoided {
		if a.avoided {
			return 1
		}
		return -1
	}
	if c := cmp.Compare(s.perNode[a.index], s.perNode[b.index]); c != 0 {
		return c
	}
	for i := range s.spread {
		if c := cmp.Compare(s.spread[i].at(a.node), s.spread[i].at(b.node)); c != 0 {
			return c
		}
	}
	// Tasks that reserve nothing still need something, so their number decides between equal shares.
	load := cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.tasks, b.tasks))
	if load != 0 {
		if s.Spec.Placement.Strategy == cluster.Binpack {
			return -load
		}
		return load
	}
	return cmp.Or(cmp.Compare(affinity(s, slot, b.node), affinity(s, slot, a.node)), cmp.Compare(a.ID, b.ID))
}

// share is the part of the node that would be reserved with one more task of the service: of memory or of
// CPU, whichever is scarcer. Counting the new task in prefers the larger of two empty nodes.
func (s *service) share(n *node) float64 {
	return shareOf(n.reserved.Add(s.Spec.Resources.Reservations), n.Capacity)
}

// shareOf is the part of the scarcer resource. A division of two floats is rounded alike on every processor; a sum
// of products might not be.
func shareOf(reserved, capacity cluster.Amount) float64 {
	return max(part(reserved.MemoryBytes, capacity.MemoryBytes), part(reserved.NanoCPUs, capacity.NanoCPUs))
}

func part(reserved, capacity int64) float64 {
	if capacity <= 0 {
		return 0
	}
	return float64(reserved) / float64(capacity)
}

// level counts the tasks of a service by the value that their nodes have for a spread preference. As in
// docker, a later preference counts within the values of the earlier ones, and nodes without the label are a
// group of their own.
type level struct {
	group []int // by node.index
	count []int // by group
}

func (l *level) add(n *node, delta int) { l.count[l.group[n.index]] += delta }

func (l *level) at(n *node) int { return l.count[l.group[n.index]] }

func spreadLevels(attributes []string, nodes []*node) []level {
	type key struct {
		parent int
		value  string
	}
	levels := make([]level, 0, len(attributes))
	parents := make([]int, len(nodes))
	for _, attr := range attributes {
		l := level{group: make([]int, len(nodes))}
		groups := map[key]int{}
		for i, n := range nodes {
			k := key{parents[i], n.Attribute(attr)}
			id, ok := groups[k]
			if !ok {
				id = len(groups)
				groups[k] = id
			}
			l.group[i] = id
		}
		l.count = make([]int, len(groups))
		parents = l.group
		levels = append(levels, l)
	}
	return levels
}
