package dockerapi

import (
	"fmt"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
)

func TestEvents(t *testing.T) {
	own := client.Version{Node: "pi1", NodeID: piOne}
	for _, test := range []struct {
		event client.Event
		want  string // type, action, scope, ID and one attribute; empty: nothing is told
	}{
		{client.Event{Kind: "service"}, ""},
		{client.Event{Kind: "plan", Action: "x"}, ""},
		{client.Event{Kind: "service", Action: "created", Name: "web", ID: "s1"}, "service create swarm s1 web"},
		{client.Event{Kind: "service", Action: "scaled", Name: "web", ID: "s1"}, "service update swarm s1 web"},
		{client.Event{Kind: "service", Action: "removed", Name: "web", ID: "s1"}, "service remove swarm s1 web"},
		{client.Event{Kind: "node", Action: "down", Name: "pi2", ID: piTwo}, "node update swarm " + swarmID(piTwo) + " pi2"},
		{client.Event{Kind: "node", Action: "added", Name: "pi2", ID: piTwo}, "node create swarm " + swarmID(piTwo) + " pi2"},
		{client.Event{Kind: "secret", Action: "created", Name: "db", ID: "x"}, "secret create swarm x db"},
		{client.Event{Kind: "config", Action: "removed", Name: "app", ID: "x"}, "config remove swarm x app"},
		{client.Event{Kind: "task", Action: "running", Name: "web.1", ID: "t1", Node: "pi1"}, "container start local " + containerID("t1") + " web.1"},
		{client.Event{Kind: "task", Action: "failed", Name: "web.1", ID: "t1", Node: "pi1"}, "container die local " + containerID("t1") + " web.1"},
		{client.Event{Kind: "task", Action: "running", Name: "web.1", ID: "t1", Node: "pi2"}, ""}, // of another engine
		{client.Event{Kind: "task", Action: "pending", Name: "web.1", ID: "t1", Node: "pi1"}, ""},
	} {
		m, ok := event(own, test.event)
		got := ""
		if ok {
			got = fmt.Sprint(m.Type, " ", m.Action, " ", m.Scope, " ", m.Actor.ID, " ", m.Actor.Attributes["name"])
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.event, got, test.want)
		}
	}
	m, _ := event(own, client.Event{Kind: "service", Action: "created", Name: "web", ID: "s1"})
	for f, want := range map[string]bool{
		`{}`: true, `{"type":["service"]}`: true, `{"type":["node"]}`: false, `{"service":["web"]}`: true, `{"service":["s1"]}`: true, `{"service":["x"]}`: false,
		`{"container":["web"]}`: false, `{"event":["create"]}`: true, `{"scope":["local"]}`: false,
	} {
		parsed, err := parseFilters(f)
		if err != nil || wanted(parsed, m) != want {
			t.Errorf("%s: %t, %v", f, !want, err)
		}
	}
}
