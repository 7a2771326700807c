package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// rank orders the tasks of a service by what losing one would cost, the cheapest first.
type rank int

const (
	unplaced  rank = iota // has no node, or one that it must leave
	broken                // ended, or rejected by its node
	unstarted             // its node has not begun, or fetches the image
	starting
	unhealthy
	departing // serves, on a node that it is to leave as soon as another serves
	running
	done // a job's task that has succeeded
)

func rankOf(status cluster.TaskStatus) rank {
	switch status.State {
	case cluster.Running:
		return running
	case cluster.Unhealthy:
		return unhealthy
	case cluster.Starting:
		return starting
	case cluster.Stopping, cluster.Complete, cluster.Failed, cluster.Rejected, cluster.Orphaned:
		return broken
	}
	return unstarted
}

// read takes over the tasks of the present plan, and finds out how each does where it is.
func (s *service) read(p *pass, plan cluster.Plan) {
	if plan.ServiceID != s.ID {
		return
	}
	s.retired, s.update = plan.Retired, plan.Update
	s.tasks = make([]*task, len(plan.Tasks))
	tasks := make([]task, len(plan.Tasks))
	for i, t := range plan.Tasks {
		tasks[i].Task = t
		s.tasks[i] = &tasks[i]
		s.appraise(p, &tasks[i])
	}
}

// appraise leaves a task on its node if it may stay there, or serves there until it is replaced.
func (s *service) appraise(p *pass, t *task) {
	t.edition = s.edition(t.SpecVersion)
	status, reported := p.status[t.ID]
	if reported {
		p.matched++
	}
	if s.end(t, status.TaskStatus) {
		return
	}
	n := p.byID[t.Node]
	if n == nil {
		return
	}
	r, stays := rankOf(status.TaskStatus), s.mayStay(n)
	switch {
	case n.Condition == Unknown && t.Replaces != "":
		r = unstarted // nobody has seen it run, so the one that it replaces must not go
	case n.Condition == Unknown:
		r = running // as far as anyone knows
	case r == running && n.Condition == cluster.Ready && !s.global() && !s.job() && (n.Leaving || !stays):
		// A global service has no other node that could take over, and a job is not done twice.
		r, stays = departing, true
	}
	if stays {
		s.assign(t, n)
		t.rank, t.failing = r, s.failing(t, status.TaskStatus)
	}
}

// mayStay tells whether a task of the service may stay on the node it is on.
func (s *service) mayStay(n *node) bool {
	if n.Availability == cluster.Drain {
		return false
	}
	switch n.Condition {
	case cluster.Ready:
		return s.constraintsHold(n)
	case Unknown:
		return true
	}
	return false
}

// adopt keeps what is well formed and wanted and adds the slots that are missing. Tasks of another SpecVersion
// are taken over like any other; replacing them one by one is the business of a rolling update.
func (s *service) adopt(p *pass) {
	if s.job() {
		s.dropEarlierRuns(p)
	}
	if s.global() {
		s.adoptGlobal(p)
		s.takeIn(p, len(p.nodes))
		return
	}
	s.adoptReplicated()
	want := max(0, s.Spec.Replicas)
	s.shed(want)
	s.enforceMaxPerNode()
	want = s.atATime(want)
	s.takeIn(p, want)
	s.fill(want)
}

// adoptReplicated keeps one task a slot, or two that are a move.
func (s *service) adoptReplicated() {
	found := s.tasks
	slices.SortFunc(found, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), bestFirst(a, b))
	})
	s.tasks = make([]*task, 0, len(found)+1)
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].Slot == found[0].Slot {
			n++
		}
		s.adoptSlot(found[:n])
		found = found[n:]
	}
}

// adoptGlobal keeps one task a node, or two of which the new one is to replace the old. A task that must leave its
// node has nowhere else to go. One that has ended stays as long as the cluster knows its node.
func (s *service) adoptGlobal(p *pass) {
	found := s.tasks
	slices.SortFunc(found, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), bestFirst(a, b))
	})
	s.tasks = make([]*task, 0, len(found)+1)
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].Node == found[0].Node {
			n++
		}
		here := found[:0]
		for _, t := range found[:n] {
			if t.Slot != 0 || t.node == nil && (t.Ended == "" || p.byID[t.Node] == nil) {
				s.drop(t)
				continue
			}
			here = append(here, t)
		}
		if len(here) > 0 {
			s.adoptPlace(here)
		}
		found = found[n:]
	}
}

