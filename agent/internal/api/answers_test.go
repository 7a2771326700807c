package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestUpdateStatus(t *testing.T) {
	for _, test := range []struct {
		generation uint64
		rolling    bool
		failed     bool
		plan       cluster.Plan
		want       client.UpdateStatus
	}{
		{0, false, false, cluster.Plan{}, client.UpdateStatus{State: "completed"}},
		{1, false, false, cluster.Plan{}, client.UpdateStatus{State: "updating"}},
		{2, false, false, cluster.Plan{ServiceID: "s", Update: cluster.Update{Generation: 1, State: "paused", Message: "m"}}, client.UpdateStatus{State: "updating"}},
		{2, true, false, cluster.Plan{ServiceID: "s", Update: cluster.Update{Generation: 1, State: "paused", Message: "m"}}, client.UpdateStatus{State: "rollback_started"}},
		{2, true, false, cluster.Plan{ServiceID: "s", Update: cluster.Update{Generation: 2, State: "rollback_completed", Message: "m"}}, client.UpdateStatus{State: "rollback_completed", Message: "m"}},
		{1, false, false, cluster.Plan{ServiceID: "s", Update: cluster.Update{Generation: 1, State: "paused", Message: "m"}}, client.UpdateStatus{State: "paused", Message: "m"}},
		{1, false, false, cluster.Plan{ServiceID: "earlier", Update: cluster.Update{Generation: 1, State: "paused", Message: "m"}}, client.UpdateStatus{State: "updating"}},
		{2, true, true, cluster.Plan{ServiceID: "s", Update: cluster.Update{Generation: 1, State: "updating", Message: "m"}}, client.UpdateStatus{State: "rollback_started", Message: "m"}},
	} {
		s := cluster.Service{ID: "s", Generation: test.generation, RollingBack: test.rolling, Spec: cluster.Spec{Name: "web"}, Past: []cluster.Revision{{Failed: test.failed}}}
		v := view.View{Plans: map[string]cluster.Plan{"web": test.plan}}
		if got := update(v, s); got != test.want {
			t.Errorf("generation %d, plan %+v: %+v, want %+v", test.generation, test.plan.Update, got, test.want)
		}
	}
}

// history is a cluster in which tasks have ended, and been restarted.
func history() view.View {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	spec := func(name string, mode cluster.Mode, image string) cluster.Spec {
		return cluster.Spec{Name: name, Mode: mode, Replicas: 5, Container: cluster.Container{Image: image}}
	}
	job := cluster.Service{ID: "j", Spec: spec("job", cluster.ReplicatedJob, "job:1"), SpecVersion: 1, UpdatedAt: at(0)}
	job.Spec.MaxConcurrent = 1
	web := cluster.Service{
		ID: "w", Spec: spec("web", cluster.Replicated, "web:2"), SpecVersion: 2, UpdatedAt: at(0),
		Past: []cluster.Revision{{Spec: spec("web", cluster.Replicated, "web:1"), SpecVersion: 1}},
	}
	return view.View{
		Members:  []cluster.Member{{ID: "a", Name: "pi1", Condition: cluster.Ready}, {ID: "b", Name: "pi2", Condition: cluster.Down}},
		Services: []cluster.Service{job, web},
		Plans: map[string]cluster.Plan{
			"job": {ServiceID: "j", Tasks: []cluster.Task{
				{ID: "j1", Slot: 1, Node: "a", SpecVersion: 1, Ended: cluster.Complete}, {ID: "j2", Slot: 2, Node: "b", SpecVersion: 1, Ended: cluster.Failed},
				{ID: "j3", Slot: 3, Node: "a", SpecVersion: 1},
			}},
			"web": {ServiceID: "w", Tasks: []cluster.Task{
				{ID: "w1", Slot: 1, Node: "a", SpecVersion: 2}, {ID: "w2", Slot: 2, Node: "a", SpecVersion: 1}, {ID: "w3", Slot: 3, Node: "a", SpecVersion: 2, Ended: cluster.Complete},
				{ID: "w4", Slot: 4, Node: "b", SpecVersion: 9},
			}},
		},
		Reports: map[string]cluster.Report{
			"a": {
				Tasks: []cluster.TaskStatus{
					{ID: "j3", Service: "job", ServiceID: "j", Slot: 3, SpecVersion: 1, State: cluster.Running, Since: at(9)},
					{ID: "w1", Service: "web", ServiceID: "w", Slot: 1, SpecVersion: 2, State: cluster.Running, Since: at(9)},
					{ID: "w2", Service: "web", ServiceID: "w", Slot: 2, SpecVersion: 1, State: cluster.Running, Since: at(9)},
				},
				History: []cluster.TaskStatus{
					{ID: "w1", Service: "web", ServiceID: "w", Slot: 1, SpecVersion: 2, State: cluster.Failed, Since: at(8), Error: "exit code 1"},
					{ID: "j1", Service: "job", ServiceID: "j", Slot: 1, SpecVersion: 1, State: cluster.Complete, Since: at(7)},
					{ID: "w1", Service: "web", ServiceID: "w", Slot: 1, SpecVersion: 2, State: cluster.Failed, Since: at(3), Error: "exit code 2"},
					{ID: "g1", Service: "gone", ServiceID: "g", Slot: 1, SpecVersion: 2, State: cluster.Failed, Since: at(3)},
				},
			},
			"b": {History: []cluster.TaskStatus{
				{ID: "w0", Service: "web", ServiceID: "w", Slot: 1, SpecVersion: 1, State: cluster.Complete, Since: at(6)},
				{ID: "j2", Service: "job", ServiceID: "j", Slot: 2, SpecVersion: 1, State: cluster.Failed, Since: at(5), Error: "exit code 3"},
			}},
		},
	}
}

