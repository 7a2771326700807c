package worker

import (
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// followLimit bounds the wait for the end of the task that another one follows. One that takes longer to end, or whose
// node does not say so, is not waited for: the service would be short of a task for as long.
const followLimit = 60 * time.Second

// follows returns until when a task waits for the end of the one that it follows; zero if for none.
func (w *Worker) follows(v view.View, t *task, now time.Time) time.Time {
	if !t.wanted || t.planned.Follows == "" || t.container != "" || !t.runningAt.IsZero() {
		return time.Time{}
	}
	if t.followed.IsZero() {
		t.followed = now
	}
	if w.tasks[t.planned.Follows] == nil && goneEverywhere(v, t.planned.Follows) {
		return time.Time{}
	}
	return t.followed.Add(followLimit)
}

// goneEverywhere tells whether no other ready node may have that task. One that has reported nothing yet, or nothing
// since it is back, may.
func goneEverywhere(v view.View, id string) bool {
	for _, m := range v.Members {
		if m.ID == v.Self || m.Condition != cluster.Ready {
			continue
		}
		if _, ok := v.Reports[m.ID]; !ok || m.Unheard {
			return false
		}
		if _, has := v.Status(m.ID, id); has {
			return false
		}
	}
	return true
}
