package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// happened tells what has changed between two looks at the cluster, in an order that people expect: nodes, what the user
// wrote, tasks. What changed and changed back in between is not in it.
func happened(before, now view.View, at time.Time) []client.Event {
	h := &happening{at: at}
	h.nodes(before, now)
	h.services(before, now)
	h.files(cluster.KindSecret, headsOf(before.Secrets, secretHead), headsOf(now.Secrets, secretHead))
	h.files(cluster.KindConfig, headsOf(before.Configs, configHead), headsOf(now.Configs, configHead))
	h.tasks(before, now)
	return h.events
}

type happening struct {
	at     time.Time
	events []client.Event
}

func (h *happening) add(e client.Event) {
	e.Time = h.at
	h.events = append(h.events, e)
}

func (h *happening) nodes(before, now view.View) {
	was := map[string]cluster.Member{}
	for _, m := range before.Members {
		was[m.ID] = m
	}
	for _, m := range now.Members {
		old, known := was[m.ID]
		delete(was, m.ID)
		node := client.Event{Kind: cluster.KindNode, Name: m.Name, ID: m.ID}
		tell := func(action, text string) {
			node.Action, node.Text = action, text
			h.add(node)
		}
		if !known {
			tell("added", "")
		}
		if !known || old.Condition != m.Condition {
			tell(string(m.Condition), "")
		}
		if !known {
			continue
		}
		o, n := before.SettingsOf(m.ID), now.SettingsOf(m.ID)
		if o.Availability != n.Availability {
			tell(string(n.Availability), "")
		}
		if o.Role != n.Role {
			tell("role", string(n.Role))
		}
		if !maps.Equal(o.Labels, n.Labels) {
			tell("labels", "")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(was)) {
		h.add(client.Event{Kind: cluster.KindNode, Action: "removed", Name: was[id].Name, ID: id})
	}
	if m, ok := now.Member(now.Leader); ok && before.Leader != now.Leader {
		h.add(client.Event{Kind: cluster.KindNode, Action: "leader", Name: m.Name, ID: m.ID})
	}
}

func (h *happening) services(before, now view.View) {
	was := map[string]cluster.Service{}
	for _, s := range before.Services {
		was[s.ID] = s
	}
	for _, s := range now.Services {
		old, known := was[s.ID]
		delete(was, s.ID)
		service := client.Event{Kind: cluster.KindService, Name: s.Spec.Name, ID: s.ID}
		tell := func(action, text string) {
			service.Action, service.Text = action, text
			h.add(service)
		}
		switch {
		case !known:
			tell("created", s.Spec.Container.Image)
			continue
		case old.SpecVersion != s.SpecVersion:
			tell("updated", s.Spec.Container.Image)
		case old.Spec.Replicas != s.Spec.Replicas:
			tell("scaled", fmt.Sprint(s.Spec.Replicas))
		}
		oldUpdate, newUpdate := update(before, old), update(now, s)
		if oldUpdate != newUpdate {
			tell(string(newUpdate.State), newUpdate.Message)
		}
	}
	gone := slices.Collect(maps.Values(was))
	slices.SortFunc(gone, func(a, b cluster.Service) int { return cmp.Compare(a.Spec.Name, b.Spec.Name) })
	for _, s := range gone {
		h.add(client.Event{Kind: cluster.KindService, Action: "removed", Name: s.Spec.Name, ID: s.ID})
	}
}

func headsOf[T any](files map[string]T, head func(T) cluster.Head) map[string]cluster.Head {
	heads := make(map[string]cluster.Head, len(files))
	for _, f := range files {
		heads[head(f).ID] = head(f)
	}
	return heads
}

func secretHead(s cluster.Secret) cluster.Head { return s.Head }
func configHead(c cluster.Config) cluster.Head { return c.Head }

func (h *happening) files(kind string, before, now map[string]cluster.Head) {
	tell := func(action string, heads, without map[string]cluster.Head) {
		var names []cluster.Head
		for id, head := range heads {
			if _, both := without[id]; !both {
				names = append(names, head)
			}
		}
		slices.SortFunc(names, func(a, b cluster.Head) int { return cmp.Compare(a.Name, b.Name) })
		for _, head := range names {
			h.add(client.Event{Kind: kind, Action: action, Name: head.Name, ID: head.ID})
		}
	}
	tell("removed", before, now)
	tell("created", now, before)
}

func (h *happening) tasks(before, now view.View) {
	was := map[string]client.Task{}
	for _, t := range tasks(before, "", false) {
		was[t.ID] = t
	}
	tell := func(action string, t client.Task) {
		h.add(client.Event{Kind: "task", Action: action, Name: taskName(t), ID: t.ID, Service: t.Service, Node: t.Node, Text: t.Error})
	}
	for _, t := range tasks(now, "", false) {
		old, known := was[t.ID]
		delete(was, t.ID)
		// One that is restarted is told by its new time, also if its end was too short to be seen.
		if !known || old.State != t.State || old.Error != t.Error || old.Node != t.Node || !old.Since.Equal(t.Since) {
			tell(string(t.State), t)
		}
	}
	gone := slices.Collect(maps.Values(was))
	slices.SortFunc(gone, inOrder)
	for _, t := range gone {
		t.Error = ""
		tell("removed", t)
	}
}
