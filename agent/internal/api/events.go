package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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
	m, err := s.member()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var wakes []<-chan struct{}
	for _, kinds := range watched {
		wake, cancel := m.Store.Watch(state.Kinds(kinds...))
		defer cancel()
		wakes = append(wakes, wake)
	}
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
	before := m.View()
	// The look comes after the wake-up that it answers: what changes after it wakes again.
	tell := func(kind string) bool {
		now := m.View()
		events := happened(before, now, time.Now().UTC().Truncate(time.Millisecond))
		before = now
		if len(events) == 0 {
			events = []client.Event{{Kind: kind}}
		}
		var text strings.Builder
		for _, e := range events {
			e.Text = strings.Join(strings.Fields(e.Text), " ")
			raw, err := json.Marshal(e)
			if err != nil {
				return false
			}
			fmt.Fprintf(&text, "data: %s\n\n", raw)
		}
		return send(text.String())
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
		case <-wakes[0]:
			ok = tell(watched[0][0])
		case <-wakes[1]:
			ok = tell(watched[1][0])
		case <-wakes[2]:
			ok = tell(watched[2][0])
		case <-wakes[3]:
			ok = tell(watched[3][0])
		case <-wakes[4]:
			ok = tell(watched[4][0])
		case <-members:
			if now, _ := s.node.Member(); now != m {
				return // whoever asks again hears of the membership that there is now
			}
			ok = tell("members")
		}
	}
}

// watched are the kinds of records that a change is told of, by the first of each as a kind of event.
var watched = [][]string{
	{cluster.KindService},
	{cluster.KindNode, cluster.KindCluster, cluster.KindRemoved},
	{cluster.KindPlan},
	{cluster.KindReport},
	{cluster.KindSecret, cluster.KindConfig},
}
