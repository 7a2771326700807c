package scheduler

import "slices"

// A move is a pair of tasks in one slot: the old one serves on, and the new one, which names it in Replaces, takes
// over as soon as it runs. In this package the new one hangs on the old as task.next, so that to everything else a
// slot has one task. However a move ends, the slot keeps the better of the two:
//
//   - The new one runs: the old one is dropped.
//   - The old one's node goes away, or cannot run it any more: the new one is the slot's task.
//   - The new one's node goes away or must be left: the old one serves on, and another new one is placed if the old
//     one is to leave.
//   - The new one keeps failing: see move.go.
//   - It is an update's, and the update is given up: the old one serves on. See update.go.

// moving tells whether the task's replacement is on its way.
func (t *task) moving() bool { return t.next != nil && t.next.node != nil }

// adoptSlot takes over the tasks in one slot, the best first.
func (s *service) adoptSlot(found []*task) {
	if found[0].Slot >= 1 {
		s.adoptPlace(found)
		return
	}
	for _, t := range found {
		s.drop(t)
	}
}

// adoptPlace keeps of the tasks in one slot, or of those of a global service on one node, the one that holds it and
// one that replaces it.
func (s *service) adoptPlace(found []*task) {
	// One that has ended in vain beside the old one is not worth the place.
	i := slices.IndexFunc(found, func(t *task) bool { return t.Ended == "" || t.Replaces == "" })
	if i < 0 {
		for _, t := range found {
			s.drop(t)
		}
		return
	}
	holder := found[i]
	if holder.rank < departing {
		// One that does not serve yet is no reason to give up the one that it replaces, which did a moment ago.
		for _, t := range found[1:] {
			if t.node != nil && t.ID == holder.Replaces {
				holder = t
				break
			}
		}
	}
	holder.Replaces = "" // there is nothing, or nothing any more, that it takes over from
	for _, t := range found {
		switch {
		case t == holder:
		case holder.next == nil && s.canReplace(t, holder):
			holder.next = t
		default:
			s.drop(t)
		}
	}
	s.tasks = append(s.tasks, holder)
}

// canReplace tells whether a task goes on as the replacement of the one that holds its slot. Where its node is gone
// or to be left, only what is known of it goes on, for the one that is placed in its stead.
func (s *service) canReplace(t, holder *task) bool {
	if t.Replaces != holder.ID || t.ID == holder.ID || holder.node == nil || s.job() {
		return false
	}
	if t.Ended != "" {
		return t.SpecVersion != holder.SpecVersion // the old one serves on, and this one says that an update has tried
	}
	// On one node only two that are made differently are worth more than one.
	if t.node != nil && (t.node.Leaving || t.rank >= departing || t.node == holder.node && t.SpecVersion == holder.SpecVersion) {
		s.unplace(t)
	}
	return t.node != nil || holder.rank == departing
}

// replace places the new task of a move; the old one serves on.
func (s *service) replace(p *pass, t *task, n *node, e *edition, avoid []string) {
	if t.next == nil {
		t.next = &task{Task: t.Task}
	}
	t.next.Replaces = t.ID
	s.settle(p, t.next, n, e)
	t.next.Avoid = avoid
}

// promote makes the replacement of the i-th task the slot's only one.
func (s *service) promote(i int) {
	old := s.tasks[i]
	s.tasks[i], old.next = old.next, nil
	s.tasks[i].Replaces = ""
	s.drop(old)
}

// abandon ends a move: the old task stays.
func (s *service) abandon(t *task) {
	if next := t.next; next != nil {
		t.next = nil
		s.drop(next)
	}
}
