package scheduler

import (
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// maxRestarts is how often a node restarts a container before the leader looks for another node.
	maxRestarts = 5
	// maxAvoid is after how many nodes the fault is taken to be the service's own. The task then stays where
	// it is, and its node goes on trying.
	maxAvoid = 16
)

// failing tells whether the node of a task shows that it cannot run it. What an older spec makes of itself
// says nothing of the present one, and its task is about to be replaced anyway.
func (s *service) failing(p *pass, t *task) bool {
	if t.node == nil || t.node.Condition != cluster.Ready || t.SpecVersion != s.SpecVersion {
		return false
	}
	status := p.status[t.ID]
	return status.State == cluster.Rejected || status.State == cluster.Failed && status.Restarts >= maxRestarts
}

// moveFailing gives another node to tasks that their own cannot run. One that moves may leave the room that
// another needs, so it goes on until none moves; each moves at most once, as its status stays behind.
func (p *pass) moveFailing() {
	for moved := true; moved; {
		moved = false
		for _, s := range p.services {
			if s.global() {
				continue
			}
			for _, t := range s.tasks {
				if s.failing(p, t) && s.moveAway(p, t) {
					moved = true
				}
			}
		}
	}
}

// moveAway moves a task to the best node that has not failed it yet, and remembers the one that has. Where
// there is none, it stays.
func (s *service) moveAway(p *pass, t *task) bool {
	old, avoid := t.node, t.Avoid
	if len(avoid) >= maxAvoid {
		return false
	}
	if i, found := slices.BinarySearch(avoid, old.ID); !found {
		avoid = slices.Insert(slices.Clone(avoid), i, old.ID)
	}
	s.release(t)
	n, fresh := s.best(p, t.Slot, avoid)
	if n == nil || !fresh {
		s.assign(t, old)
		return false
	}
	s.settle(t, n)
	t.Avoid = avoid
	return true
}
