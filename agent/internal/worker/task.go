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
	service   cluster.Service
	wanted    bool
	known     bool
	barred    bool
	doubt     bool // the leader may not have known of it when it made the plan
	container containers.State
	exit      *containers.Event // it ended and was not looked at yet
	oom       bool
	begun     bool // the start of its present life was heard of
	busy      bool // a step is under way
	address   netip.Addr
	failures  int // one after the other
	notBefore time.Time
	runningAt time.Time // on the monotonic clock; zero for one that was adopted
	parting   parting
	waited    map[string]time.Time // since when, for each node whose turn it was to fetch the image
	status    cluster.TaskStatus
}

// ended notes how a container ended that was not told to.
func (w *Worker) ended(t *task, now time.Time) {
	exit := t.exit
	t.exit = nil
	if t.container != containers.Running {
		return // an end that was asked for, or of a life before
	}
	t.container = containers.Stopped
	if t.runningAt.IsZero() || now.Sub(t.runningAt) >= stable {
		t.failures, t.status.Restarts = 0, 0
	}
	state, text := cluster.Complete, ""
	switch {
	case t.oom:
		state, text = cluster.Failed, "out of memory: the kernel killed it; raise --limit-memory"
	case exit.ExitCode != 0:
		state, text = cluster.Failed, exitText(exit.ExitCode)
	}
	t.oom = false
	w.failed(t, state, text, now)
	t.status.ExitCode = exit.ExitCode
	t.status.Restarts++
}

// failed notes that a task is to be tried again after a pause.
func (w *Worker) failed(t *task, s cluster.State, text string, now time.Time) {
	t.failures++
	t.notBefore = now.Add(pause(t.failures))
	t.enter(s)
	t.status.Error = text
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

func (w *Worker) holds(digest string) bool {
	return holds(cluster.Report{Images: w.images}, digest)
}
