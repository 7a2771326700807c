package scheduler

import (
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestTakenInTaskLeavesNoIDBehind takes in tasks of earlier and later attempts than the planned one, and then loses
// them: what is placed next has an ID that neither side's leader has given.
func TestTakenInTaskLeavesNoIDBehind(t *testing.T) {
	for _, attempt := range []uint64{1, 4, 5, 6, 200, searched + 50} {
		in := Input{
			Services: []cluster.Service{{ID: "id", SpecVersion: 1, Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 1}}},
			Nodes: []Node{
				{NodeFacts: cluster.NodeFacts{ID: "n1"}, Availability: cluster.Active, Condition: cluster.Ready},
				{NodeFacts: cluster.NodeFacts{ID: "n2"}, Availability: cluster.Active, Condition: cluster.Ready},
			},
			Plans: map[string]cluster.Plan{"web": {ServiceID: "id", Tasks: []cluster.Task{
				{ID: taskID("id", 1, "n1", 5), Slot: 1, Node: "n1", SpecVersion: 1, Attempt: 5},
			}}},
		}
		orphan := taskID("id", 1, "n2", attempt)
		in.Status = map[string]Reported{orphan: {Node: "n2", TaskStatus: cluster.TaskStatus{ID: orphan, ServiceID: "id", Slot: 1, SpecVersion: 1, State: cluster.Running}}}
		in = apply(in, Decide(in))
		if got := in.Plans["web"].Tasks[0]; got.ID != orphan || got.Node != "n2" {
			t.Fatalf("attempt %d: the plan has %+v", attempt, got)
		}
		in.Status = nil
		for _, down := range []int{1, 0} {
			in.Nodes[0].Condition, in.Nodes[1].Condition = cluster.Ready, cluster.Ready
			in.Nodes[down].Condition = cluster.Down
			in = apply(in, Decide(in))
			if got := in.Plans["web"].Tasks[0]; attempt < searched && got.Attempt <= max(5, attempt) || got.Attempt <= 5 {
				t.Errorf("attempt %d was taken in over attempt 5, and attempt %d follows", attempt, got.Attempt)
			}
		}
	}
}

// TestFreshIDIsNoneInUse: the other leader has counted up to the attempt that is next here, and its container, of an
// older spec, is still there.
func TestFreshIDIsNoneInUse(t *testing.T) {
	taken := taskID("id", 1, "n1", 1)
	in := Input{
		Services: []cluster.Service{{ID: "id", SpecVersion: 2, Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 1}}},
		Nodes:    []Node{{NodeFacts: cluster.NodeFacts{ID: "n1"}, Availability: cluster.Active, Condition: cluster.Ready}},
		Status:   map[string]Reported{taken: {Node: "n1", TaskStatus: cluster.TaskStatus{ServiceID: "id", Slot: 1, SpecVersion: 1, State: cluster.Running}}},
	}
	if got := Decide(in).Plans["web"].Tasks[0]; got.ID == taken || got.Attempt != 2 {
		t.Errorf("placed as %+v", got)
	}
}
