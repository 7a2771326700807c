package scheduler

import "github.com/piswarm/piswarm/pkg/cluster"

// A task ends when its node has run it as often as it is to be run: that of a job once it has succeeded, any other when
// its restart policy is at its end. It stays in the plan, where it needs nothing of its node any more, so that its slot
// counts as had. An update gives the slot another task.

// end tells whether the task has ended, and notes it when the node says so.
func (s *service) end(t *task, status cluster.TaskStatus) bool {
	if t.Ended == "" && status.Final && (status.State == cluster.Complete || status.State == cluster.Failed) {
		t.Ended = status.State
	}
	if t.Ended == "" {
		return false
	}
	t.rank = broken
	if s.job() && t.Ended == cluster.Complete {
		t.rank = done // nothing else is worth more: it is what the user wants
	}
	return true
}

// place is where one task of a service is wanted: a slot, or for a global service a node.
type place struct {
	slot int
	node string
}

// dropEarlierRuns forgets what a job did before it was changed. It is run anew from the beginning, and where it still
// runs, the new run waits for the end of the earlier one.
func (s *service) dropEarlierRuns(p *pass) {
	kept := s.tasks[:0]
	for _, t := range s.tasks {
		if !s.dirty(t) {
			kept = append(kept, t)
			continue
		}
		if _, there := p.status[t.ID]; there && t.Ended == "" {
			s.runsStill(t.Slot, t.Node, t.ID)
		}
		s.drop(t)
	}
	s.tasks = kept
}

// runsStill notes a task of a job that is not wanted any more and has not ended yet.
func (s *service) runsStill(slot int, node, id string) {
	if s.rerun == nil {
		s.rerun = map[place]string{}
	}
	where := place{slot: slot}
	if s.global() {
		where.node = node
	}
	s.rerun[where] = max(s.rerun[where], id) // of two from a partition either
}

// atATime is how many tasks of the wanted ones there may be at the moment: of a job, those that have ended and as many
// as may run.
func (s *service) atATime(want int) int {
	if !s.job() || s.Spec.MaxConcurrent <= 0 {
		return want
	}
	most := s.Spec.MaxConcurrent
	for _, t := range s.tasks {
		if t.Ended != "" {
			most++
		}
	}
	return min(want, most)
}

// judgeJob: a changed job is run anew at once, so there is nothing to follow.
func (s *service) judgeJob() {
	if s.update.Generation == s.Generation {
		return
	}
	s.update = cluster.Update{Generation: s.Generation, State: cluster.UpdateCompleted}
	if s.RollingBack {
		s.update.State = cluster.RollbackCompleted
	}
}
