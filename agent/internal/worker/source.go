package worker

import (
	"slices"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// source says where to get an image from.
type source struct {
	// peers are the IDs of ready nodes that hold it, those of this node's platform first: of an image for several
	// platforms, a node that fetched it holds the bytes for its own alone.
	peers []string
	// wait says that another node is about to fetch it for all of this platform, and that this one does better to
	// get it from there: one download for the whole shelf.
	wait bool
}

// sourceOf decides where this node, of that platform, gets a service's image. Every node comes to the same answer
// about who asks the registry: of the nodes that the plan gives a task, that have one platform, and whose own try
// has not failed, the one with the lowest slot.
func sourceOf(v view.View, s cluster.Service, self string, platform cluster.Platform) source {
	digest := s.Spec.Container.Digest
	var found source
	var others []string
	for _, m := range v.Members {
		switch {
		case m.ID == self || m.Condition != cluster.Ready || !holds(v.Reports[m.ID], digest):
		case v.Reports[m.ID].Node.Platform == platform:
			found.peers = append(found.peers, m.ID)
		default:
			others = append(others, m.ID)
		}
	}
	alike := len(found.peers) > 0
	found.peers = append(found.peers, others...)
	if alike {
		return found
	}
	for _, t := range v.Plan(s) { // in order of slot
		if t.Node == self {
			return found
		}
		if !v.Ready(t.Node) || v.Reports[t.Node].Node.Platform != platform {
			continue
		}
		if status, ok := v.Status(t.Node, t.ID); !ok || status.State == cluster.Preparing || status.State == cluster.Pending {
			found.wait = true
			return found
		}
	}
	return found
}

func holds(r cluster.Report, digest string) bool {
	return slices.ContainsFunc(r.Images, func(i cluster.Image) bool { return i.Digest == digest })
}
