package api

import (
	"cmp"
	"slices"

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
			if t.Ended == "" {
				planned[t.Node]++
			}
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

// waiting are the nodes that want to be admitted. One that is ready was, and its last word before that may still be
// remembered.
func waiting(m *Member) []client.NodeStatus {
	v, all := m.View(), m.Waiting()
	return slices.DeleteFunc(all, func(n client.NodeStatus) bool { return v.Ready(n.ID) })
}

func node(v view.View, id string) client.Node {
	for _, n := range nodes(v) {
		if n.ID == id {
			return described(v, n)
		}
	}
	return described(v, client.NodeStatus{ID: id})
}

// described is a node with all that is known of it besides its line in a list.
func described(v view.View, line client.NodeStatus) client.Node {
	settings, report := v.SettingsOf(line.ID), v.Reports[line.ID]
	out := client.Node{
		NodeStatus: line, Role: settings.Role, Labels: map[string]string{}, Description: report.Node, Images: []cluster.Image{},
		Version: v.Versions[cluster.NodeKey(line.ID)].String(),
	}
	if settings.Labels != nil {
		out.Labels = settings.Labels
	}
	out.Images = append(out.Images, report.Images...)
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
