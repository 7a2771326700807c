package worker

import (
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// The history is for people who ask why something does not run any more. It is part of the report, which every node
// gets, so it is short.
const (
	maxLives     = 32 // in all
	maxSlotLives = 4  // of one slot of a service
)

// bequeath moves the life of a task that is over to the history. It happens when the next one begins or the task goes:
// until then the task itself says how it ended. The lock is held.
func (w *Worker) bequeath(t *task) {
	if t.over != nil {
		w.history = remember(w.history, *t.over)
		t.over = nil
	}
}

// forgetRemoved drops the lives of services that are no more. The lock is held.
func (w *Worker) forgetRemoved(v view.View) {
	w.history = slices.DeleteFunc(w.history, func(life cluster.TaskStatus) bool {
		s, ok := v.Service(life.Service)
		return !ok || s.ID != life.ServiceID
	})
}

// remember returns the history with one more life.
func remember(history []cluster.TaskStatus, life cluster.TaskStatus) []cluster.TaskStatus {
	history = slices.Insert(history, 0, life)
	ofSlot := 0
	history = slices.DeleteFunc(history, func(s cluster.TaskStatus) bool {
		if s.ServiceID != life.ServiceID || s.Slot != life.Slot {
			return false
		}
		ofSlot++
		return ofSlot > maxSlotLives
	})
	return history[:min(len(history), maxLives)]
}

// stopped notes that a task's container ended because it was told to.
func (t *task) stopped(now time.Time) {
	life := t.status
	life.State, life.Since, life.Error, life.ExitCode = cluster.Complete, now.UTC().Truncate(time.Second), "", 0
	t.over = &life
}
