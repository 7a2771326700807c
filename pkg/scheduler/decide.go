package scheduler

import (
	"cmp"
	"maps"
	"slices"

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
	// Status is what ready nodes report of their tasks, by ID of the task.
	Status map[string]cluster.TaskStatus
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
}

// Output is what is to be written.
type Output struct {
	// Plans are those that differ from the input's, by name of the service.
	Plans map[string]cluster.Plan
	// Delete names the plans whose service is gone, sorted. A service that has merely not been received yet looks
	// the same, so whoever has just started compares its state with a peer's before it acts on any of this.
	Delete []string
}

// Decide makes the plans that follow from the input. It takes any plan and repairs what is wrong with it. It
// does not change its input.
func Decide(in Input) Output {
	p := newPass(in)
	for _, s := range p.services {
		s.adopt(p, in.Plans[s.Spec.Name])
	}
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
	// Reasons come last, when every node has all that it will have: otherwise the next call would give others.
	for _, s := range p.services {
		s.explain(p)
	}
	return p.output(in.Plans)
}

// pass is the working memory of one call of Decide.
type pass struct {
	nodes    []*node // by ID
	byID     map[string]*node
	services []*service // by name
	status   map[string]cluster.TaskStatus
}

// node is a node and what is planned on it.
type node struct {
	Node
	index     int // in pass.nodes
	hash      uint64
	tasks     int // of all services
	reserved  cluster.Amount
	hostPorts map[hostPort]int // number of tasks that need each
}

type hostPort struct {
	port     uint16
	protocol cluster.Protocol
}

// service is a service and its plan in the making.
type service struct {
	cluster.Service
	hash    uint64
	retired uint64
	tasks   []*task
	perNode []int // number of tasks by node.index
	spread  []level
	able    []*node // see candidates
}

func (s *service) global() bool { return s.Spec.Mode == cluster.Global }

// task is a task of the plan in the making. Task.Node and node differ only until the task is placed anew or
// given up as pending.
type task struct {
	cluster.Task
	node *node
	rank rank
}

func newPass(in Input) *pass {
	p := &pass{byID: make(map[string]*node, len(in.Nodes)), status: in.Status}
	for _, n := range in.Nodes {
		p.nodes = append(p.nodes, &node{Node: n, hash: hashString(n.ID)})
	}
	slices.SortFunc(p.nodes, func(a, b *node) int { return cmp.Compare(a.ID, b.ID) })
	for i, n := range p.nodes {
		n.index = i
		p.byID[n.ID] = n
	}
	for _, s := range in.Services {
		p.services = append(p.services, &service{Service: s, hash: hashString(s.ID)})
	}
	slices.SortFunc(p.services, func(a, b *service) int { return cmp.Compare(a.Spec.Name, b.Spec.Name) })
	return p
}

// assign puts a task of the service on a node.
func (s *service) assign(t *task, n *node) {
	t.node = n
	n.tasks++
	n.reserved = n.reserved.Add(s.Spec.Resources.Reservations)
	for _, port := range s.Spec.Ports {
		if port.Mode == cluster.PortHost {
			if n.hostPorts == nil {
				n.hostPorts = map[hostPort]int{}
			}
			n.hostPorts[hostPort{port.Published, port.Protocol}]++
		}
	}
	s.perNode[n.index]++
	for i := range s.spread {
		s.spread[i].add(n, 1)
	}
}

// release takes a task of the service off its node.
func (s *service) release(t *task) {
	n := t.node
	t.node = nil
	n.tasks--
	r := s.Spec.Resources.Reservations
	n.reserved = n.reserved.Add(cluster.Amount{MemoryBytes: -r.MemoryBytes, NanoCPUs: -r.NanoCPUs})
	for _, port := range s.Spec.Ports {
		if port.Mode == cluster.PortHost {
			n.hostPorts[hostPort{port.Published, port.Protocol}]--
		}
	}
	s.perNode[n.index]--
	for i := range s.spread {
		s.spread[i].add(n, -1)
	}
}

// drop takes a task out of the plan for good.
func (s *service) drop(t *task) {
	if t.node != nil {
		s.release(t)
	}
	s.retired = max(s.retired, t.Attempt)
}

// output is what differs from the present plans.
func (p *pass) output(present map[string]cluster.Plan) Output {
	out := Output{Plans: map[string]cluster.Plan{}}
	named := make(map[string]bool, len(p.services))
	for _, s := range p.services {
		named[s.Spec.Name] = true
		plan := s.plan()
		if old, ok := present[s.Spec.Name]; !ok || !samePlan(old, plan) {
			out.Plans[s.Spec.Name] = plan
		}
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if !named[name] {
			out.Delete = append(out.Delete, name)
		}
	}
	return out
}

func (s *service) plan() cluster.Plan {
	plan := cluster.Plan{ServiceID: s.ID, Tasks: make([]cluster.Task, len(s.tasks)), Retired: s.retired}
	for i, t := range s.tasks {
		plan.Tasks[i] = t.Task
	}
	slices.SortFunc(plan.Tasks, func(a, b cluster.Task) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node))
	})
	return plan
}

func samePlan(a, b cluster.Plan) bool {
	return a.ServiceID == b.ServiceID && a.Retired == b.Retired && slices.EqualFunc(a.Tasks, b.Tasks, sameTask)
}

func sameTask(a, b cluster.Task) bool {
	return a.ID == b.ID && a.Slot == b.Slot && a.Node == b.Node && a.SpecVersion == b.SpecVersion &&
		a.Reason == b.Reason && a.Attempt == b.Attempt && slices.Equal(a.Avoid, b.Avoid)
}
