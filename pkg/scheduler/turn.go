package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// turn gives slots the present spec, as many at a time as the user wants: first those that do not serve, which cost
// nothing, then from the lowest slot on. Slots that must be placed anyway have had their turn in place.
func (s *service) turn(p *pass) {
	if !s.rolls() || s.halted {
		return
	}
	s.underWay, s.stuck = s.countUnderWay(p), nil
	due := make([]*task, 0, len(s.tasks))
	for _, t := range s.tasks {
		if s.dirty(t) && t.next == nil && (t.node != nil && t.node.Condition == cluster.Ready || t.Ended != "") {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *task) int {
		return cmp.Or(cmp.Compare(min(a.rank, departing), min(b.rank, departing)), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node))
	})
	for _, t := range due {
		if s.turnsNow(t) && !t.tried && s.turnTask(p, t) {
			s.underWay++
		}
	}
}

// turnTask replaces a task by one of the present spec, if that fits anywhere: one that does not is worth no outage.
// Where the new one is to start first and there is no room for it beside the old one, it takes the old one's.
func (s *service) turnTask(p *pass, t *task) bool {
	old := p.byID[t.Node]
	if s.Spec.StartsFirst(s.config) {
		if n := s.nodeFor(p, t, old); n != nil {
			if t.serves() {
				s.replace(p, t, n, s.present, nil)
			} else {
				s.supplant(p, t, n, "")
			}
			return true
		}
	}
	if t.node == nil {
		n := s.nodeFor(p, t, old)
		if n != nil {
			s.supplant(p, t, n, "")
		}
		return n != nil
	}
	follows := cmp.Or(s.follows(p, t), t.ID)
	s.release(t)
	n := s.nodeFor(p, t, old)
	s.assign(t, old)
	if n == nil {
		s.stuck = t
	}
	if n != nil {
		s.supplant(p, t, n, follows)
	}
	return n != nil
}

// nodeFor returns where a slot's task of the present spec goes: to the old one's node, which is likely to have most of
// the image and leaves the spread as it is, else to the best. A paused node may go on with its task of a global service.
func (s *service) nodeFor(p *pass, t *task, old *node) *node {
	switch {
	case old == nil:
	case s.global():
		if old.stays() && s.suits(s.present, old) == fits && s.room(s.present, old) == fits {
			return old
		}
	case s.ability(s.present, old) == fits && s.room(s.present, old) == fits:
		return old
	}
	if s.global() {
		return nil
	}
	n, _ := s.best(p, t.Slot, s.present, nil)
	return n
}

// supplant puts a task of the present spec in the place of one that goes out of the plan.
func (s *service) supplant(p *pass, t *task, n *node, follows string) {
	if t.node != nil {
		s.release(t)
		p.freed = true
	}
	s.settle(p, t, n, s.present)
	t.Follows = follows
}
