package leader

import (
	"maps"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/scheduler"
)

// watched is what this node has seen of a task's life, by its own monotonic clock: nodes' clocks may be years apart.
type watched struct {
	state    cluster.State
	restarts int
	since    time.Time     // when it was first seen in that state
	ran      time.Duration // how long it was seen to run before that, at a stretch
	pass     uint64
}

// watch notes how every reported task does, also while another node leads: a new leader knows how long each has been
// in its state, and an update goes on without a pause.
func (l *Leader) watch(reports map[string]cluster.Report) {
	now := time.Now()
	l.passes++
	for _, report := range reports {
		for _, s := range report.Tasks {
			w, known := l.tasks[s.ID]
			if !known || w.state != s.State || w.restarts != s.Restarts {
				if w.state == cluster.Running {
					w.ran = max(w.ran, now.Sub(w.since))
				}
				w.state, w.restarts, w.since = s.State, s.Restarts, now
			}
			w.pass = l.passes
			l.tasks[s.ID] = w
		}
	}
	maps.DeleteFunc(l.tasks, func(_ string, w watched) bool { return w.pass != l.passes })
}

// reported is the report of a task with what was seen of it.
func (l *Leader) reported(node string, s cluster.TaskStatus) scheduler.Reported {
	r := scheduler.Reported{Node: node, TaskStatus: s}
	if w, ok := l.tasks[s.ID]; ok {
		r.For, r.Ran = time.Since(w.since), w.ran
	}
	return r
}

// watchEvery is how often the leader looks again while an update waits for nothing but time.
const watchEvery = time.Second

// lookAgain makes for another pass soon if an update is not at its end.
func (l *Leader) lookAgain(v view.View, changed map[string]cluster.Plan) {
	for name, plan := range v.Plans {
		if now, ok := changed[name]; ok {
			plan = now
		}
		if s := plan.Update.State; s == cluster.Updating || s == cluster.RollbackStarted {
			l.again.Reset(watchEvery)
			return
		}
	}
}
