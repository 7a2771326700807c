package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// rollout is how far a service's tasks follow its spec. What is not in the plan itself is found anew in every pass, so
// that whoever leads next goes on from there.
type rollout struct {
	update   cluster.Update
	config   cluster.UpdateConfig
	halted   bool  // no slot gets the present spec for the update's sake
	underWay int   // slots whose new task has not proved itself yet
	stuck    *task // whose turn it is, and for whose successor there is no room
}

// dirty tells whether a task is made from another version of the spec than the present one.
func (s *service) dirty(t *task) bool { return t.SpecVersion != s.SpecVersion && t.SpecVersion != 0 }

// rolls tells whether an update or rollback is not at its end.
func (s *service) rolls() bool {
	return s.update.State == cluster.Updating || s.update.State == cluster.RollbackStarted
}

// goesBack tells whether a rollback is decided, and the service does not say so yet.
func (s *service) goesBack() bool {
	return s.update.State == cluster.RollbackStarted && !s.RollingBack && len(s.update.Failed) > 0
}

// judge finds out how the update does, and takes the action that the user wants when too many of its tasks fail.
func (s *service) judge(p *pass) {
	if s.job() {
		s.judgeJob()
		return
	}
	s.config = s.Spec.Update.WithDefaults()
	if s.RollingBack {
		s.config = s.Spec.Rollback.WithDefaults()
	}
	if s.update.Generation != s.Generation {
		s.begin()
	}
	s.resume()
	if s.rolls() && !s.goesBack() {
		s.update.State = s.started() // on another side of a partition it may have been the other one
	}
	s.halted = s.update.Paused() || s.goesBack()
	if s.rolls() && !s.halted {
		s.countFailures(p)
		s.act()
		s.underWay = s.countUnderWay(p)
	}
	if s.goesBack() {
		p.back = append(p.back, s.Spec.Name)
	}
	for _, t := range s.tasks {
		s.tidy(t)
	}
	if s.global() {
		s.leaveOut(p)
	}
}

// begin starts an update.
func (s *service) begin() {
	last := s.update
	s.update = cluster.Update{Generation: s.Generation, State: s.started(), Base: s.retired}
	for _, t := range s.tasks {
		s.update.Base = max(s.update.Base, t.Attempt)
		if t.next != nil {
			s.update.Base = max(s.update.Base, t.next.Attempt)
		}
	}
	if s.RollingBack && len(s.Past) > 0 && s.Past[0].Failed {
		s.update.Message = last.Message // says why it goes back
	}
}

// resume goes on with an update that was taken for done by another leader, which had not seen all of the tasks. Slots
// whose new task failed have had their try.
func (s *service) resume() {
	if !s.rolls() && !s.update.Paused() && len(s.update.Failed) == 0 && slices.ContainsFunc(s.tasks, s.dirty) {
		s.update.State = s.started()
	}
}

func (s *service) started() cluster.UpdateState {
	if s.RollingBack {
		return cluster.RollbackStarted
	}
	return cluster.Updating
}

// untried tells whether a slot is still to get the present spec. One whose new task failed had its try.
func (s *service) untried(t *task) bool {
	return s.dirty(t) && !(t.next != nil && !s.dirty(t.next) && s.gaveUp(t.next))
}

// gaveUp tells whether the update goes on without the task.
func (s *service) gaveUp(t *task) bool {
	_, failed := slices.BinarySearch(s.update.Failed, t.ID)
	return failed && t.node != nil || t.Ended != ""
}

// ofUpdate are the tasks that the update itself has placed. Others may be of the same version, after a rollback, or be
// in trouble since long before.
func (s *service) ofUpdate(yield func(*task) bool) {
	for _, t := range s.tasks {
		for ; t != nil; t = t.next {
			if t.SpecVersion == s.SpecVersion && t.Attempt > s.update.Base && !yield(t) {
				return
			}
		}
	}
}

// countFailures notes each task of the update that has failed while it was watched, once.
func (s *service) countFailures(p *pass) {
	for t := range s.ofUpdate {
		status, reported := p.status[t.ID]
		i, counted := slices.BinarySearch(s.update.Failed, t.ID)
		if !reported || counted || !failedWatched(status, s.config.Monitor) {
			continue
		}
		s.update.Failed = slices.Insert(slices.Clone(s.update.Failed), i, t.ID)
		s.update.Message = p.failure(t, status)
	}
}

// failedWatched tells whether a task has failed before it ran for as long as new tasks are watched.
func failedWatched(status Reported, monitor time.Duration) bool {
	switch {
	case status.State == cluster.Running && status.For >= monitor, status.Ran > 0 && status.Ran >= monitor:
		return false // it has stood the test
	case status.State == cluster.Failed, status.State == cluster.Rejected, status.State == cluster.Unhealthy:
		return true
	}
	return status.Restarts > 0
}

// maxMessage bounds what a failed task has to say, in bytes.
const maxMessage = 300

// failure says in one line which task failed, where and why.
func (p *pass) failure(t *task, status Reported) string {
	node := status.Node
	if n := p.byID[status.Node]; n != nil {
		node = cmp.Or(n.Hostname, node)
	}
	what, why := string(status.State), strings.Join(strings.Fields(status.Error), " ")
	switch status.State {
	case cluster.Failed, cluster.Rejected, cluster.Unhealthy:
	default:
		what = "failed and was restarted"
	}
	if why == "" && status.ExitCode != 0 {
		why = fmt.Sprintf("exit code %d", status.ExitCode)
	}
	name := "a task"
	if t.Slot > 0 {
		name = fmt.Sprintf("task %d", t.Slot)
	}
	line := fmt.Sprintf("%s on %s: %s", name, node, what)
	if why != "" {
		line += ": " + why
	}
	if len(line) > maxMessage {
		line = strings.ToValidUTF8(line[:maxMessage], "") + "…"
	}
	return line
}

