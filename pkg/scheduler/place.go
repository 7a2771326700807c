package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// place gives a node to every task of the service that has none, as far as nodes fit.
func (s *service) place(p *pass) {
	if s.global() {
		s.placeGlobal(p)
		return
	}
	for _, t := range s.tasks {
		if t.node != nil {
			continue
		}
		avoid := s.avoided(t)
		n, _ := s.best(p, t.Slot, avoid)
		if n == nil {
			// The filters do not depend on the slot: what does not fit now, fits for no other slot either.
			return
		}
		s.settle(t, n)
		t.Avoid = avoid
	}
}

// placeGlobal gives a task to every node that fits and has none. Where that is no node at all, one task
// without a node stands in the plan to carry the reason.
func (s *service) placeGlobal(p *pass) {
	for _, n := range s.candidates(p) {
		if s.perNode[n.index] == 0 && s.room(n) == fits {
			t := newTask(0)
			s.settle(t, n)
			s.tasks = append(s.tasks, t)
		}
	}
	if len(s.tasks) == 0 {
		s.tasks = append(s.tasks, newTask(0))
	}
}

// settle makes a task of the present spec on the node. The attempt is above every one that the service has
// used up, so the task's ID is one that no container of the service has had.
func (s *service) settle(t *task, n *node) {
	s.assign(t, n)
	attempt := max(t.Attempt, s.retired) + 1
	t.Task = cluster.Task{
		ID:          taskID(s.ID, t.Slot, n.ID, attempt),
		Slot:        t.Slot,
		Node:        n.ID,
		SpecVersion: s.SpecVersion,
		Attempt:     attempt,
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
// CPU, whichever is scarcer. Counting the new task in prefers the larger of two empty nodes. A division of two
// floats is rounded alike on every processor; a sum of products might not be.
func (s *service) share(n *node) float64 {
	after := n.reserved.Add(s.Spec.Resources.Reservations)
	return max(part(after.MemoryBytes, n.Capacity.MemoryBytes), part(after.NanoCPUs, n.Capacity.NanoCPUs))
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
