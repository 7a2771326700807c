package ingress

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// backend is a task that gets connections.
type backend struct {
	id, node string
	slot     int
	version  uint64 // of the spec that it was made from
	address  netip.Addr
}

// tasks are those of a service that this side of the cluster is to run. A service that stops on the smaller side of
// a partition has none there, whatever its plan says: its tasks are ended on this side, and get nothing new.
func tasks(v view.View, s cluster.Service) []cluster.Task {
	if s.Spec.OnPartition == cluster.StopOnPartition && cluster.Minority(v.Members, v.Settings) {
		return nil
	}
	return v.Plan(s)
}

// plannedTasks are the IDs of all tasks that are to run.
func plannedTasks(v view.View) map[string]bool {
	planned := map[string]bool{}
	for _, s := range v.Services {
		for _, t := range tasks(v, s) {
			planned[t.ID] = true
		}
	}
	return planned
}

// backends are the tasks of a service that get connections, in order of slot. Only what is planned and reported
// counts: a task leaves on whichever of the two events comes first.
//
// While nothing that is planned is ready, what still runs of the service serves on. The plan may be newer than the
// report of the task that it counts on, or be made by a leader that did not see the tasks that there were. Only a task
// whose end another one waits for is not held up by that.
func backends(v view.View, s cluster.Service, planned map[string]bool) []backend {
	wanted := tasks(v, s)
	var ready []backend
	for _, t := range wanted {
		if status, ok := v.Status(t.Node, t.ID); ok {
			if a, ok := reachable(v, t.Node, status); ok {
				ready = append(ready, backend{t.ID, t.Node, t.Slot, status.SpecVersion, a})
			}
		}
	}
	if len(ready) == 0 && len(wanted) > 0 {
		ready = slices.DeleteFunc(unplanned(v, s, planned), func(b backend) bool {
			return slices.ContainsFunc(wanted, func(t cluster.Task) bool { return t.Follows == b.id })
		})
	}
	slices.SortFunc(ready, func(a, b backend) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.node, b.node), cmp.Compare(a.id, b.id))
	})
	return ready
}

// unplanned are the tasks of a service that run without being in its plan.
func unplanned(v view.View, s cluster.Service, planned map[string]bool) []backend {
	var all []backend
	for _, m := range v.Members {
		if m.Condition != cluster.Ready {
			continue
		}
		for _, status := range v.Reports[m.ID].Tasks {
			if status.ServiceID != s.ID || planned[status.ID] {
				continue
			}
			if a, ok := reachable(v, m.ID, status); ok {
				all = append(all, backend{status.ID, m.ID, status.Slot, status.SpecVersion, a})
			}
		}
	}
	return all
}

// reachable returns the address of a task that may be sent requests. An address that is none of its node's is from
// before the node's subnet was changed; by now it leads to another node's container. What a node said before a
// partition is no more true either.
func reachable(v view.View, node string, status cluster.TaskStatus) (netip.Addr, bool) {
	if m, ok := v.Member(node); !ok || m.Unheard {
		return netip.Addr{}, false
	}
	subnet, _ := netip.ParsePrefix(v.Reports[node].Node.Subnet) // the zero one contains nothing
	a, err := netip.ParseAddr(status.Address)
	return a, err == nil && status.Ready() && subnet.Contains(a)
}
