package scheduler

import (
	"cmp"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// rebalance gives work to nodes that have been back for a while: one running task moves, in the whole cluster, and
// the next only when that one serves on its new node.
//
// It comes to an end. Take the sum of the squares of how many tasks each service has on each node, and, where two
// clusters have that in common, the sum of the squares of how many tasks each node has in all. A task of a service
// with x tasks on its node and y on the new one, of nodes with X and Y tasks in all, changes the former by
// 2(y-x+1), and if that is nothing, the latter by 2(Y-X+1). It moves only if x-y is 2 or more, which makes the
// former less, or if x-y is 1 and X-Y is 2 or more, which leaves the former and makes the latter less. A whole
// number that is not negative does not become less for ever.
func (p *pass) rebalance() {
	for _, s := range p.services {
		for _, t := range s.tasks {
			if t.next != nil && t.rank != departing && t.next.SpecVersion == t.SpecVersion {
				return // one such move is under way
			}
		}
	}
	for _, s := range p.services {
		if !s.mayRebalance() {
			continue
		}
		if t, n := s.politeMove(p); t != nil {
			s.replace(p, t, n, s.present, t.Avoid)
			return
		}
	}
}

// mayRebalance tells whether the service is one whose tasks may move for no need of their own: nothing ties them to
// their nodes, all of them serve, and none is being replaced.
func (s *service) mayRebalance() bool {
	if s.global() || s.job() || s.rolls() || s.Spec.Placement.Strategy == cluster.Binpack {
		return false
	}
	for _, m := range s.Spec.Container.Mounts {
		if m.Type != cluster.MountTmpfs {
			return false
		}
	}
	for _, port := range s.Spec.Ports {
		if port.Mode == cluster.PortHost {
			return false
		}
	}
	for _, t := range s.tasks {
		if t.rank != running || t.next != nil || t.node.Condition != cluster.Ready || t.SpecVersion != s.SpecVersion {
			return false
		}
	}
	return true
}

// polite is a move that rebalance may make.
type polite struct {
	task     *task
	to       *node
	gap      int // of the service's tasks between the two nodes
	total    int // of all tasks
	affinity uint64
}

// politeMove returns the move that evens out most, or nothing. Of equal ones the task goes that likes the node
// best, as if the slot had been placed there at once.
func (s *service) politeMove(p *pass) (*task, *node) {
	if s.even(p) {
		return nil, nil
	}
	var best polite
	for _, to := range s.candidates(p, s.present) {
		if !to.Settled || s.room(s.present, to) != fits || s.failedOn(to) {
			continue
		}
		for _, t := range s.tasks {
			move := polite{t, to, s.perNode[t.node.index] - s.perNode[to.index], t.node.tasks - to.tasks, 0}
			if !s.evensOut(move) {
				continue
			}
			move.affinity = affinity(s, t.Slot, to)
			if best.task == nil || compareMoves(move, best) < 0 {
				best = move
			}
		}
	}
	return best.task, best.to
}

// even tells whether, by the numbers alone, no task of the service can move. It is what nearly every pass ends with.
func (s *service) even(p *pass) bool {
	least, lightest, most, heaviest := len(s.tasks), 0, 0, 0
	for i, to := range s.candidates(p, s.present) {
		if i == 0 || to.tasks < lightest {
			lightest = to.tasks
		}
		if to.Settled {
			least = min(least, s.perNode[to.index])
		}
	}
	for i, n := range s.perNode {
		if n > 0 {
			most, heaviest = max(most, n), max(heaviest, p.nodes[i].tasks)
		}
	}
	return most-least < 1 || most-least == 1 && heaviest-lightest < 2
}

// evensOut is the rule, and that nothing else becomes worse by it. A paused node keeps its tasks.
func (s *service) evensOut(m polite) bool {
	from := m.task.node
	if m.gap < 1 || m.gap == 1 && m.total < 2 || from.Availability != cluster.Active {
		return false
	}
	for i := range s.spread {
		l := &s.spread[i]
		if l.group[from.index] != l.group[m.to.index] && l.at(m.to) >= l.at(from) {
			return false
		}
	}
	// The service is as even after as before, so the move is for the nodes' load, and must not fill up a small node.
	return m.gap > 1 || s.share(s.present, m.to) <= shareOf(from.reserved, from.Capacity)
}

// failedOn tells whether the node has failed any task of the service. A move that is not needed is not tried there.
func (s *service) failedOn(n *node) bool {
	for _, t := range s.tasks {
		for _, id := range t.Avoid {
			if id == n.ID || len(t.Avoid) >= maxAvoid {
				return true
			}
		}
	}
	return false
}

// compareMoves puts the better one first. No two moves are equal: affinities of equal hashes are told apart by the
// node, then the slot.
func compareMoves(a, b polite) int {
	return cmp.Or(cmp.Compare(b.gap, a.gap), cmp.Compare(b.total, a.total), cmp.Compare(b.affinity, a.affinity),
		cmp.Compare(a.to.ID, b.to.ID), cmp.Compare(a.task.Slot, b.task.Slot))
}
