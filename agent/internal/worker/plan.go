package worker

import (
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// barredText is what a task says that waits for the end of a partition.
const barredText = "less than half of the nodes can be reached, and the service has --on-partition=stop"

// unknownText is what a task says that cannot be run again.
const unknownText = "it is of a version that the service does not remember: the leader replaces it"

// plan notes which tasks are wanted here.
func (w *Worker) plan(v view.View) {
	minority := cluster.Minority(v.Members, v.Settings)
	others := w.otherLeaders(v)
	for _, t := range w.tasks {
		t.wanted, t.barred = false, false
		s, ok := v.Service(t.status.Service)
		if !ok || s.ID != t.status.ServiceID {
			t.known = true // its service was removed
			continue
		}
		// A service without a plan is one whose leader has not spoken yet: no reason to stop anything.
		t.known = v.Plans[s.Spec.Name].ServiceID == s.ID
		t.barred = minority && s.Spec.OnPartition == cluster.StopOnPartition
		t.doubt = t.doubt || others[s.Spec.Name]
		t.version(s)
	}
	for _, s := range v.Services {
		for _, planned := range v.Plan(s) {
			if planned.Node != v.Self || planned.Ended != "" {
				continue
			}
			t, ok := w.tasks[planned.ID]
			if !ok {
				t = &task{status: cluster.TaskStatus{ID: planned.ID}}
				t.enter(cluster.Pending)
				w.tasks[planned.ID] = t
			}
			t.planned, t.wanted, t.known = planned, true, true
			t.barred = minority && s.Spec.OnPartition == cluster.StopOnPartition
			t.doubt = false
			t.status.Service, t.status.ServiceID = s.Spec.Name, s.ID
			t.status.Slot, t.status.SpecVersion = planned.Slot, planned.SpecVersion
			t.version(s)
			if !t.barred && t.status.Error == barredText {
				t.status.Error = ""
			}
		}
	}
}

// version notes what the task's containers are made of: not what the service wants now, but what it wanted when the
// leader planned the task. In the middle of an update, an old task that ends is made again as what it was.
func (t *task) version(s cluster.Service) {
	spec, ok := s.SpecOf(t.status.SpecVersion)
	if t.unknown = !ok; ok {
		t.spec = spec
	}
}

// otherLeaders tells which services have a plan whose writer may not have seen what runs here: it is not the writer
// of the one before, who is gone and his last word with him, or a partition has just ended and it led the other side.
func (w *Worker) otherLeaders(v view.View) map[string]bool {
	healing := w.meet(v, time.Now())
	writers, others := make(map[string]string, len(v.Services)), map[string]bool{}
	for _, s := range v.Services {
		name := s.Spec.Name
		version, ok := v.Versions[cluster.PlanKey(name)]
		if !ok {
			continue
		}
		writers[name] = version.Node
		if before, ok := w.writers[name]; ok && before != version.Node || healing {
			others[name] = true
		}
	}
	w.writers = writers
	return others
}

// meet tells whether a node has become ready a moment ago. What it brings, perhaps the plans of another side of a
// partition, comes after it.
func (w *Worker) meet(v view.View, now time.Time) bool {
	ready := make(map[string]bool, len(v.Members))
	for _, m := range v.Members {
		if m.Condition != cluster.Ready {
			continue
		}
		ready[m.ID] = true
		if w.ready != nil && !w.ready[m.ID] {
			w.met = now
		}
	}
	w.ready = ready
	return !w.met.IsZero() && now.Sub(w.met) < holdLimit
}

// hold begins the time in which a leader may adopt a task that runs here and is in no plan, if there is doubt whether
// it knew of the task, and if it could.
func (t *task) hold(v view.View, now time.Time) {
	if !t.doubt || t.wanted || !t.known {
		return
	}
	t.doubt = false
	s, ok := v.Service(t.status.Service)
	if !ok || s.ID != t.status.ServiceID || s.SpecVersion != t.status.SpecVersion || !t.parting.finishing.IsZero() {
		return
	}
	doubted := t.parting.doubted
	if doubted.IsZero() {
		doubted = now
	}
	if now.Sub(doubted) < maxHold {
		t.parting = parting{held: now.Add(holdLimit), doubted: doubted}
	}
}
