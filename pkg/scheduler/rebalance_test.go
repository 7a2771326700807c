package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// allRun is the input in which every planned task runs.
func allRun(in Input) Input {
	in.Status = map[string]Reported{}
	for _, plan := range in.Plans {
		for _, t := range plan.Tasks {
			in.Status[t.ID] = Reported{Node: t.Node, TaskStatus: cluster.TaskStatus{
				ID: t.ID, ServiceID: plan.ServiceID, Slot: t.Slot, SpecVersion: t.SpecVersion, State: cluster.Running,
			}}
		}
	}
	return in
}

// potential is what every polite move makes less: see rebalance.
func potential(in Input) (services, nodes int) {
	total := map[string]int{}
	for _, plan := range in.Plans {
		perNode := map[string]int{}
		for _, t := range plan.Tasks {
			perNode[t.Node]++
			total[t.Node]++
		}
		for node, n := range perNode {
			if node != "" {
				services += n * n
			}
		}
	}
	for node, n := range total {
		if node != "" {
			nodes += n * n
		}
	}
	return services, nodes
}

// TestRebalanceEnds lets random shelves get nodes back. One move at a time is made, each lessens the potential, and
// no more are made than the potential allows.
func TestRebalanceEnds(t *testing.T) {
	moves := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		in := roomyShelf(r)
		// First the work is on some of the nodes.
		few := in
		few.Nodes = in.Nodes[:1+r.IntN(len(in.Nodes))]
		few.Status = nil
		in.Plans = apply(few, Decide(few)).Plans
		in = allRun(in)
		in = allRun(apply(in, Decide(in))) // what was pending gets room
		rounds := 0
		for {
			checkOneMove(t, seed, in)
			services, nodes := potential(in)
			out := Decide(in)
			if len(out.Plans) == 0 {
				break
			}
			in = apply(in, out)
			checkOneMove(t, seed, in)
			moving := pairs(in)
			in = allRun(in)
			in = apply(in, Decide(in)) // the old one is dropped, and another move may begin at once
			rested := in
			rested.Plans = withoutNew(in.Plans)
			if s, n := potential(rested); moving > 0 && (s > services || s == services && n >= nodes) {
				t.Fatalf("seed %d: a move took the potential from %d/%d to %d/%d", seed, services, nodes, s, n)
			}
			if moves++; rounds > 500 {
				t.Fatalf("seed %d: it goes on for ever: %s", seed, asJSON(t, in))
			}
			rounds++
			in.Plans = rested.Plans
			in = allRun(in)
		}
	}
	if moves < 100 {
		t.Errorf("only %d moves were made: the test shows little", moves)
	}
	t.Log("moves:", moves)
}

// roomyShelf is random, but so that most services have room and most nodes have settled.
func roomyShelf(r *rand.Rand) Input {
	in := Input{}
	for i := range 2 + r.IntN(7) {
		id := fmt.Sprint("pi", i)
		in.Nodes = append(in.Nodes, Node{
			NodeFacts:    cluster.NodeFacts{ID: id, Labels: map[string]string{"room": pick(r, []string{"a", "b", "c"})}},
			Capacity:     cluster.Amount{MemoryBytes: int64(1+r.IntN(4)) << 30, NanoCPUs: 4e9},
			Availability: pick(r, []cluster.Availability{cluster.Active, cluster.Active, cluster.Active, cluster.Pause}),
			Condition:    cluster.Ready,
			Settled:      r.IntN(5) > 0,
		})
	}
	in.Nodes[0].Availability = cluster.Active
	for i := range 1 + r.IntN(8) {
		s := cluster.Service{ID: fmt.Sprint("id", i), Spec: cluster.Spec{Name: fmt.Sprint("s", i), Mode: cluster.Replicated, Replicas: r.IntN(9)}}
		switch r.IntN(5) {
		case 0:
			s.Spec.Resources.Reservations.MemoryBytes = int64(r.IntN(3)) << 26
		case 1:
			s.Spec.Placement.Spread = []string{"node.labels.room"}
		case 2:
			s.Spec.Placement.Constraints = []cluster.Constraint{{Attribute: "node.id", Not: true, Value: pick(r, in.Nodes[1:]).ID}}
		}
		in.Services = append(in.Services, s)
	}
	return in
}

// pairs counts the moves under way.
func pairs(in Input) int {
	n := 0
	for _, plan := range in.Plans {
		for _, t := range plan.Tasks {
			if t.Replaces != "" {
				n++
			}
		}
	}
	return n
}

// withoutNew takes the new tasks of moves out of the plans.
func withoutNew(plans map[string]cluster.Plan) map[string]cluster.Plan {
	out := map[string]cluster.Plan{}
	for name, plan := range plans {
		plan.Tasks = slices.DeleteFunc(slices.Clone(plan.Tasks), func(t cluster.Task) bool { return t.Replaces != "" })
		out[name] = plan
	}
	return out
}

func checkOneMove(t *testing.T, seed uint64, in Input) {
	t.Helper()
	if n := pairs(in); n > 1 {
		t.Fatalf("seed %d: %d moves at a time: %s", seed, n, asJSON(t, in.Plans))
	}
}

// TestReturnedNodeGetsItsShare: of equal nodes, one that was away ends with as much as the others, whatever number of
// services and tasks there is.
func TestReturnedNodeGetsItsShare(t *testing.T) {
	for replicas := 1; replicas < 12; replicas++ {
		in := Input{}
		for i := range 4 {
			in.Nodes = append(in.Nodes, Node{
				NodeFacts: cluster.NodeFacts{ID: fmt.Sprint("n", i)}, Availability: cluster.Active, Condition: cluster.Ready, Settled: true,
			})
		}
		for i := range 5 {
			in.Services = append(in.Services, cluster.Service{ID: fmt.Sprint("s", i), Spec: cluster.Spec{
				Name: fmt.Sprint("s", i), Mode: cluster.Replicated, Replicas: replicas,
			}})
		}
		in.Nodes[3].Condition = cluster.Down
		in = allRun(apply(in, Decide(in)))
		in.Nodes[3].Condition = cluster.Ready
		for range 200 {
			in = allRun(apply(in, Decide(in)))
		}
		total := map[string]int{}
		for name, plan := range in.Plans {
			perNode := map[string]int{}
			for _, task := range plan.Tasks {
				perNode[task.Node]++
				total[task.Node]++
			}
			for i := range 4 {
				if n := perNode[fmt.Sprint("n", i)]; n != replicas/4 && n != (replicas+3)/4 {
					t.Errorf("%d replicas: %s is spread as %v", replicas, name, perNode)
				}
			}
		}
		for i := range 4 {
			if n := total[fmt.Sprint("n", i)]; n < 5*replicas/4-1 || n > (5*replicas+3)/4+1 {
				t.Errorf("%d replicas: tasks of all services are spread as %v", replicas, total)
			}
		}
	}
}
