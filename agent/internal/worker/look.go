package worker

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// follow takes in what containerd says happened.
func (w *Worker) follow(ctx context.Context) {
	for e := range w.cfg.Runtime.Events(ctx) {
		w.mu.Lock()
		t := w.tasks[e.ID]
		switch {
		case e.Type == containers.EventResync:
			w.listed, w.inspect = false, true
		case t == nil:
			// The listing under way may be from before it ended.
			w.listed = w.listed && e.Type != containers.EventExited
		case e.Type == containers.EventOOM:
			t.oom = true
		case e.Type == containers.EventStarted:
			t.begun, t.exit = true, nil
		case e.Type == containers.EventExited && t.begun: // else it is the end of its life before
			t.exit = &e
		case e.Type == containers.EventRemoved && !t.busy && t.container != "":
			// Someone else's doing, or this worker's own before it made the present one.
			w.listed = false
		}
		w.mu.Unlock()
		w.wake.Set()
	}
}

// look asks containerd for what cannot be known from events.
func (w *Worker) look(ctx context.Context) error {
	w.mu.Lock()
	listed, inspect := w.listed, w.inspect
	w.inspect = false
	w.mu.Unlock()
	if inspect {
		images, err := w.cfg.Runtime.Images(ctx)
		w.mu.Lock()
		if w.inspect = w.inspect || err != nil; err == nil {
			w.images = images
		}
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if listed {
		return nil
	}
	// Marked before asking: an event that says otherwise meanwhile makes the next pass ask again.
	// What a step brings to its end meanwhile is newer than the answer.
	busy := map[string]bool{}
	w.mu.Lock()
	w.listed = true
	for id, t := range w.tasks {
		busy[id] = t.busy
	}
	w.mu.Unlock()
	// What containerd has forgotten, because its store was lost, still has the names, addresses and memory that its
	// successors need. What cannot be ended is met by these.
	if err := w.sweep(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, containers.ErrUnavailable) {
		w.cfg.Log.Warn("what is left of lost containers is still there", "error", err)
	}
	found, err := w.cfg.Runtime.List(ctx)
	var attached []network.Attachment
	if err == nil {
		attached, err = w.cfg.Network.Attachments()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.listed = false
		return err
	}
	w.adopt(found, attached, busy)
	return nil
}

// sweepLimit bounds how long processes that do not end, because they hang in the kernel, keep the loop from looking at
// those that do.
const sweepLimit = 10 * time.Second

func (w *Worker) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	return w.cfg.Runtime.Sweep(ctx)
}

// adopt takes over what is there, but for the tasks that were busy when it was looked at.
func (w *Worker) adopt(found []containers.Container, attached []network.Attachment, busy map[string]bool) {
	addresses := map[string]netip.Addr{}
	for _, a := range attached {
		addresses[a.ID] = a.Addr
	}
	seen := map[string]bool{}
	for _, c := range found {
		seen[c.ID] = true
		t, ok := w.tasks[c.ID]
		if !ok {
			t = &task{doubt: true, status: cluster.TaskStatus{
				ID: c.ID, Service: c.Service, ServiceID: c.ServiceID, Slot: c.Slot, SpecVersion: c.SpecVersion,
			}}
			if c.State == containers.Running {
				t.status.State, t.status.Since = cluster.Running, c.StartedAt.UTC().Truncate(time.Second)
			} else {
				t.enter(cluster.Pending)
			}
			w.tasks[c.ID] = t
		}
		t.begun = true
		if busy[c.ID] {
			t.skipped = t.busy
			w.listed = w.listed && t.busy
			continue
		}
		if c.State == containers.Stopped && (!ok || t.container == containers.Running) {
			t.exit = &containers.Event{ID: c.ID, ExitCode: c.ExitCode} // while nobody could tell
			t.oom = c.OOMKilled
			t.container, t.address = containers.Running, addresses[c.ID]
			continue
		}
		if c.State == containers.Running && t.container != containers.Running {
			t.adopted(c.StartedAt, time.Now(), !ok)
		}
		t.container, t.address = c.State, addresses[c.ID]
		if c.State == containers.Running {
			t.runs(time.Now())
		}
	}
	for id, t := range w.tasks {
		if !seen[id] && !busy[id] {
			t.container = ""
			t.address = addresses[id]
		}
	}
	for id, a := range addresses { // left by an agent that was killed between two steps
		if w.tasks[id] == nil {
			w.tasks[id] = &task{address: a, status: cluster.TaskStatus{ID: id}}
		}
	}
}
