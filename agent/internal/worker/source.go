package worker

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// source says where to get an image from.
type source struct {
	// peers are the IDs of ready nodes that hold it, those of this node's platform first: of an image for several
	// platforms, a node that fetched it holds the bytes for its own alone.
	peers []string
	// wait is the ID of another node that is about to fetch it for all of this platform, so that this one does better
	// to get it from there: one download for the whole shelf.
	wait string
}

// turnLimit is how long a node waits for another one's download. It is for one whose containerd or whose card hangs;
// the download of a large image over a slow line may take longer, and then costs a second one.
const turnLimit = 5 * time.Minute

// sourceOf decides where this node, of that platform, gets an image of a service. Every node comes to the same answer
// about who asks the registry: of the nodes that the plan gives a task, that have one platform, and whose own try
// has not failed, the one with the lowest slot. Nodes that this one has waited for in vain are passed over.
func sourceOf(v view.View, s cluster.Service, digest string, platform cluster.Platform, late func(node string) bool) source {
	var found source
	var others []string
	for _, m := range v.Members {
		switch {
		case m.ID == v.Self || m.Condition != cluster.Ready || !holds(v.Reports[m.ID], digest):
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
		// In the middle of an update, some tasks are of another image.
		if spec, ok := s.SpecOf(t.SpecVersion); !ok || spec.Container.Digest != digest || t.Ended != "" {
			continue
		}
		if t.Node == v.Self {
			return found
		}
		r := v.Reports[t.Node]
		if !v.Ready(t.Node) || r.Node.Platform != platform || r.Leaving || late(t.Node) {
			continue
		}
		if status, ok := v.Status(t.Node, t.ID); !ok || status.State == cluster.Preparing || status.State == cluster.Pending {
			found.wait = t.Node
			return found
		}
	}
	return found
}

func holds(r cluster.Report, digest string) bool {
	return slices.ContainsFunc(r.Images, func(i cluster.Image) bool { return i.Digest == digest })
}

// fetchFrom begins to fetch a task's image, or returns how long to wait for the node whose turn it is.
func (w *Worker) fetchFrom(ctx context.Context, v view.View, steps *errgroup.Group, t *task, now time.Time) time.Duration {
	t.enter(cluster.Preparing)
	here, _ := w.cfg.Describe()
	want := t.spec.Container
	s, _ := v.Service(t.status.Service) // its plan gave us the task
	from := sourceOf(v, s, want.Digest, here.Platform, func(node string) bool {
		since, ok := t.waited[node]
		return ok && now.Sub(since) >= turnLimit
	})
	if from.wait == "" {
		w.begin(ctx, steps, t, fetch, func(ctx context.Context) error { return w.fetch(ctx, want, from) })
		return 0
	}
	if t.waited == nil {
		t.waited = map[string]time.Time{}
	}
	if _, ok := t.waited[from.wait]; !ok {
		t.waited[from.wait] = now
	}
	return turnLimit - now.Sub(t.waited[from.wait]) // or until that node's report wakes us
}
