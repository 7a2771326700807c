package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// filter is what keeps a node from getting a task, in the order in which they are asked. A node counts for
// the first that refuses it.
type filter int

const (
	fits filter = iota
	notReady
	paused
	draining
	leaving
	platform
	constraints
	memoryLimit
	memory
	cpu
	maxPerNode
	hostPorts
	filters // their number
)

// clauses say in a task's reason why nodes do not fit. %s is the number of nodes, as "2 nodes".
var clauses = [filters]string{
	notReady:    "%s not ready",
	paused:      "%s paused",
	draining:    "%s drained",
	leaving:     "%s shutting down",
	platform:    "unsupported platform on %s",
	constraints: "scheduling constraints not satisfied on %s",
	memoryLimit: "memory limits are off in the kernel of %s, add cgroup_enable=memory cgroup_memory=1 to cmdline.txt and reboot",
	memory:      "insufficient memory on %s",
	cpu:         "insufficient CPU on %s",
	maxPerNode:  "max replicas per node reached on %s",
	hostPorts:   "host-mode port already in use on %s",
}

// ability asks the filters whose answer is the same for every task of the edition throughout one pass.
func (s *service) ability(e *edition, n *node) filter {
	switch {
	case n.Condition != cluster.Ready:
		return notReady
	case n.Availability == cluster.Pause:
		return paused
	case n.Availability != cluster.Active:
		return draining
	case n.Leaving:
		return leaving
	}
	return s.suits(e, n)
}

// suits asks those of them that are about what the node is, not about what becomes of it.
func (s *service) suits(e *edition, n *node) filter {
	switch {
	case len(e.platforms) > 0 && !slices.ContainsFunc(e.platforms, n.Platform.Runs):
		return platform
	case !s.constraintsHold(n):
		return constraints
	case e.memoryLimit && !n.MemoryLimit:
		return memoryLimit
	}
	return fits
}

// room asks the filters whose answer depends on what is planned on the node so far.
func (s *service) room(e *edition, n *node) filter {
	switch {
	case e.needs.MemoryBytes > 0 && n.reserved.MemoryBytes+e.needs.MemoryBytes > n.Capacity.MemoryBytes:
		return memory
	case e.needs.NanoCPUs > 0 && n.reserved.NanoCPUs+e.needs.NanoCPUs > n.Capacity.NanoCPUs:
		return cpu
	case s.Spec.Placement.MaxPerNode > 0 && s.perNode[n.index] >= s.Spec.Placement.MaxPerNode:
		return maxPerNode
	case e.hostPortTaken(n):
		return hostPorts
	}
	return fits
}

func (s *service) constraintsHold(n *node) bool {
	for _, c := range s.Spec.Placement.Constraints {
		if !c.Holds(n.NodeFacts) {
			return false
		}
	}
	return true
}

func (e *edition) hostPortTaken(n *node) bool {
	for _, port := range e.hostPorts {
		if n.hostPorts[port] > 0 {
			return true
		}
	}
	return false
}

// candidates are the nodes that could run the edition if they had room. Most passes place nothing, so they
// are looked for only when asked.
func (s *service) candidates(p *pass, e *edition) []*node {
	if e.able == nil {
		e.able = make([]*node, 0, len(p.nodes))
		for _, n := range p.nodes {
			if s.ability(e, n) == fits {
				e.able = append(e.able, n)
			}
		}
	}
	return e.able
}

// explain gives the tasks that are left without a node their reason. Where a global service fits on no node at all,
// one task without a node stands in the plan to carry it.
func (s *service) explain(p *pass) {
	if s.global() && len(s.tasks) == 0 {
		s.tasks = append(s.tasks, s.newTask(0, ""))
	}
	reasons := map[*edition]string{}
	for _, t := range s.tasks {
		if t.node != nil || t.Ended != "" {
			continue
		}
		e := s.own(t)
		if reasons[e] == "" {
			reasons[e] = s.reason(p, e)
		}
		t.Task = cluster.Task{
			ID:          taskID(s.ID, t.Slot, "", t.Attempt),
			Slot:        t.Slot,
			SpecVersion: e.version,
			Reason:      reasons[e],
			Attempt:     t.Attempt,
			Avoid:       t.avoidedBy(e),
			Follows:     s.follows(p, t),
		}
	}
}

// reason says why no node fits, in docker's words where docker has them.
func (s *service) reason(p *pass, e *edition) string {
	var count [filters]int
	for _, n := range p.nodes {
		if n.Condition == cluster.Left {
			continue
		}
		refusal := s.ability(e, n)
		if refusal == fits {
			refusal = s.room(e, n)
		}
		count[refusal]++
	}
	var parts []string
	for f, clause := range clauses {
		if clause != "" && count[f] > 0 {
			parts = append(parts, fmt.Sprintf(clause, nodes(count[f])))
		}
	}
	if len(parts) == 0 {
		return "no suitable node (there are no nodes)"
	}
	return "no suitable node (" + strings.Join(parts, "; ") + ")"
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
