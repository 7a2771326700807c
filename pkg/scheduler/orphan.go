package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// An orphan is a task that runs on a ready node without being planned. Its node holds it for a moment, in which
// the leader may take it in: after a partition the plan of one side is gone, and its tasks may be the only ones
// that serve while those of the other side still start. An orphan that is not needed is left out of the plan, and
// its node ends it.

// findOrphans gives each service those tasks of its present spec that run without being planned. In a cluster at
// rest every report belongs to a planned task, and this costs nothing.
func (p *pass) findOrphans() {
	if p.matched == len(p.status) {
		return
	}
	planned := make(map[string]bool, p.matched)
	byID := make(map[string]*service, len(p.services))
	for _, s := range p.services {
		byID[s.ID] = s
		for _, t := range s.tasks {
			planned[t.ID] = true
		}
	}
	for id, r := range p.status {
		s, n := byID[r.ServiceID], p.byID[r.Node]
		if s == nil || n == nil || planned[id] {
			continue
		}
		if s.job() {
			s.runsStill(r.Slot, n.ID, id)
		}
		if r.State != cluster.Running || r.SpecVersion != s.SpecVersion {
			continue
		}
		if (s.global() && r.Slot == 0 || !s.global() && r.Slot > 0) && n.Condition == cluster.Ready && !n.Leaving && s.mayStay(n) {
			r.ID = id
			s.orphans = append(s.orphans, r)
		}
	}
}

// takeIn lets orphans take the place of tasks that do not run yet, as long as the service has no more tasks than
// wanted.
func (s *service) takeIn(p *pass, want int) {
	if len(s.orphans) == 0 {
		return
	}
	held := map[int]bool{}
	for _, t := range s.tasks {
		held[t.Slot] = true
	}
	// Each slot's own orphans come first: another one could take a place that one of them is for.
	slices.SortFunc(s.orphans, func(a, b Reported) int {
		if held[a.Slot] != held[b.Slot] {
			if held[a.Slot] {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
	})
	for _, o := range s.orphans {
		t := s.inPlaceOf(o)
		if t == nil && len(s.tasks) >= want {
			// Its own slot is not wanted, but another one is and does not run: which of them does, makes no odds.
			t = s.lastWaiting()
		}
		switch {
		case t != nil && t.waits():
			s.takeOver(p, t, o)
		case t == nil && len(s.tasks) < want:
			if t = s.newTask(o.Slot, o.Node); s.takeOver(p, t, o) {
				s.tasks = append(s.tasks, t)
			}
		}
	}
}

// inPlaceOf returns the planned task that stands where the orphan would: in its slot, for a global service on its
// node.
func (s *service) inPlaceOf(o Reported) *task {
	for _, t := range s.tasks {
		if t.Slot == o.Slot && (!s.global() || t.Node == o.Node) {
			return t
		}
	}
	return nil
}

func (s *service) lastWaiting() *task {
	var last *task
	for _, t := range s.tasks {
		if t.waits() && (last == nil || t.Slot > last.Slot) {
			last = t
		}
	}
	return last
}

// waits tells whether the task may have its place taken by one that runs: it has not run yet, is to be placed anew, or
// is merely believed to run on a node of which nothing is known. One that ended is for its node to restart.
func (t *task) waits() bool {
	if t.Ended != "" {
		return false
	}
	if t.rank == departing || t.failing || t.node != nil && (t.node.Leaving || t.node.Condition == Unknown) {
		return true
	}
	switch t.rank {
	case unplaced, unstarted, starting:
		return t.next == nil || t.next.failing
	}
	return false
}

// takeOver makes of a planned task the orphan, if the orphan's node has room for it and has not failed the slot.
func (s *service) takeOver(p *pass, t *task, o Reported) bool {
	n, old, avoid := p.byID[o.Node], t.node, t.avoidedBy(s.present)
	if _, avoided := slices.BinarySearch(avoid, n.ID); avoided {
		return false
	}
	if old != nil {
		s.release(t)
	}
	if s.room(s.present, n) != fits {
		if old != nil {
			s.assign(t, old)
		}
		return false
	}
	if t.failing && old != n && t.SpecVersion == o.SpecVersion {
		avoid = withNode(avoid, old.ID)
	}
	s.abandon(t)
	s.retired = max(s.retired, t.Attempt)
	t.Task = cluster.Task{
		ID: o.ID, Slot: o.Slot, Node: n.ID, SpecVersion: o.SpecVersion, Avoid: avoid,
		Attempt: attemptOf(o.ID, s.ID, o.Slot, n.ID, s.retired),
	}
	t.rank, t.failing, t.edition = running, false, s.present
	s.assign(t, n)
	return true
}
