package dockerapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// events streams what happens: services, nodes, secrets and configs of the cluster, and containers of this node.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	f, err := readFilters(r, "type", "event", "container", "image", "label", "service", "node", "scope", "config", "secret", "network", "volume", "daemon", "plugin")
	var since, until time.Time
	if err == nil {
		since, err = timestamp(r, "since")
	}
	if err == nil {
		until, err = timestamp(r, "until")
	}
	if err == nil && !since.IsZero() && since.Before(time.Now().Add(-time.Minute)) {
		err = unsupported("since: what has happened before is not kept: `docker service ps` shows the history of a service")
	}
	if err == nil && len(f["label"]) > 0 {
		err = unsupported("filter label: events are not found by that here")
	}
	var v client.Version
	if err == nil {
		v, err = s.api.Version(r.Context())
	}
	ctx := r.Context()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	var stream *client.Events
	if err == nil {
		stream, err = s.api.Events(ctx)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer stream.Close()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	lines, control := json.NewEncoder(w), http.NewResponseController(w)
	for control.Flush() == nil {
		e, err := stream.Next()
		if err != nil {
			return
		}
		if m, ok := event(v, e); ok && wanted(f, m) && lines.Encode(m) != nil {
			return
		}
	}
}

// event is what has happened in docker's words. Of what docker has no words for it tells nothing.
func event(v client.Version, e client.Event) (events.Message, bool) {
	if e.Action == "" {
		return events.Message{}, false
	}
	m := events.Message{
		Scope: "swarm", Actor: events.Actor{ID: e.ID, Attributes: map[string]string{"name": e.Name}}, Time: e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}
	if e.Text != "" {
		m.Actor.Attributes["message"] = e.Text
	}
	switch e.Kind {
	case cluster.KindService:
		m.Type, m.Action = events.ServiceEventType, changeOf(e.Action)
		if m.Action == events.ActionUpdate && e.Action != "updated" && e.Action != "scaled" {
			m.Actor.Attributes["updatestate.new"] = e.Action
		}
	case cluster.KindNode:
		m.Type, m.Action, m.Actor.ID = events.NodeEventType, changeOf(e.Action), swarmID(e.ID)
		switch e.Action {
		case "ready", "down":
			m.Actor.Attributes["state.new"] = e.Action
		case "active", "pause", "drain":
			m.Actor.Attributes["availability.new"] = e.Action
		}
	case cluster.KindSecret:
		m.Type, m.Action = events.SecretEventType, changeOf(e.Action)
	case cluster.KindConfig:
		m.Type, m.Action = events.ConfigEventType, changeOf(e.Action)
	case "task":
		return m, containerEvent(v, e, &m)
	default:
		return m, false
	}
	return m, true
}

func changeOf(action string) events.Action {
	switch action {
	case "created", "added":
		return events.ActionCreate
	case "removed":
		return events.ActionRemove
	}
	return events.ActionUpdate
}

// containerEvent tells of the containers of this node, as docker's engine does.
func containerEvent(v client.Version, e client.Event, m *events.Message) bool {
	if e.Node != v.Node {
		return false
	}
	m.Type, m.Scope = events.ContainerEventType, "local"
	m.Actor.ID = containerID(e.ID)
	m.Actor.Attributes["name"] = e.Name
	m.Actor.Attributes["com.docker.swarm.task.id"] = e.ID
	m.Actor.Attributes["com.docker.swarm.service.name"] = e.Service
	switch cluster.State(e.Action) {
	case cluster.Starting:
		m.Action = events.ActionCreate
	case cluster.Running:
		m.Action = events.ActionStart
	case cluster.Unhealthy:
		m.Action = events.ActionHealthStatusUnhealthy
	case cluster.Stopping:
		m.Action = events.ActionKill
	case cluster.Failed, cluster.Complete:
		m.Action = events.ActionDie
	case "removed":
		m.Action = events.ActionDestroy
	default:
		return false
	}
	return true
}

func wanted(f filters, m events.Message) bool {
	if !f.equal("type", string(m.Type)) || !f.equal("event", string(m.Action)) || !f.equal("scope", m.Scope) {
		return false
	}
	for _, kind := range []events.Type{events.ContainerEventType, events.ServiceEventType, events.NodeEventType, events.ConfigEventType,
		events.SecretEventType, events.ImageEventType, events.NetworkEventType, events.VolumeEventType, events.DaemonEventType, events.PluginEventType} {
		if len(f[string(kind)]) > 0 && (m.Type != kind || !f.any(string(kind), func(v string) bool { return v == m.Actor.ID || v == m.Actor.Attributes["name"] })) {
			return false
		}
	}
	return true
}
