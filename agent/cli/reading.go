package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// goal is what is waited for.
type goal int

const (
	toRun      goal = iota // all tasks run; those of a job, until they are complete
	toUpdate               // the same, with the present spec, and the update is completed
	toRollBack             // the same, and the rollback is
)

// view is a service as one reading shows it.
type view struct {
	service  string
	goal     goal
	mode     cluster.Mode
	version  uint64 // of the present spec
	want     int
	tasks    []client.Task // those that are planned, in order of slot or node
	leaving  bool          // others, which shall not run, have not ended yet
	update   client.UpdateStatus
	restart  time.Duration // the pause before a task is restarted
	patience time.Duration // how long an update may do nothing between two tasks
}

func newView(s client.Service, tasks []client.Task, g goal) view {
	v := view{
		service: s.Spec.Name, goal: g, mode: s.Spec.Mode, version: s.SpecVersion, want: s.Spec.Replicas,
		update: s.Status.Update, restart: s.Spec.Restart.Delay,
	}
	if g != toRun {
		v.patience = max(s.Spec.Update.Delay+s.Spec.Update.Monitor, s.Spec.Rollback.Delay+s.Spec.Rollback.Monitor)
	}
	for _, t := range tasks {
		if wanted(t) || over(t) {
			v.tasks = append(v.tasks, t)
		} else if !ended(t.State) {
			v.leaving = true
		}
	}
	v.oneOfEach()
	if v.mode.PerNode() {
		// The leader counts: it plans a task for each node that fits, or one that says why none does.
		v.want = max(s.Status.Replicas.Desired, s.Status.Replicas.Total, len(v.tasks))
	}
	slices.SortStableFunc(v.tasks, func(a, b client.Task) int {
		if a.Slot != b.Slot {
			return a.Slot - b.Slot
		}
		return strings.Compare(a.Node, b.Node)
	})
	return v
}

// oneOfEach leaves of two tasks, one of which an update puts in the other's place, the one that counts. Of a task that
// moves to another node, both do.
func (v *view) oneOfEach() {
	var kept []client.Task
	at := map[string]int{}
	for _, t := range v.tasks {
		i, known := at[taskName(t)]
		if !known || kept[i].SpecVersion == t.SpecVersion {
			at[taskName(t)] = len(kept)
			kept = append(kept, t)
			continue
		}
		counts := t.SpecVersion == v.version
		if v.goal == toRun {
			counts = t.State == cluster.Running
		}
		if counts {
			t, kept[i] = kept[i], t
		}
		v.leaving = v.leaving || !ended(t.State)
	}
	v.tasks = kept
}

// over tells whether the task has ended and is not run again.
func over(t client.Task) bool { return t.Desired == client.Shutdown || t.Desired == cluster.Complete }

// current tells whether the task counts: for an update, one of an earlier spec does not.
func (v view) current(t client.Task) bool { return v.goal == toRun || t.SpecVersion == v.version }

// reached tells whether the task is where it is to be.
func (v view) reached(t client.Task) bool {
	state := cluster.Running
	if v.mode.Job() {
		state = cluster.Complete
	}
	return t.State == state && v.current(t) && (!v.mode.Job() || over(t))
}

func (v view) done() int {
	n := 0
	for _, t := range v.tasks {
		if v.reached(t) {
			n++
		}
	}
	return n
}

// updating tells whether an update that is waited for, or the rollback that it led to, is under way.
func (v view) updating() bool {
	return v.goal != toRun && !v.mode.Job() && (v.update.State == cluster.Updating || v.update.State == cluster.RollbackStarted)
}

// complete tells whether exactly what is wanted runs. A global service that no node runs is not complete but early, or
// fits nowhere.
func (v view) complete() bool {
	if v.done() != v.want || v.updating() {
		return false
	}
	return v.mode.Job() && v.want > 0 || len(v.tasks) == v.want && (v.want > 0 || !v.mode.PerNode())
}

// halted says why an update, or a rollback, does not get where it was to get. It is empty as long as it does.
func (v view) halted() string {
	why := ""
	switch {
	case v.goal == toRun:
		return ""
	case v.update.State == cluster.UpdatePaused:
		why = "the update is paused"
	case v.update.State == cluster.RollbackPaused:
		why = "the rollback is paused"
	case v.update.State == cluster.RollbackCompleted && v.goal == toUpdate:
		why = "the update failed and was rolled back"
	default:
		return ""
	}
	if v.update.Message != "" {
		why += ": " + oneLine(v.update.Message)
	}
	return why
}

// working tells whether a job is at its work, which may take as long as it likes.
func (v view) working() bool {
	return v.mode.Job() && slices.ContainsFunc(v.tasks, func(t client.Task) bool { return t.State == cluster.Running })
}

// between tells whether an update is between two tasks, where it only watches and waits.
func (v view) between() bool {
	return v.updating() && !slices.ContainsFunc(v.tasks, func(t client.Task) bool { return t.State != cluster.Running })
}

// underWay tells whether something is being done that can bring what is missing. An update that says something while it
// waits may wait for what does not come: room on a node.
func (v view) underWay() bool {
	if v.leaving || v.working() || v.between() && v.update.Message == "" {
		return true
	}
	return slices.ContainsFunc(v.tasks, func(t client.Task) bool {
		return t.State == cluster.Preparing || t.State == cluster.Starting
	})
}

// pause is how long nothing may be under way though all is well: before a task that failed is restarted, and before an
// update goes on.
func (v view) pause() time.Duration {
	if v.between() {
		return v.patience
	}
	if slices.ContainsFunc(v.tasks, func(t client.Task) bool { return t.State == cluster.Failed && !over(t) }) {
		return v.restart
	}
	return 0
}

// progress is how many of how many tasks are where they are to be.
func (v view) progress() string {
	if v.mode.Job() {
		return fmt.Sprintf("%d/%d complete", v.done(), v.want)
	}
	return fmt.Sprintf("%d/%d running", v.done(), v.want)
}

func (v view) String() string { return v.service + ": " + v.progress() }

// notice is what is to be told of an update besides its tasks: that it goes back, which task failed, what it waits for.
func (v view) notice() string {
	message := oneLine(v.update.Message)
	switch {
	case !v.updating():
		return ""
	case v.goal == toUpdate && v.update.State == cluster.RollbackStarted:
		return strings.TrimSuffix("the update failed and is rolled back: "+message, ": ")
	}
	return message
}
