package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// updated is a shelf of three nodes on which six tasks of a service run that has just been changed.
func updated(config cluster.UpdateConfig) Input {
	s := cluster.Service{ID: "id", SpecVersion: 1, Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 6, Update: config}}
	in := Input{Services: []cluster.Service{s}}
	for i := range 3 {
		in.Nodes = append(in.Nodes, Node{NodeFacts: cluster.NodeFacts{ID: fmt.Sprint("n", i)}, Availability: cluster.Active, Condition: cluster.Ready})
	}
	in = allRun(apply(in, Decide(in)))
	spec := s.Spec
	spec.Container.Image = "web:2"
	in.Services = []cluster.Service{s.Changed(spec, time.Time{})}
	return in
}

// TestUpdateNeedsNoMemory lets another leader decide at every step, who has seen nothing of what was before. All tasks are
// replaced; only that they have run for long enough takes one who watches.
func TestUpdateNeedsNoMemory(t *testing.T) {
	for _, order := range []cluster.Order{cluster.StartFirst, cluster.StopFirst} {
		in := updated(cluster.UpdateConfig{Parallelism: 2, Monitor: 5 * time.Second, FailureAction: cluster.OnFailurePause, Order: order})
		version := in.Services[0].SpecVersion
		steps := 0
		for done := 0; done < 6; steps++ {
			if steps > 3 {
				t.Fatalf("%s: after %d steps %d of 6 tasks are replaced: %+v", order, steps, done, in.Plans)
			}
			in = allRun(apply(in, Decide(in)))
			in = allRun(apply(in, Decide(in))) // start-first: the old ones go
			done = 0
			for _, task := range in.Plans["web"].Tasks {
				if task.SpecVersion == version && task.Replaces == "" {
					done++
				}
			}
		}
		in = apply(in, Decide(in))
		if got := in.Plans["web"].Update.State; got != cluster.Updating {
			t.Errorf("%s: nobody has watched, and it is %s", order, got)
		}
		for id, r := range in.Status {
			r.For = 5 * time.Second
			in.Status[id] = r
		}
		if got := Decide(in).Plans["web"].Update.State; got != cluster.UpdateCompleted {
			t.Errorf("%s: all have run for long enough, and it is %s", order, got)
		}
	}
}

// TestFailureIsOneLine: whatever a task has to say.
func TestFailureIsOneLine(t *testing.T) {
	p := newPass(Input{Nodes: []Node{{NodeFacts: cluster.NodeFacts{ID: "id1", Hostname: "kitchen"}}}})
	for _, c := range []struct {
		slot   int
		status Reported
		want   string
	}{
		{2, Reported{Node: "id1", TaskStatus: cluster.TaskStatus{State: cluster.Failed, ExitCode: 137}}, "task 2 on kitchen: failed: exit code 137"},
		{0, Reported{Node: "id2", TaskStatus: cluster.TaskStatus{State: cluster.Rejected, Error: " no\n such\timage "}}, "a task on id2: rejected: no such image"},
		{2, Reported{Node: "id1", TaskStatus: cluster.TaskStatus{State: cluster.Starting, Restarts: 1}}, "task 2 on kitchen: failed and was restarted"},
	} {
		if got := p.failure(&task{Task: cluster.Task{Slot: c.slot}}, c.status); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	long := Reported{Node: "id1", TaskStatus: cluster.TaskStatus{State: cluster.Failed, Error: strings.Repeat("é", 1000)}}
	if got := p.failure(&task{}, long); len(got) > maxMessage+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// TestDecidedRollbackStands: the share of failed tasks may become smaller again before the service's record says that it
// goes back, and a record of another side of a partition may say nothing of it.
func TestDecidedRollbackStands(t *testing.T) {
	in := updated(cluster.UpdateConfig{Parallelism: 2, Monitor: 5 * time.Second, MaxFailureRatio: 0.1, FailureAction: cluster.OnFailureRollback})
	in = apply(in, Decide(in))
	for _, task := range in.Plans["web"].Tasks {
		if task.Replaces != "" {
			in.Status[task.ID] = Reported{Node: task.Node, TaskStatus: cluster.TaskStatus{State: cluster.Failed}}
			break
		}
	}
	for range 2 {
		out := Decide(in)
		if in = apply(in, out); len(out.Rollback) != 1 || in.Plans["web"].Update.State != cluster.RollbackStarted || len(in.Plans["web"].Tasks) != in.Services[0].Spec.Replicas {
			t.Fatalf("roll back %v: %+v", out.Rollback, in.Plans)
		}
		in.Services[0] = in.Services[0].Scaled(20, time.Time{})
	}
	in.Services[0].Generation++ // the user has changed it meanwhile
	out := Decide(in)
	if len(out.Rollback) != 0 || out.Plans["web"].Update.State != cluster.Updating {
		t.Errorf("roll back %v: %+v", out.Rollback, out.Plans)
	}
}
