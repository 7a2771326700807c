package dockerapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// task is one of the cluster's tasks, or of their earlier lives, with what docker wants to know of it.
type task struct {
	client.Task
	id      string // docker's
	past    bool
	made    time.Time // not before any that came before it in its slot
	service client.Service
}

// tasks are those of all services, or of one, in the order in which piswarm lists them: each before those that it followed.
func (s *server) tasks(ctx context.Context) ([]task, error) {
	services, err := s.api.ServiceDetails(ctx)
	if err != nil {
		return nil, err
	}
	listed, err := s.api.TaskHistory(ctx, "")
	if err != nil {
		return nil, err
	}
	of := byName(services)
	all := make([]task, 0, len(listed))
	seen := map[string]bool{}
	for _, t := range listed {
		one := task{Task: t, id: t.ID, service: of[t.Service], made: t.Since}
		if one.past = t.Desired == client.Shutdown || t.Desired == cluster.Complete; one.past && seen[t.ID] {
			one.id = lifeID(t.ID, t.Since)
		}
		if seen[one.id] {
			continue // two that ended in one second
		}
		seen[one.id] = true
		all = append(all, one)
	}
	// What is pending is as old as the service's last change, and yet came after what it follows.
	newest := map[string]time.Time{}
	for i := len(all) - 1; i >= 0; i-- {
		slot := slotOf(all[i].Task)
		newest[slot] = latest(all[i].made, newest[slot])
		all[i].made = newest[slot]
	}
	return all, nil
}

// slotOf names the slot of a task, or the node of one of a global service.
func slotOf(t client.Task) string {
	return taskName(t, "")
}

func (s *server) taskList(r *http.Request) (any, error) {
	f, err := readFilters(r, "id", "name", "label", "node", "service", "desired-state", "_up-to-date", "runtime")
	if err != nil {
		return nil, err
	}
	current, given, err := f.switched("_up-to-date")
	if err != nil {
		return nil, err
	}
	for _, state := range f["desired-state"] {
		switch swarm.TaskState(state) {
		case swarm.TaskStateRunning, swarm.TaskStateShutdown, swarm.TaskStateComplete, "accepted", "ready", "remove":
		default:
			return nil, badRequest("invalid filter 'desired-state=%s': want running, shutdown or complete", state)
		}
	}
	tasks, err := s.tasks(r.Context())
	if err != nil {
		return nil, err
	}
	all := []swarm.Task{}
	for _, t := range tasks {
		if !f.prefix("id", t.id) || !f.prefix("name", taskName(t.Task, t.id)) || !f.labels("label", t.service.Spec.Labels) ||
			!f.any("node", func(v string) bool { return v == swarmID(t.NodeID) && t.NodeID != "" || v == t.Node && v != "" }) ||
			!f.any("service", func(v string) bool { return v == t.service.ID || v == t.Service }) ||
			!f.equal("desired-state", string(desired(t.Task))) || !f.equal("runtime", "container") ||
			given && current != (t.SpecVersion == t.service.SpecVersion && !t.past) {
			continue
		}
		all = append(all, t.docker())
	}
	return all, nil
}

func (s *server) findTask(ctx context.Context, text string) (task, error) {
	all, err := s.tasks(ctx)
	if err != nil {
		return task{}, err
	}
	return match("task", text, all, func(t task) string { return t.id }, func(t task) string { return taskName(t.Task, t.id) })
}

func (s *server) taskInspect(r *http.Request) (any, error) {
	t, err := s.findTask(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return t.docker(), nil
}

// docker is the task in docker's words.
func (t task) docker() swarm.Task {
	spec := specOf(t.service, t.SpecVersion)
	out := swarm.Task{
		ID: t.id, Meta: swarm.Meta{Version: swarm.Version{Index: uint64(max(t.Since.Unix(), 1))}, CreatedAt: t.made, UpdatedAt: t.Since},
		Annotations: swarm.Annotations{Labels: map[string]string{}},
		Spec:        taskOut(spec), ServiceID: t.service.ID, Slot: t.Slot, NodeID: swarmID(t.NodeID), DesiredState: desired(t.Task),
		Status: swarm.TaskStatus{Timestamp: t.Since, State: stateOf(t.Task), Message: string(t.State), Err: t.Error},
	}
	if t.State == cluster.Unhealthy && t.Error == "" {
		out.Status.Err = "unhealthy"
	}
	if inContainer(t.Task) || t.past {
		out.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: containerID(t.id), ExitCode: t.ExitCode}
	}
	for _, p := range spec.Ports {
		if p.Mode == cluster.PortHost && !t.past {
			out.Status.PortStatus.Ports = append(out.Status.PortStatus.Ports, portsOut([]cluster.Port{p})...)
		}
	}
	if address, err := netip.ParseAddr(t.Address); err == nil {
		out.NetworksAttachments = []swarm.NetworkAttachment{{
			Network:   swarm.Network{ID: ingressID, Spec: swarm.NetworkSpec{Annotations: swarm.Annotations{Name: ingressName, Labels: map[string]string{}}}},
			Addresses: []netip.Prefix{netip.PrefixFrom(address, 16)},
		}}
	}
	if spec.Mode.Job() {
		out.JobIteration = &swarm.Version{Index: t.service.Generation}
	}
	return out
}

// desired is what is wanted of a task, in docker's words.
func desired(t client.Task) swarm.TaskState {
	switch t.Desired {
	case cluster.Stopping, client.Shutdown:
		return swarm.TaskStateShutdown
	case cluster.Complete:
		return swarm.TaskStateComplete
	}
	return swarm.TaskStateRunning
}

// stateOf is what a task does. One that is unhealthy is not there yet, or not any more, as in docker, which ends it.
func stateOf(t client.Task) swarm.TaskState {
	switch t.State {
	case cluster.Pending:
		if t.NodeID != "" {
			return swarm.TaskStateAssigned
		}
		return swarm.TaskStatePending
	case cluster.Unhealthy:
		return swarm.TaskStateStarting
	case cluster.Stopping:
		return swarm.TaskStateRunning
	}
	return swarm.TaskState(t.State)
}

// inContainer tells whether a task runs in a container now.
func inContainer(t client.Task) bool {
	return slices.Contains([]cluster.State{cluster.Running, cluster.Unhealthy, cluster.Stopping}, t.State)
}
