package scheduler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Unknown is the condition of a node that the leader cannot judge yet: it leads since a moment ago and has
// neither seen the node nor waited long enough to call it down, or the node's report has not arrived. Such a
// node keeps its tasks and gets no new ones; it is for the leader to end the doubt. Only the scheduler knows this condition; to users the node is
// down.
const Unknown cluster.Condition = "unknown"

// Input is what the leader knows. The order of services, nodes and tasks does not matter.
type Input struct {
	Services []cluster.Service
	// Nodes are those that the cluster knows, each once. A task on any other node is re-placed.
	Nodes []Node
	// Plans are the present ones, by name of the service.
	Plans map[string]cluster.Plan
	// Status is what ready nodes report of their tasks, planned or not, by ID of the task.
	Status map[string]Reported
	// Minority says that less than half of the known nodes are ready. Then plans of services that stop on such a
	// side of a partition stay as they are, for the other side's leader to continue.
	Minority bool
}

// Reported is what a node says of a task.
type Reported struct {
	Node string
	cluster.TaskStatus
	// For is how long the leader has seen the task in its present state, without a restart.
	For time.Duration
	// Ran is how long, before that, the leader has seen it run at a stretch.
	Ran time.Duration
}

// Node is a node as the scheduler sees it. Only a ready node needs more than an ID, an availability and the
// labels.
type Node struct {
	cluster.NodeFacts
	Platform     cluster.Platform
	Capacity     cluster.Amount
	MemoryLimit  bool // the kernel can limit a container's memory
	Availability cluster.Availability
	Condition    cluster.Condition // also Unknown
	// Leaving says that the ready node shuts down: its tasks move away where something fits.
	Leaving bool
	// Settled says that the node has been ready for long enough to get running tasks of other nodes.
	Settled bool
}

// Output is what is to be written.
type Output struct {
	// Plans are those that differ from the input's, by name of the service.
	Plans map[string]cluster.Plan
	// Delete names the plans whose service is gone, sorted. A service that has merely not been received yet looks
	// the same, so whoever has just started compares its state with a peer's before it acts on any of this.
	Delete []string
	// Rollback names the services that are to go back to the spec that they had before, because too many tasks of the
	// present one failed, sorted. It names them until they do.
	Rollback []string
}

// Decide makes the plans that follow from the input. It takes any plan and repairs what is wrong with it. It
// does not change its input.
func Decide(in Input) Output {
	p := newPass(in)
	for _, s := range slices.Concat(p.services, p.frozen) {
		s.read(p, in.Plans[s.Spec.Name])
	}
	p.findOrphans()
	for _, s := range p.services {
		s.adopt(p)
		s.judge(p)
	}
	for p.freed = true; p.freed; {
		p.freed = false
		// Room that a moving task leaves may be what a task without a node needs, so moving comes first.
		p.moveFailing()
		// A global service has no choice of nodes: what it needs, others must not take.
		for _, global := range []bool{true, false} {
			for _, s := range p.services {
				if s.global() == global {
					s.place(p)
				}
			}
		}
		// What is to get better comes after what has to be somewhere at all.
		for _, s := range p.services {
			s.turn(p)
		}
	}
	for _, s := range p.services {
		s.conclude(p)
	}
	p.rebalance()
	// Reasons come last, when every node has all that it will have: otherwise the next call would give others.
	for _, s := range p.services {
		s.explain(p)
		s.explainUpdate(p)
	}
	return p.output(in.Plans)
}

// output is what differs from the present plans.
func (p *pass) output(present map[string]cluster.Plan) Output {
	out := Output{Plans: map[string]cluster.Plan{}, Rollback: p.back}
	named := make(map[string]bool, len(p.services)+len(p.frozen))
	for _, s := range p.frozen {
		named[s.Spec.Name] = true
	}
	for _, s := range p.services {
		named[s.Spec.Name] = true
		plan := s.plan()
		if old, ok := present[s.Spec.Name]; !ok || !samePlan(old, plan) {
			out.Plans[s.Spec.Name] = plan
		}
	}
	if p.minority {
		// What a service wanted is not known any more once it is gone. Its tasks end without this, too.
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if !named[name] {
			out.Delete = append(out.Delete, name)
		}
	}
	return out
}

func (s *service) plan() cluster.Plan {
	plan := cluster.Plan{
		ServiceID: s.ID, Tasks: make([]cluster.Task, 0, len(s.tasks)+1), Retired: s.retired, Update: s.update,
	}
	for _, t := range s.tasks {
		plan.Tasks = append(plan.Tasks, t.Task)
		if t.next != nil {
			plan.Tasks = append(plan.Tasks, t.next.Task)
		}
	}
	slices.SortFunc(plan.Tasks, func(a, b cluster.Task) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Attempt, b.Attempt))
	})
	return plan
}

func samePlan(a, b cluster.Plan) bool {
	return a.ServiceID == b.ServiceID && a.Retired == b.Retired && sameUpdate(a.Update, b.Update) && slices.EqualFunc(a.Tasks, b.Tasks, sameTask)
}

func sameTask(a, b cluster.Task) bool {
	return a.ID == b.ID && a.Slot == b.Slot && a.Node == b.Node && a.SpecVersion == b.SpecVersion &&
		a.Reason == b.Reason && a.Attempt == b.Attempt && a.Replaces == b.Replaces && a.Follows == b.Follows &&
		a.Ended == b.Ended && slices.Equal(a.Avoid, b.Avoid)
}

func sameUpdate(a, b cluster.Update) bool {
	return a.Generation == b.Generation && a.State == b.State && a.Base == b.Base && a.Message == b.Message &&
		slices.Equal(a.Failed, b.Failed)
}
