package worker

import (
	"net/netip"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// task is what this node knows of one task.
type task struct {
	planned   cluster.Task
	spec      cluster.Spec // that its containers are made of, which may be an earlier one of the service
	unknown   bool         // the service does not remember spec any more; what it last was may be known here
	wanted    bool
	known     bool
	barred    bool
	doubt     bool // the leader may not have known of it when it made the plan
	container containers.State
	exit      *containers.Event // it ended and was not looked at yet
	oom       bool
	begun     bool // the start of its present life was heard of
	busy      bool // a step is under way
	skipped   bool // it was when containerd was last asked, which knows better what no event told of meanwhile
	address   netip.Addr
	failures  int         // one after the other
	notBefore time.Time   // it does not run again
	endAfter  time.Time   // its end is not tried again
	attempts  []time.Time // restarts that its policy counts
	runningAt time.Time   // on the monotonic clock; zero as long as it does not serve
	followed  time.Time   // since when it waits for the end of the task that it follows
	ready     bool        // it serves, or has served, in its present life
	check     *check      // of its health; nil if it is not checked
	parting   parting
	lacks     string               // what it waits for before it can start; empty: nothing
	waited    map[string]time.Time // since when, for each node whose turn it was to fetch the image
	status    cluster.TaskStatus
	over      *cluster.TaskStatus // how its last life ended, until the next one begins
}

// ended notes how a container ended that was not told to.
func (w *Worker) ended(t *task, now time.Time) {
	exit := t.exit
	t.exit = nil
	if t.container != containers.Running {
		return // an end that was asked for, or of a life before
	}
	t.container = containers.Stopped
	state, text := cluster.Complete, ""
	switch {
	case t.oom:
		state, text = cluster.Failed, "out of memory: the kernel killed it; raise --limit-memory"
	case exit.ExitCode != 0:
		state, text = cluster.Failed, exitText(exit.ExitCode)
	}
	t.oom = false
	w.lost(t, state, text, exit.ExitCode, now)
}

// lost notes that a task has lost its container, and whether and when its policy gives it another one.
func (w *Worker) lost(t *task, s cluster.State, text string, exitCode int, now time.Time) {
	if !t.runningAt.IsZero() && now.Sub(t.runningAt) >= stable {
		t.failures, t.status.Restarts = 0, 0
	}
	w.failed(t, s, text, now)
	t.status.ExitCode = exitCode
	var restart bool
	restart, t.attempts = again(t.spec, s == cluster.Failed, t.attempts, now)
	t.status.Final = !restart
	if delay := t.spec.Restart.Delay; delay > 0 {
		t.notBefore = now.Add(delay)
	}
	life := t.status
	t.over = &life
	if restart {
		t.status.Restarts++
	}
}

// failed notes that a task is to be tried again after a pause.
func (w *Worker) failed(t *task, s cluster.State, text string, now time.Time) {
	t.failures++
	t.notBefore = now.Add(pause(t.failures))
	t.enter(s)
	t.status.Error = text
}

// sick returns since when the task's container has failed its check too often.
func (t *task) sick() time.Time {
	if t.check == nil {
		return time.Time{}
	}
	return t.check.sick
}

// enter notes a change of a task's state.
func (t *task) enter(s cluster.State) {
	if t.status.State == s {
		return
	}
	t.status.State, t.status.Since = s, time.Now().UTC().Truncate(time.Second)
	if s == cluster.Running {
		t.status.Error, t.status.ExitCode = "", 0
	}
}

// runs notes what a task is whose container runs. It is the only way to be running.
func (t *task) runs(now time.Time) {
	switch {
	case !t.parting.finishing.IsZero(): // it was told to end
	case !t.sick().IsZero():
		t.enter(cluster.Unhealthy)
		t.status.Error = t.symptom()
	case !t.ready:
		t.enter(cluster.Starting)
	default:
		if t.runningAt.IsZero() {
			t.runningAt = now
		}
		t.enter(cluster.Running)
	}
}

func (w *Worker) holds(digest string) bool {
	return holds(cluster.Report{Images: w.images}, digest)
}