// taskOn returns the task of that node, of a global service.
func (s *service) taskOn(id string) *task {
	if i := slices.IndexFunc(s.tasks, func(t *task) bool { return t.Node == id }); i >= 0 {
		return s.tasks[i]
	}
	return nil
}

// bestFirst decides which of several tasks in one slot stays. Two leaders that meet again after a partition
// may each have placed the slot: whoever decides, the same one stays. Of a move, it is the new one if both run.
func bestFirst(a, b *task) int {
	if c := cmp.Compare(b.rank, a.rank); c != 0 {
		return c
	}
	if a.Replaces == "" != (b.Replaces == "") {
		if a.Replaces != "" {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Node, b.Node), cmp.Compare(b.Attempt, a.Attempt),
		cmp.Compare(a.SpecVersion, b.SpecVersion), cmp.Compare(a.Replaces, b.Replaces), slices.Compare(a.Avoid, b.Avoid))
}

// shed drops tasks until no more than wanted are left: first those that do not serve, then those of another version
// of the spec, then from the nodes that have most tasks of the service, then the highest slots.
func (s *service) shed(want int) {
	if len(s.tasks) <= want {
		return
	}
	s.sortByWorth()
	// The height of a task is the number of tasks on its node at the moment when it is the node's next to go.
	height := make(map[*task]int, len(s.tasks))
	left := slices.Clone(s.perNode)
	for _, t := range s.tasks {
		if t.node != nil {
			height[t] = left[t.node.index]
			left[t.node.index]--
		}
	}
	slices.SortFunc(s.tasks, func(a, b *task) int {
		return cmp.Or(s.byWorth(a, b), cmp.Compare(height[b], height[a]), cmp.Compare(b.Slot, a.Slot))
	})
	surplus := len(s.tasks) - want
	for _, t := range s.tasks[:surplus] {
		s.drop(t)
	}
	s.tasks = s.tasks[surplus:]
}

// enforceMaxPerNode takes tasks off nodes that have more of them than the user allows: the maximum was
// lowered, or two partitions met. This moves even running tasks, and does not wait until others serve: the user
// may have said that one is all that the node's hardware can bear.
func (s *service) enforceMaxPerNode() {
	most := s.Spec.Placement.MaxPerNode
	if most <= 0 || slices.Max(append(s.perNode[:len(s.perNode):len(s.perNode)], 0)) <= most {
		return
	}
	crowded := func(t *task) bool {
		return t.node != nil && t.node.Condition == cluster.Ready && s.perNode[t.node.index] > most
	}
	s.sortByWorth()
	for _, t := range s.tasks {
		if t.next != nil && crowded(t.next) {
			s.abandon(t)
		}
	}
	for i, t := range s.tasks {
		switch {
		case !crowded(t):
		case t.moving():
			s.promote(i)
		default:
			s.abandon(t)
			s.unplace(t)
		}
	}
}

// sortByWorth puts first what a node would lose first.
func (s *service) sortByWorth() {
	slices.SortFunc(s.tasks, func(a, b *task) int {
		return cmp.Or(s.byWorth(a, b), cmp.Compare(b.Slot, a.Slot))
	})
}

// byWorth compares what losing one of two tasks would cost. Of two that serve alike, one is to be replaced anyway.
func (s *service) byWorth(a, b *task) int {
	if c := cmp.Compare(a.rank, b.rank); c != 0 || s.dirty(a) == s.dirty(b) {
		return c
	}
	if s.dirty(a) {
		return -1
	}
	return 1
}

// fill adds tasks in the lowest free slots until as many as wanted are there, and leaves all in order of slot.
func (s *service) fill(want int) {
	taken := make(map[int]bool, len(s.tasks))
	for _, t := range s.tasks {
		taken[t.Slot] = true
	}
	for slot := 1; len(s.tasks) < want; slot++ {
		if !taken[slot] {
			s.tasks = append(s.tasks, s.newTask(slot, ""))
		}
	}
	slices.SortFunc(s.tasks, func(a, b *task) int { return cmp.Compare(a.Slot, b.Slot) })
}

// newTask is a task that is still to be placed; node is for a global service.
func (s *service) newTask(slot int, node string) *task {
	return &task{Task: cluster.Task{Slot: slot, Follows: s.rerun[place{slot, node}]}, edition: s.present}
}
