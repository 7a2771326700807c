package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// keepAlive is how often a stream of events says that it still lives.
const keepAlive = 15 * time.Second

// events streams what changes, as server-sent events, until the client goes, or the node leaves the cluster or has
// another address, which begins a membership anew.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	m := s.node.Member()
	if m == nil {
		s.fail(w, r, problem{http.StatusConflict, errNoCluster})
		return
	}
	services, cancel := m.Store.Watch(state.Kinds(cluster.KindService))
	defer cancel()
	nodes, cancel := m.Store.Watch(state.Kinds(cluster.KindNode, cluster.KindCluster))
	defer cancel()
	plans, cancel := m.Store.Watch(state.Kinds(cluster.KindPlan))
	defer cancel()
	reports, cancel := m.Store.Watch(state.Kinds(cluster.KindReport))
	defer cancel()
	members, cancel := m.Members()
	defer cancel()

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	send := func(text string) bool {
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	event := func(kind string) bool {
		raw, err := json.Marshal(client.Event{Kind: kind})
		return err == nil && send("data: "+string(raw)+"\n\n")
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	// The client has to know that nothing it asks for from now on can change unseen.
	for ok := send(": listening\n\n"); ok; {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			ok = send(": still here\n\n")
		case <-services:
			ok = event(cluster.KindService)
		case <-nodes:
			ok = event(cluster.KindNode)
		case <-plans:
			ok = event(cluster.KindPlan)
		case <-reports:
			ok = event(cluster.KindReport)
		case <-members:
			if s.node.Member() != m {
				return // whoever asks again hears of the membership that there is now
			}
			ok = event("members")
		}
	}
}