// asText is a task a line, without what is the same for all.
func asText(t *testing.T, tasks []client.Task) string {
	t.Helper()
	var lines []string
	for _, task := range tasks {
		raw, err := json.Marshal([]any{task.ID, task.Slot, task.Node, task.Image, task.Desired, task.State, task.Since.Minute(), task.Error})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(raw))
	}
	return strings.Join(lines, "\n")
}

func TestEndedTasksAndHistory(t *testing.T) {
	const present = `["j1",1,"pi1","job:1","complete","complete",7,""]
["j2",2,"pi2","job:1","shutdown","failed",5,"exit code 3"]
["j3",3,"pi1","job:1","running","running",9,""]
["w1",1,"pi1","web:2","running","running",9,""]
["w2",2,"pi1","web:1","running","running",9,""]
["w3",3,"pi1","web:2","shutdown","complete",0,""]
["w4",4,"pi2","","running","orphaned",0,"node pi2 is down"]`
	if got := asText(t, tasks(history(), "", false)); got != present {
		t.Errorf("got\n%s\nwant\n%s", got, present)
	}
	const past = `["w1",1,"pi1","web:2","running","running",9,""]
["w1",1,"pi1","web:2","shutdown","failed",8,"exit code 1"]
["w0",1,"pi2","web:1","shutdown","complete",6,""]
["w1",1,"pi1","web:2","shutdown","failed",3,"exit code 2"]
["w2",2,"pi1","web:1","running","running",9,""]`
	if got := asText(t, tasks(history(), "web", true)); !strings.HasPrefix(got, past+"\n") {
		t.Errorf("got\n%s\nwant\n%s", got, past)
	}
	// A task that is over is told of once.
	if got := asText(t, tasks(history(), "", true)); strings.Count(got, `"j1"`) != 1 || strings.Count(got, `"j2"`) != 1 || strings.Contains(got, `"g1"`) {
		t.Errorf("got\n%s", got)
	}
}

func TestCountOfAJob(t *testing.T) {
	v := history()
	if got, want := count(v, v.Services[0]), (client.ReplicaCount{Running: 1, Desired: 1, Completed: 1, Total: 5}); got != want {
		t.Errorf("replicated job: %+v, want %+v", got, want)
	}
	global := v.Services[0]
	global.Spec.Mode, global.Spec.Replicas, global.Spec.MaxConcurrent = cluster.GlobalJob, 0, 0
	tasks := v.Plans["job"].Tasks
	tasks[1].Node = "c"
	for i := range tasks {
		tasks[i].Slot = 0
	}
	tasks[2].Node = "b"
	if got, want := count(v, global), (client.ReplicaCount{Desired: 2, Completed: 1, Total: 3}); got != want {
		t.Errorf("global job: %+v, want %+v", got, want)
	}
	for _, n := range nodes(v) {
		if n.Name == "pi1" && n.Tasks != 2 {
			t.Errorf("pi1 has %d tasks, want 2: those that are over count no more", n.Tasks)
		}
	}
}
