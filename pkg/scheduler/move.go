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

// failing tells whether the node of a task shows that it cannot run it. Where the user has said how often a task is
// tried, another node would be trying it more often.
func (s *service) failing(t *task, status cluster.TaskStatus) bool {
	if t.node.Condition != cluster.Ready {
		return false
	}
	if r := s.Spec.Restart; r.MaxAttempts > 0 || r.Condition == cluster.RestartNone {
		return status.State == cluster.Rejected // it was not tried at all
	}
	return status.State == cluster.Rejected || status.State == cluster.Failed && status.Restarts >= maxRestarts
}

// moveFailing gives another node to tasks that their own cannot run. One that moves may leave the room that
// another needs, so it goes on until none moves; each moves at most once, as what is placed anew is not failing.
func (p *pass) moveFailing() {
	for moved := true; moved; {
		moved = false
		for _, s := range p.services {
			if s.global() {
				continue
			}
			for i, t := range s.tasks {
				if (t.failing || t.next != nil && t.next.failing) && s.moveOn(p, i) {
					moved = true
				}
			}
		}
	}
}

// moveOn does what is best for a slot whose task, or whose task's replacement, is failing.
func (s *service) moveOn(p *pass, i int) bool {
	t, next := s.tasks[i], s.tasks[i].next
	switch {
	case next == nil:
		return s.moveAway(p, t)
	case t.failing:
		if next.SpecVersion == t.SpecVersion {
			next.Avoid = withNode(next.Avoid, t.node.ID)
		}
		s.promote(i)
	case next.SpecVersion != t.SpecVersion && !s.rolls():
		return false // the update has ended without it
	case t.rank == departing || next.SpecVersion != t.SpecVersion:
		return s.moveAway(p, next)
	default:
		// The old task need not leave, so it stays, and remembers where not to try again.
		t.Avoid = withNode(t.Avoid, next.node.ID)
		s.abandon(t)
	}
	return true
}

// moveAway moves a task to the best node that has not failed it yet, and remembers the one that has. Where
// there is none, it stays.
func (s *service) moveAway(p *pass, t *task) bool {
	if len(t.Avoid) >= maxAvoid {
		return false
	}
	old, avoid := t.node, withNode(t.Avoid, t.node.ID)
	s.release(t)
	n, fresh := s.best(p, t.Slot, t.edition, avoid)
	if n == nil || !fresh {
		s.assign(t, old)
		return false
	}
	s.settle(p, t, n, t.edition)
	t.Avoid = avoid
	return true
}

// withNode adds a node to those to avoid, unless they are enough; the list itself may be the input's.
func withNode(avoid []string, id string) []string {
	i, found := slices.BinarySearch(avoid, id)
	if found || len(avoid) >= maxAvoid {
		return avoid
	}
	return slices.Insert(slices.Clone(avoid), i, id)
}
