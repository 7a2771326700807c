package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func status(v view.View) client.Status {
	s := client.Status{Cluster: v.Cluster.Name, Nodes: nodes(v), Services: services(v)}
	if m, ok := v.Member(v.Leader); ok {
		s.Leader = m.Name
	}
	return s
}

// nodes are all known nodes in order of name.
func nodes(v view.View) []client.NodeStatus {
	planned := map[string]int{}
	for _, s := range v.Services {
		for _, t := range v.Plan(s) {
			planned[t.Node]++
		}
	}
	all := make([]client.NodeStatus, 0, len(v.Members))
	for _, m := range v.Members {
		report, settings := v.Reports[m.ID], v.SettingsOf(m.ID)
		n := client.NodeStatus{
			ID: m.ID, Name: m.Name, Address: report.Node.Address, State: m.Condition,
			Availability: settings.Availability, Leader: m.ID == v.Leader,
			OS: report.Node.Platform.OS, Arch: report.Node.Platform.Arch, Variant: report.Node.Platform.Variant,
			Tasks: planned[m.ID], Warnings: []string{},
		}
		if m.Address.IsValid() {
			n.Address = m.Address.String()
		}
		if m.Condition == cluster.Ready {
			n.Warnings = append(n.Warnings, report.Warnings...)
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b client.NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func node(v view.View, id string) client.Node {
	out := client.Node{Labels: map[string]string{}, Images: []cluster.Image{}}
	for _, n := range nodes(v) {
		if n.ID == id {
			out.NodeStatus = n
		}
	}
	settings, report := v.SettingsOf(id), v.Reports[id]
	out.Role, out.Description = settings.Role, report.Node
	if settings.Labels != nil {
		out.Labels = settings.Labels
	}
	out.Images = append(out.Images, report.Images...)
	return out
}

func services(v view.View) []client.ServiceStatus {
	all := make([]client.ServiceStatus, 0, len(v.Services))
	for _, s := range v.Services {
		all = append(all, service(v, s).Status)
	}
	return all
}

func service(v view.View, s cluster.Service) client.Service {
	st := client.ServiceStatus{
		ID: s.ID, Name: s.Spec.Name, Mode: s.Spec.Mode, Image: s.Spec.Container.Image,
		Ports: []cluster.Port{}, Update: client.UpdateStatus{State: client.UpdateCompleted},
	}
	st.Ports = append(st.Ports, s.Spec.Ports...)
	plan := v.Plan(s)
	st.Replicas.Desired = s.Spec.Replicas
	if s.Spec.Mode == cluster.Global {
		st.Replicas.Desired = 0
	}
	// A slot of which two tasks run, because one of them is replaced by the other, is still one replica.
	type place struct {
		slot int
		node string
	}
	running := map[place]bool{}
	for _, t := range plan {
		at := place{slot: t.Slot}
		if s.Spec.Mode == cluster.Global {
			at.node = t.Node
		}
		if s.Spec.Mode == cluster.Global && t.Node != "" {
			st.Replicas.Desired++
		}
		if status, ok := v.Status(t.Node, t.ID); ok && status.State == cluster.Running {
			running[at] = true
		}
	}
	st.Replicas.Running = len(running)
	return client.Service{Service: s, Status: st}
}

// tasks are those that shall run, and those that still do though they shall not.
func tasks(v view.View, only string) []client.Task {
	all := []client.Task{}
	planned := map[string]bool{}
	images := map[string]string{}
	names := map[string]string{}
	for _, m := range v.Members {
		names[m.ID] = m.Name
	}
	for _, s := range v.Services {
		images[s.ID] = s.Spec.Container.Image
		for _, t := range v.Plan(s) {
			planned[t.ID] = true
			if only == "" || only == s.Spec.Name {
				all = append(all, plannedTask(v, s, t, names[t.Node]))
			}
		}
	}
	for id, report := range v.Reports {
		if !v.Ready(id) {
			continue
		}
		for _, t := range report.Tasks {
			if planned[t.ID] || only != "" && only != t.Service {
				continue
			}
			all = append(all, client.Task{
				ID: t.ID, Service: t.Service, Slot: t.Slot, Node: names[id], Image: images[t.ServiceID],
				Desired: cluster.Stopping, State: t.State, Address: t.Address, Since: t.Since, Error: t.Error,
			})
		}
	}
	slices.SortFunc(all, func(a, b client.Task) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func plannedTask(v view.View, s cluster.Service, t cluster.Task, node string) client.Task {
	out := client.Task{
		ID: t.ID, Service: s.Spec.Name, Slot: t.Slot, Node: node, Image: s.Spec.Container.Image,
		Desired: cluster.Running, State: cluster.Pending, Since: s.UpdatedAt, Error: t.Reason,
	}
	status, ok := v.Status(t.Node, t.ID)
	switch {
	case ok:
		out.State, out.Address, out.Since, out.Error = status.State, status.Address, status.Since, status.Error
	case t.Node != "" && !v.Ready(t.Node):
		out.State, out.Error = cluster.Orphaned, "node "+node+" is down"
	}
	out.Since = out.Since.UTC().Truncate(time.Second)
	return out
}

// images are what the ready nodes hold, one line for each name and digest.
func images(v view.View) []client.Image {
	type key struct{ name, digest string }
	byKey := map[key]*client.Image{}
	for _, m := range v.Members {
		if m.Condition != cluster.Ready {
			continue
		}
		for _, i := range v.Reports[m.ID].Images {
			k := key{i.Name, i.Digest}
			if byKey[k] == nil {
				byKey[k] = &client.Image{Name: i.Name, Digest: i.Digest, SizeBytes: i.SizeBytes}
			}
			byKey[k].Nodes = append(byKey[k].Nodes, m.Name)
		}
	}
	all := make([]client.Image, 0, len(byKey))
	for _, i := range byKey {
		slices.Sort(i.Nodes)
		all = append(all, *i)
	}
	slices.SortFunc(all, func(a, b client.Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	return all
}
