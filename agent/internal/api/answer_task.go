package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// tasks are those that are planned, and those that still run though they are not; with history, also the past lives
// that nodes remember, each after the task that came after it.
func tasks(v view.View, only string, history bool) []client.Task {
	all := []client.Task{}
	told := map[life]bool{}
	planned := map[string]bool{}
	byID := map[string]cluster.Service{}
	names := map[string]string{}
	for _, m := range v.Members {
		names[m.ID] = m.Name
	}
	for _, s := range v.Services {
		byID[s.ID] = s
		for _, t := range v.Plan(s) {
			planned[t.ID] = true
			if only == "" || only == s.Spec.Name {
				task := plannedTask(v, s, t, names[t.Node])
				told[life{task.ID, task.Since}] = true
				all = append(all, task)
			}
		}
	}
	for id, report := range v.Reports {
		if !v.Ready(id) {
			continue
		}
		for _, t := range report.Tasks {
			if !planned[t.ID] && (only == "" || only == t.Service) {
				all = append(all, reported(byID[t.ServiceID], t, id, names[id], cluster.Stopping))
			}
		}
	}
	slices.SortFunc(all, inOrder)
	if !history {
		return all
	}
	var past []client.Task
	for id, report := range v.Reports {
		for _, t := range report.History {
			// That of a service which was removed is nobody's.
			s, ok := byID[t.ServiceID]
			if ok && (only == "" || only == t.Service) && !told[life{t.ID, seconds(t.Since)}] {
				past = append(past, reported(s, t, id, names[id], client.Shutdown))
			}
		}
	}
	slices.SortFunc(past, func(a, b client.Task) int { return cmp.Or(b.Since.Compare(a.Since), inOrder(a, b)) })
	all = append(all, past...)
	slices.SortStableFunc(all, sameName)
	return all
}

// life is a task from one start to its end: a task that is restarted has several.
type life struct {
	task  string
	since time.Time
}

// inOrder sorts tasks for a list.
func inOrder(a, b client.Task) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID))
}

// sameName is inOrder without what tells tasks of one slot, or of one node of a global service, apart.
func sameName(a, b client.Task) int {
	n := cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot))
	if n == 0 && a.Slot == 0 {
		n = cmp.Compare(a.Node, b.Node)
	}
	return n
}

// reported is a task as its node tells of it.
func reported(s cluster.Service, t cluster.TaskStatus, id, node string, desired cluster.State) client.Task {
	return client.Task{
		ID: t.ID, Service: t.Service, Slot: t.Slot, Node: node, NodeID: id, Image: image(s, t.SpecVersion), SpecVersion: t.SpecVersion,
		Desired: desired, State: t.State, Address: t.Address, Since: seconds(t.Since), Error: t.Error, ExitCode: t.ExitCode,
	}
}

func plannedTask(v view.View, s cluster.Service, t cluster.Task, node string) client.Task {
	out := client.Task{
		ID: t.ID, Service: s.Spec.Name, Slot: t.Slot, Node: node, NodeID: t.Node, Image: image(s, t.SpecVersion), SpecVersion: t.SpecVersion,
		Desired: cluster.Running, State: cluster.Pending, Since: s.UpdatedAt, Error: t.Reason,
	}
	status, ok := v.Status(t.Node, t.ID)
	switch {
	case t.Ended != "":
		return endedTask(v, s, t, out)
	case ok:
		out.State, out.Address, out.Since, out.Error = status.State, status.Address, status.Since, status.Error
		out.ExitCode = status.ExitCode
	case t.Node != "" && !v.Ready(t.Node):
		out.State, out.Error = cluster.Orphaned, "node "+node+" is down"
	}
	out.Since = seconds(out.Since)
	return out
}

// endedTask is one that is not run again. What is left of it, if anything, is in the last report of its node.
func endedTask(v view.View, s cluster.Service, t cluster.Task, out client.Task) client.Task {
	out.Desired, out.State = client.Shutdown, t.Ended
	if s.Spec.Mode.Job() && t.Ended == cluster.Complete {
		out.Desired = cluster.Complete
	}
	report := v.Reports[t.Node]
	for _, last := range slices.Concat(report.Tasks, report.History) {
		if last.ID == t.ID && last.State == t.Ended {
			out.Since, out.Error, out.ExitCode = last.Since, last.Error, last.ExitCode
			break
		}
	}
	out.Since = seconds(out.Since)
	return out
}

// image is what tasks of that version run; empty where nobody remembers.
func image(s cluster.Service, version uint64) string {
	spec, _ := s.SpecOf(version)
	return spec.Container.Image
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
