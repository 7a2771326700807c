package leader

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// change updates the service as the API does.
func (r *rig) change(name string, edit func(*cluster.Spec)) {
	r.t.Helper()
	s := r.stored(name)
	spec := s.Spec
	edit(&spec)
	r.put(cluster.ServiceKey(name), s.Changed(spec, time.Now()))
}

func (r *rig) stored(name string) cluster.Service {
	r.t.Helper()
	record, _ := r.store.Get(cluster.ServiceKey(name))
	var s cluster.Service
	if err := json.Unmarshal(record.Value, &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// say makes the nodes report the planned tasks of the service as state gives it.
func (r *rig) say(service string, state func(cluster.Task) cluster.State) {
	r.t.Helper()
	tasks := map[string][]cluster.TaskStatus{}
	for _, t := range r.plan(service).Tasks {
		tasks[t.Node] = append(tasks[t.Node], cluster.TaskStatus{
			ID: t.ID, Service: service, ServiceID: "id-" + service, Slot: t.Slot, SpecVersion: t.SpecVersion, State: state(t), Error: "no such file",
		})
	}
	for _, m := range r.members {
		r.report(m.ID, tasks[m.ID]...)
	}
}

func running(cluster.Task) cluster.State { return cluster.Running }

// TestUpdateIsWatchedByTheLeadersClock: tasks follow one another as soon as they run, the update is done when the last
// has run for as long as it is watched, and a node that only looked on until then has counted along.
func TestUpdateIsWatchedByTheLeadersClock(t *testing.T) {
	for _, changeOfLeader := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "b", "b")
			r.service("web", 2)
			r.pass("web")
			r.say("web", running)
			if changeOfLeader {
				r.members = append([]cluster.Member{{ID: "a", Name: "a", Condition: cluster.Ready}}, r.members...)
			}
			r.change("web", func(s *cluster.Spec) { s.Container.Image = "docker.io/library/x:2" })
			for range 3 {
				if changeOfLeader { // b has planned nothing: what a did instead is in the plan
					r.members[0].Condition = cluster.Down
					r.pass("web")
					r.members[0].Condition = cluster.Ready
				}
				r.pass("web")
				r.say("web", running)
			}
			r.pass("web")
			time.Sleep(5*time.Second - time.Millisecond)
			if changeOfLeader {
				r.pass("web")
				r.members[0].Condition = cluster.Down
			}
			r.pass("web")
			if got := r.plan("web").Update; got.State != cluster.Updating {
				t.Fatalf("before the last task was watched for long enough: %+v", got)
			}
			time.Sleep(time.Millisecond)
			r.pass("web")
			plan := r.plan("web")
			if plan.Update.State != cluster.UpdateCompleted || slices.ContainsFunc(plan.Tasks, func(t cluster.Task) bool { return t.SpecVersion == 1 }) {
				t.Fatalf("in the end: %+v", plan)
			}
		})
	}
}

// TestLoopWaitsForTime: nothing happens but that time passes, and the update ends, well before the next resync.
func TestLoopWaitsForTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "a")
		r.service("web", 1)
		r.pass("web")
		r.say("web", running)
		r.change("web", func(s *cluster.Spec) {
			s.Container.Image, s.Update.Monitor = "docker.io/library/x:2", 1500*time.Millisecond
		})
		r.pass("web")
		r.say("web", running)
		done := make(chan error, 1)
		go func() { done <- r.leader.Run(t.Context()) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := r.plan("web").Update.State; got != cluster.UpdateCompleted {
			t.Errorf("after 3 s the update is %s", got)
		}
	})
}

// TestRestartIsSeen: a task that restarts between two looks has not run on.
func TestRestartIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "a")
		status := cluster.TaskStatus{ID: "x", State: cluster.Running}
		look := func(state cluster.State, restarts int, ran, now time.Duration) {
			t.Helper()
			status.State, status.Restarts = state, restarts
			r.leader.watch(map[string]cluster.Report{"a": {Tasks: []cluster.TaskStatus{status}}})
			if got := r.leader.reported("a", status); got.For != now || got.Ran != ran {
				t.Errorf("%s after %d restarts: for %s, after a run of %s; want %s and %s", state, restarts, got.For, got.Ran, now, ran)
			}
		}
		look(cluster.Starting, 0, 0, 0)
		time.Sleep(time.Minute)
		look(cluster.Running, 0, 0, 0)
		time.Sleep(10 * time.Second)
		look(cluster.Running, 0, 0, 10*time.Second)
		time.Sleep(time.Second)
		look(cluster.Running, 1, 11*time.Second, 0)
		time.Sleep(2 * time.Second)
		look(cluster.Failed, 1, 11*time.Second, 0)
		r.leader.watch(nil)
		if len(r.leader.tasks) != 0 {
			t.Errorf("it is not reported any more and still known: %v", r.leader.tasks)
		}
	})
}

// TestFailedUpdateGoesBack: the service's record is written as soon as too many tasks have failed, and the plan follows.
func TestFailedUpdateGoesBack(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	r.pass("web")
	r.say("web", running)
	before := r.plan("web").Tasks
	r.change("web", func(s *cluster.Spec) {
		s.Container.Image, s.Update.FailureAction, s.Update.Parallelism = "docker.io/library/x:2", cluster.OnFailureRollback, 1
	})
	r.pass("web")
	r.say("web", func(t cluster.Task) cluster.State {
		if t.SpecVersion == 1 {
			return cluster.Running
		}
		return cluster.Failed
	})
	r.published = nil
	r.pass("web")
	s := r.stored("web")
	if s.SpecVersion != 1 || !s.RollingBack || !s.Past[0].Failed || !slices.Contains(r.published, "service/web") {
		t.Fatalf("the service is %+v, published %v", s, r.published)
	}
	r.pass("web")
	r.say("web", running)
	r.pass("web")
	plan := r.plan("web")
	if plan.Update.State != cluster.RollbackStarted && plan.Update.State != cluster.RollbackCompleted {
		t.Errorf("the update is %+v", plan.Update)
	}
	if want := "task 1 on b: failed: no such file"; plan.Update.Message != want && plan.Update.Message != "task 1 on a: failed: no such file" {
		t.Errorf("the update's message is %q, want %q or of node a", plan.Update.Message, want)
	}
	if len(plan.Tasks) != 2 || plan.Tasks[0].ID != before[0].ID || plan.Tasks[1].ID != before[1].ID {
		t.Errorf("tasks %v, want those of before: %v", plan.Tasks, before)
	}
}

// TestUserWinsOverRollback: a service that was changed since the look is not touched.
func TestUserWinsOverRollback(t *testing.T) {
	r := newRig(t, "a", "a")
	r.service("web", 1)
	r.change("web", func(s *cluster.Spec) { s.Container.Image = "docker.io/library/x:2" })
	v := r.leader.cfg.View()
	r.change("web", func(s *cluster.Spec) { s.Container.Image = "docker.io/library/x:3" })
	if keys, err := r.leader.rollBack(v, "web"); err != nil || keys != nil {
		t.Errorf("wrote %v, error %v", keys, err)
	}
	if got := r.stored("web").Spec.Container.Image; got != "docker.io/library/x:3" {
		t.Errorf("the image is %s", got)
	}
}
