package scheduler

import (
	"fmt"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestRejectedTaskComesToRest follows a task that every node rejects: it tries each node once and then stays,
// on a small shelf because no node is left, on a large one because enough have tried.
func TestRejectedTaskComesToRest(t *testing.T) {
	for _, size := range []int{1, 2, 5, maxAvoid, maxAvoid + 1, 40} {
		in := Input{Services: []cluster.Service{{ID: "id", SpecVersion: 1, Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 1}}}}
		for i := range size {
			in.Nodes = append(in.Nodes, Node{NodeFacts: cluster.NodeFacts{ID: fmt.Sprintf("n%02d", i)}, Availability: cluster.Active, Condition: cluster.Ready})
		}
		in = apply(in, Decide(in))
		tried, ids := map[string]bool{}, map[string]bool{}
		for {
			task := in.Plans["web"].Tasks[0]
			if tried[task.Node] || ids[task.ID] {
				t.Fatalf("%d nodes: %s was tried twice", size, task.Node)
			}
			tried[task.Node], ids[task.ID] = true, true
			in.Status = map[string]Reported{task.ID: {Node: task.Node, TaskStatus: cluster.TaskStatus{State: cluster.Rejected}}}
			out := Decide(in)
			if len(out.Plans) == 0 {
				break
			}
			in = apply(in, out)
		}
		if want := min(size, maxAvoid+1); len(tried) != want {
			t.Errorf("%d nodes: %d were tried, want %d", size, len(tried), want)
		}
	}
}

// TestScaledSlotsGetNewIDs scales a service down and up many times: a container's ID never comes back.
func TestScaledSlotsGetNewIDs(t *testing.T) {
	for _, mode := range []cluster.Mode{cluster.Replicated, cluster.Global} {
		in := Input{
			Services: []cluster.Service{{ID: "id", Spec: cluster.Spec{Name: "web", Mode: mode}}},
			Nodes:    []Node{{NodeFacts: cluster.NodeFacts{ID: "n1"}, Availability: cluster.Active, Condition: cluster.Ready}},
		}
		seen := map[string]bool{}
		for round := range 20 {
			if on := round%2 == 0; mode == cluster.Global {
				in.Nodes[0].Availability = map[bool]cluster.Availability{true: cluster.Active, false: cluster.Drain}[on]
			} else {
				in.Services[0].Spec.Replicas = map[bool]int{true: 3, false: round % 3}[on]
			}
			before := map[string]bool{}
			for _, task := range in.Plans["web"].Tasks {
				before[task.ID] = true
			}
			in = apply(in, Decide(in))
			for _, task := range in.Plans["web"].Tasks {
				if task.Node != "" && !before[task.ID] && seen[task.ID] {
					t.Fatalf("%s: round %d: the ID of slot %d was in use before", mode, round, task.Slot)
				}
				seen[task.ID] = true
			}
		}
		if len(seen) < 10 {
			t.Errorf("%s: only %d tasks were ever made", mode, len(seen))
		}
	}
}

// TestTaskIDIsFixed: nodes of different versions of piswarm must agree on IDs while a cluster is upgraded.
func TestTaskIDIsFixed(t *testing.T) {
	if got, want := taskID("service", 1, "node", 1), "5iiw0s2qv1a6esabps2963uvo"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if a, b := taskID("s", 1, "1", 1), taskID("s", 11, "", 1); a == b {
		t.Errorf("two placements share the ID %s", a)
	}
}
