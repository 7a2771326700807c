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
	running
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

// adopt takes over of the present plan what is well formed and wanted, leaves it where it is if it may stay
// there, and adds the slots that are missing. Tasks of an older SpecVersion are taken over like any other;
// replacing them one by one is the business of a rolling update.
func (s *service) adopt(p *pass, plan cluster.Plan) {
	s.perNode = make([]int, len(p.nodes))
	s.spread = spreadLevels(s.Spec.Placement.Spread, p.nodes)
	var found []*task
	if plan.ServiceID == s.ID {
		s.retired = plan.Retired
		found = make([]*task, len(plan.Tasks))
		tasks := make([]task, len(plan.Tasks))
		for i, t := range plan.Tasks {
			tasks[i].Task = t
			found[i] = &tasks[i]
			if n := p.byID[t.Node]; n != nil && s.mayStay(n) {
				s.assign(found[i], n)
				found[i].rank = rankOf(p.status[t.ID])
				if n.Condition == Unknown {
					found[i].rank = running // as far as anyone knows
				}
			}
		}
	}
	if s.global() {
		s.adoptGlobal(found)
		return
	}
	s.adoptReplicated(found)
	want := max(0, s.Spec.Replicas)
	s.shed(want)
	s.enforceMaxPerNode()
	s.fill(want)
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

// adoptReplicated keeps one task a slot.
func (s *service) adoptReplicated(found []*task) {
	slices.SortFunc(found, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), bestFirst(a, b))
	})
	for i, t := range found {
		if t.Slot < 1 || i > 0 && found[i-1].Slot == t.Slot {
			s.drop(t)
			continue
		}
		s.tasks = append(s.tasks, t)
	}
}

// adoptGlobal keeps one task a node. A task that must leave its node has nowhere else to go.
func (s *service) adoptGlobal(found []*task) {
	slices.SortFunc(found, bestFirst)
	for _, t := range found {
		if t.Slot != 0 || t.node == nil || s.perNode[t.node.index] > 1 && s.hasTaskOn(t.node) {
			s.drop(t)
			continue
		}
		s.tasks = append(s.tasks, t)
	}
}

func (s *service) hasTaskOn(n *node) bool {
	return slices.ContainsFunc(s.tasks, func(t *task) bool { return t.node == n })
}

// bestFirst decides which of several tasks in one slot stays. Two leaders that meet again after a partition
// may each have placed the slot: whoever decides, the same one stays.
func bestFirst(a, b *task) int {
	return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Node, b.Node),
		cmp.Compare(b.Attempt, a.Attempt), cmp.Compare(b.SpecVersion, a.SpecVersion), slices.Compare(a.Avoid, b.Avoid))
}

// shed drops tasks until no more than wanted are left: first those that do not serve, then from the nodes
// that have most tasks of the service, then the highest slots.
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
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(height[b], height[a]), cmp.Compare(b.Slot, a.Slot))
	})
	surplus := len(s.tasks) - want
	for _, t := range s.tasks[:surplus] {
		s.drop(t)
	}
	s.tasks = s.tasks[surplus:]
}

// enforceMaxPerNode takes tasks off nodes that have more of them than the user allows: the maximum was
// lowered, or two partitions met. Like a constraint that no longer holds, this moves even running tasks.
func (s *service) enforceMaxPerNode() {
	most := s.Spec.Placement.MaxPerNode
	if most <= 0 || slices.Max(append(s.perNode[:len(s.perNode):len(s.perNode)], 0)) <= most {
		return
	}
	s.sortByWorth()
	for _, t := range s.tasks {
		if t.node != nil && t.node.Condition == cluster.Ready && s.perNode[t.node.index] > most {
			s.release(t)
			t.rank = unplaced
		}
	}
}

// sortByWorth puts first what a node would lose first.
func (s *service) sortByWorth() {
	slices.SortFunc(s.tasks, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.Slot, a.Slot))
	})
}

// fill adds tasks in the lowest free slots until as many as wanted are there, and leaves all in order of slot.
func (s *service) fill(want int) {
	taken := make(map[int]bool, len(s.tasks))
	for _, t := range s.tasks {
		taken[t.Slot] = true
	}
	for slot := 1; len(s.tasks) < want; slot++ {
		if !taken[slot] {
			s.tasks = append(s.tasks, newTask(slot))
		}
	}
	slices.SortFunc(s.tasks, func(a, b *task) int { return cmp.Compare(a.Slot, b.Slot) })
}

func newTask(slot int) *task { return &task{Task: cluster.Task{Slot: slot}} }
