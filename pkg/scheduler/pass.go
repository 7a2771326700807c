package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// pass is the working memory of one call of Decide.
type pass struct {
	nodes    []*node // by ID
	byID     map[string]*node
	services []*service // by name
	frozen   []*service // whose plans stay as they are
	status   map[string]Reported
	minority bool
	matched  int      // reports of tasks that are planned
	freed    bool     // a task was taken off a node, whose room others may need
	back     []string // services to roll back, by name
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

// stays tells whether the node is there and goes on with what it has.
func (n *node) stays() bool {
	return n.Condition == cluster.Ready && !n.Leaving && n.Availability != cluster.Drain
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
	tasks   []*task // one a slot; a replacement hangs on the task that it replaces
	perNode []int   // number of tasks, replacements included, by node.index
	spread  []level
	present *edition
	past    []*edition // as far as they were needed
	orphans []Reported
	rollout
	rerun map[place]string // see runsStill
}

// global tells whether every node has one task of the service.
func (s *service) global() bool { return s.Spec.Mode.PerNode() }

func (s *service) job() bool { return s.Spec.Mode.Job() }

// task is a task of the plan in the making. Task.Node and node differ only until the task is placed anew or
// given up as pending.
type task struct {
	cluster.Task
	node    *node
	edition *edition
	rank    rank
	failing bool  // see service.failing
	next    *task // takes over as soon as it runs
	tried   bool  // an update has had its try here, and the slot has something else to do in this pass
}

// serves tells whether requests are lost without the task.
func (t *task) serves() bool { return t.rank >= departing && t.Ended == "" }

func newPass(in Input) *pass {
	p := &pass{byID: make(map[string]*node, len(in.Nodes)), status: in.Status, minority: in.Minority}
	for _, n := range in.Nodes {
		// Only a node that is there can hand anything over.
		n.Leaving = n.Leaving && n.Condition == cluster.Ready
		p.nodes = append(p.nodes, &node{Node: n, hash: hashString(n.ID)})
	}
	slices.SortFunc(p.nodes, func(a, b *node) int { return cmp.Compare(a.ID, b.ID) })
	for i, n := range p.nodes {
		n.index = i
		p.byID[n.ID] = n
	}
	for _, s := range in.Services {
		s := &service{
			Service: s, hash: hashString(s.ID), present: newEdition(s.SpecVersion, s.Spec),
			perNode: make([]int, len(p.nodes)), spread: spreadLevels(s.Spec.Placement.Spread, p.nodes),
		}
		if in.Minority && s.Spec.OnPartition == cluster.StopOnPartition {
			p.frozen = append(p.frozen, s)
			continue
		}
		p.services = append(p.services, s)
	}
	slices.SortFunc(p.services, func(a, b *service) int { return cmp.Compare(a.Spec.Name, b.Spec.Name) })
	return p
}

// assign puts a task of the service on a node.
func (s *service) assign(t *task, n *node) {
	t.node = n
	n.tasks++
	n.reserved = n.reserved.Add(t.edition.needs)
	for _, port := range t.edition.hostPorts {
		if n.hostPorts == nil {
			n.hostPorts = map[hostPort]int{}
		}
		n.hostPorts[port]++
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
	r := t.edition.needs
	n.reserved = n.reserved.Add(cluster.Amount{MemoryBytes: -r.MemoryBytes, NanoCPUs: -r.NanoCPUs})
	for _, port := range t.edition.hostPorts {
		n.hostPorts[port]--
	}
	s.perNode[n.index]--
	for i := range s.spread {
		s.spread[i].add(n, -1)
	}
}

// unplace takes a task off its node and leaves it without one.
func (s *service) unplace(t *task) {
	s.release(t)
	t.rank, t.failing = unplaced, false
}

// drop takes a task, and one that was to replace it, out of the plan for good.
func (s *service) drop(t *task) {
	s.abandon(t)
	if t.node != nil {
		s.release(t)
	}
	s.retired = max(s.retired, t.Attempt)
}