// act does what the user wants when too many tasks have failed.
func (s *service) act() {
	share := float64(len(s.update.Failed)) / float64(max(1, len(s.tasks)))
	if share == 0 || share <= s.config.MaxFailureRatio || s.config.FailureAction == cluster.OnFailureContinue {
		return
	}
	s.halted = true
	switch {
	case s.RollingBack:
		s.update.State = cluster.RollbackPaused
	case s.config.FailureAction == cluster.OnFailureRollback && s.canGoBack():
		s.update.State = cluster.RollbackStarted
	default:
		s.update.State = cluster.UpdatePaused
	}
}

func (s *service) canGoBack() bool {
	return slices.ContainsFunc(s.Past, func(r cluster.Revision) bool { return !r.Failed })
}

// tidy ends what does not fit the present state of the update.
func (s *service) tidy(t *task) {
	mustTurn := t.rank == departing && s.known(t.SpecVersion) == nil // it has to leave, and nothing else can be made of it
	if next := t.next; next != nil && next.SpecVersion != t.SpecVersion && (s.dirty(next) || s.halted && !mustTurn) {
		s.abandon(t) // its version is not wanted any more, or shall not be tried any further
	} else if next != nil && s.known(next.SpecVersion) == nil {
		s.abandon(t) // a move for which nothing can be made any more
	}
	if !s.dirty(t) || t.next != nil {
		return
	}
	if t.node != nil && t.rank == broken && s.known(t.SpecVersion) == nil {
		s.unplace(t) // its node does not know what to run
	}
	// What an older spec makes of itself says nothing of the present one, and its task is about to be replaced.
	t.failing = t.failing && s.halted
}

// leaveOut takes out what has no node to be placed anew on, of a global service, or to be turned on. Should the node come
// back, it gets a task of the present spec.
func (s *service) leaveOut(p *pass) {
	s.tasks = slices.DeleteFunc(s.tasks, func(t *task) bool {
		gone := t.node == nil && (t.Ended == "" || s.dirty(t) && s.rolls() && !s.halted && !p.byID[t.Node].stays())
		if gone {
			s.drop(t)
		}
		return gone
	})
}

// countUnderWay counts the slots whose new task has neither proved itself nor been given up.
func (s *service) countUnderWay(p *pass) int {
	n := 0
	for t := range s.ofUpdate {
		if t.node == nil || s.gaveUp(t) || s.ranFor(p, t, s.config.Delay) {
			continue
		}
		n++
	}
	return n
}

// turnsNow tells whether a slot may get the present spec, as far as the others leave it its turn.
func (s *service) turnsNow(t *task) bool {
	return s.dirty(t) && s.rolls() && !s.halted && (s.config.Parallelism == 0 || s.underWay < s.config.Parallelism)
}

// conclude ends the update when every task is of the present spec and has stood the test, or failed it where the user
// lets it.
func (s *service) conclude(p *pass) {
	if s.job() || !s.rolls() || s.halted {
		return
	}
	for _, t := range s.tasks {
		if t.node == nil && t.Ended == "" && s.dirty(t) && (s.turnsNow(t) || s.known(t.SpecVersion) == nil) {
			t.SpecVersion, t.Avoid = s.SpecVersion, nil // whatever it was, it waits for room for what it is to be
		}
	}
	if len(s.update.Failed) > 0 && s.config.FailureAction == cluster.OnFailureContinue {
		s.forgetFailed()
	}
	if slices.ContainsFunc(s.tasks, func(t *task) bool { return s.untried(t) || !s.dirty(t) && !s.proved(p, t) }) {
		return
	}
	if s.RollingBack {
		s.update.State = cluster.RollbackCompleted
		return
	}
	s.update.State, s.update.Message = cluster.UpdateCompleted, ""
}

// explainUpdate says why an update does not go on, if that is for want of room.
func (s *service) explainUpdate(p *pass) {
	if s.update.State != cluster.Updating || len(s.update.Failed) > 0 {
		return // the message is about failures
	}
	s.update.Message = ""
	if t := s.stuck; t != nil && s.underWay == 0 {
		n := t.node
		s.release(t)
		s.update.Message = s.reason(p, s.present)
		s.assign(t, n)
	}
}

// forgetFailed keeps of the failed tasks those that are in the plan. Where the update goes on whatever happens, their
// number does not matter, and could become large.
func (s *service) forgetFailed() {
	planned := map[string]bool{}
	for t := range s.ofUpdate {
		planned[t.ID] = t.node != nil || t.Ended != ""
	}
	s.update.Failed = slices.DeleteFunc(slices.Clone(s.update.Failed), func(id string) bool { return !planned[id] })
}

// proved tells whether the update need not wait for a task. For one that was there before, it never has to, nor for one
// that fits nowhere: that is no fault of the present spec, as no task is given up for one that does not fit.
func (s *service) proved(p *pass, t *task) bool {
	return t.node == nil || t.Attempt <= s.update.Base || s.gaveUp(t) || s.ranFor(p, t, s.config.Monitor)
}

// ranFor tells whether the task is seen to run, and has been for that long.
func (s *service) ranFor(p *pass, t *task, d time.Duration) bool {
	return t.serves() && t.node.Condition == cluster.Ready && p.status[t.ID].For >= d
}
