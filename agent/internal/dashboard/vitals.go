package dashboard

import (
	"context"
	"maps"
	"math"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// vitals are how a node is just now, rounded: what changes in no digit that matters is not told.
type vitals struct {
	Load    float64 `json:"load"`              // of the last minute, a core
	Memory  int     `json:"memory"`            // percent in use
	Degrees int     `json:"degrees,omitempty"` // Celsius; 0: it does not tell
}

func asVitals(s client.NodeStats) vitals {
	v := vitals{Load: math.Round(10*s.Load/float64(max(s.CPUs, 1))) / 10, Degrees: int(math.Round(s.Temperature))}
	if s.MemoryTotal > 0 {
		v.Memory = int(100 * s.MemoryBytes / s.MemoryTotal)
	}
	return v
}

// All nodes are asked every ten seconds, and less often where that would be more than two of them a second.
const (
	measureEvery = 10 * time.Second
	measureNode  = 500 * time.Millisecond
)

// measure asks the nodes how they are until ctx ends. What it cannot learn is not shown.
func (h *hub) measure(ctx context.Context, out chan<- map[string]vitals) {
	for ctx.Err() == nil {
		all, err := h.client.Stats(ctx)
		if err == nil {
			known := make(map[string]vitals, len(all))
			for _, s := range all {
				if s.Error == "" {
					known[s.ID] = asVitals(s)
				}
			}
			select {
			case out <- known:
			case <-ctx.Done():
			}
		}
		wait(ctx, max(measureEvery, time.Duration(len(all))*measureNode))
	}
}

// ready returns the vitals of the nodes that are there.
func ready(s *scene, known map[string]vitals) map[string]vitals {
	kept := maps.Clone(known)
	maps.DeleteFunc(kept, func(id string, _ vitals) bool { return s.nodes[id].State != string(cluster.Ready) })
	return kept
}
