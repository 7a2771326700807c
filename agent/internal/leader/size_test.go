package leader

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/scheduler"
	"github.com/piswarm/piswarm/pkg/state"
)

// TestLargestPlansFit into a record: of as many replicas as there may be, while each has a successor that waits for its end
// and has failed elsewhere, and where none fits, for each reason that there is.
func TestLargestPlansFit(t *testing.T) {
	id := func(i int) string { return fmt.Sprintf("%016x", ^uint64(i)) }
	spec := cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: cluster.MaxReplicas}.WithDefaults()
	spec.Resources.Reservations = cluster.Amount{MemoryBytes: 1, NanoCPUs: 1}
	spec.Resources.Limits.MemoryBytes = cluster.MinMemoryLimit
	spec.Container.Platforms = []cluster.Platform{{OS: "linux", Arch: "arm"}}
	in := scheduler.Input{
		Services: []cluster.Service{{ID: id(0), SpecVersion: ^uint64(0) >> 1, Spec: spec}}, Plans: map[string]cluster.Plan{},
	}
	arm, able := spec.Container.Platforms[0], cluster.Amount{MemoryBytes: 1 << 30, NanoCPUs: 4e9}
	node := func(change func(*scheduler.Node)) {
		n := scheduler.Node{
			NodeFacts: cluster.NodeFacts{ID: id(len(in.Nodes))}, Platform: arm, Capacity: able, MemoryLimit: true,
			Availability: cluster.Active, Condition: cluster.Ready,
		}
		change(&n)
		in.Nodes = append(in.Nodes, n)
	}
	for _, change := range []func(*scheduler.Node){
		func(n *scheduler.Node) { n.Condition = cluster.Down },
		func(n *scheduler.Node) { n.Availability = cluster.Pause },
		func(n *scheduler.Node) { n.Availability = cluster.Drain },
		func(n *scheduler.Node) { n.Leaving = true },
		func(n *scheduler.Node) { n.Platform.Arch = "amd64" },
		func(n *scheduler.Node) { n.MemoryLimit = false },
		func(n *scheduler.Node) { n.Capacity.MemoryBytes = 0 },
		func(n *scheduler.Node) { n.Capacity.NanoCPUs = 0 },
	} {
		for range 10 {
			node(change)
		}
	}
	fits(t, "none fits", scheduler.Decide(in).Plans["web"])

	for range 50 {
		node(func(*scheduler.Node) {})
	}
	plan := scheduler.Decide(in).Plans["web"]
	for _, old := range plan.Tasks {
		next := old
		next.ID, next.SpecVersion = old.ID[:len(old.ID)-1]+"x", old.SpecVersion-1
		next.Follows, next.Attempt, next.Avoid = old.ID, 99, []string{id(1), id(2), id(3), id(4)}
		plan.Tasks = append(plan.Tasks, next)
	}
	fits(t, "in an update", plan)
}

func fits(t *testing.T, what string, plan cluster.Plan) {
	t.Helper()
	raw, err := json.Marshal(plan)
	if err != nil || len(plan.Tasks) < cluster.MaxReplicas || len(raw) > state.MaxValue {
		t.Errorf("%s: %d tasks have %d bytes, most is %d, %v", what, len(plan.Tasks), len(raw), state.MaxValue, err)
	}
	t.Logf("%s: %d tasks, %d bytes, the last is %+v", what, len(plan.Tasks), len(raw), plan.Tasks[len(plan.Tasks)-1])
}
