package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// advance begins the next step of every task that is not in the middle of one. It returns when to look again.
func (w *Worker) advance(ctx context.Context, v view.View, steps *errgroup.Group) time.Duration {
	now := time.Now()
	subnet, leaving, released := w.cfg.Subnet(), w.cfg.Leaving(), w.cfg.Released()
	var again time.Duration
	for id, t := range w.tasks {
		if t.busy {
			continue
		}
		if t.exit != nil {
			w.ended(t, now)
		}
		t.settle(v, released, now)
		follows := w.follows(v, t, now)
		do, wait := next(facts{
			wanted: t.wanted, known: t.known, barred: t.barred, leaving: leaving, unknown: t.unknown, final: t.status.Final,
			container: t.container, sick: t.sick(), notBefore: t.notBefore, endAfter: t.endAfter, follows: follows,
			misplaced: subnet.IsValid() && !subnet.Contains(t.address),
			image:     t.wanted && w.holds(t.spec.Container.Digest),
			parting:   t.parting, patience: min(t.grace(), maxPatience),
		}, now)
		if do == fetch && w.inspect {
			continue // it may just have come: the next pass, which lists the images, knows
		}
		switch do {
		case fetch:
			wait = w.fetchFrom(ctx, v, steps, t, now)
		case start:
			if files, ok := w.starts(v, t); ok {
				w.launch(ctx, steps, id, t, files)
			}
		default:
			w.do(ctx, steps, do, id, t, now)
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return again
}

// settle notes what follows from the plan before there is a next step: that a task which was to end is wanted again,
// how far the others are with one that still is to end, and why one does not run.
func (t *task) settle(v view.View, released []string, now time.Time) {
	switch {
	case t.container == "" && t.wanted && t.barred:
		t.enter(cluster.Pending)
		t.status.Error = barredText
	case t.container == "" && t.wanted && t.unknown && !t.status.Final:
		t.enter(cluster.Failed)
		t.status.Error = unknownText
	case t.container != containers.Running:
		t.parting = parting{}
	case !t.wanted || t.barred:
		t.hold(v, now)
		t.parting.released = releasedByAll(v, released, t.status.ID)
	case t.parting != parting{}:
		t.parting = parting{}
		t.runs(now)
	}
}

// launch begins the step that makes a container, with these files, and starts it.
func (w *Worker) launch(ctx context.Context, steps *errgroup.Group, id string, t *task, files []containers.File) {
	w.bequeath(t)
	t.enter(cluster.Starting)
	spec := t.spec // the next pass may change it while the step is under way
	made := containers.Task{Service: spec.Name, ServiceID: t.status.ServiceID, Slot: t.status.Slot, SpecVersion: t.status.SpecVersion}
	w.begin(ctx, steps, t, start, func(ctx context.Context) error { return w.start(ctx, t, id, made, spec, files) })
}

// do begins any other step.
func (w *Worker) do(ctx context.Context, steps *errgroup.Group, do step, id string, t *task, now time.Time) {
	signal := t.spec.Container.StopSignal // the next pass may change it while the step is under way
	switch do {
	case follow:
		t.enter(cluster.Preparing)
	case retire:
		t.parting.retired = now
		w.wake.Set()
	case finish:
		t.enter(cluster.Stopping)
		t.parting.finishing = now
		w.wake.Set()
	case count:
		address := t.address
		w.begin(ctx, steps, t, do, func(ctx context.Context) error { return w.count(ctx, t, address) })
	case stop:
		t.enter(cluster.Stopping)
		grace := t.grace()
		w.begin(ctx, steps, t, do, func(ctx context.Context) error {
			return w.stop(ctx, t, id, signal, grace)
		})
	case cure:
		grace := t.grace()
		w.begin(ctx, steps, t, do, func(ctx context.Context) error {
			return w.cure(ctx, t, id, signal, grace)
		})
	case bury:
		w.begin(ctx, steps, t, do, func(ctx context.Context) error { return w.bury(ctx, t, id) })
	case forget:
		if t.address.IsValid() || t.container != "" {
			w.begin(ctx, steps, t, do, func(ctx context.Context) error { return w.bury(ctx, t, id) })
			return
		}
		w.bequeath(t)
		delete(w.tasks, id)
	}
}

// grace is how long the task may take to end. Of a service that was removed while this agent was down, nothing is
// known any more.
func (t *task) grace() time.Duration {
	return cmp.Or(t.spec.Container.StopGracePeriod, cluster.DefaultStopGracePeriod)
}

// releasedByAll tells whether no ready node leads new connections to a task any more, this one included. A node that
// has reported nothing since it is back may still have its rules of before.
func releasedByAll(v view.View, own []string, id string) bool {
	for _, m := range v.Members {
		released := v.Reports[m.ID].Released
		if m.ID == v.Self {
			released = own
		}
		_, ok := slices.BinarySearch(released, id)
		if m.Condition == cluster.Ready && (!ok || m.Unheard) {
			return false
		}
	}
	return true
}
