package worker

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// watch asks the tasks that run whether they serve, each when it is due, until ctx ends. It wakes the loop only when a
// task has become another one by its answer: checks that pass cost no pass, no report and no write to disk.
func (w *Worker) watch(ctx context.Context) {
	var asks sync.WaitGroup
	defer asks.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Stop()
		if wait := w.askDue(ctx, &asks, time.Now()); wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.checks:
		case <-timer.C:
		}
	}
}

// askDue asks those that are due, each beside the others and none twice at a time. It returns until the next one is due,
// zero if none is.
func (w *Worker) askDue(ctx context.Context, asks *sync.WaitGroup, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Duration
	for id, t := range w.tasks {
		c := t.check
		if c == nil || c.asking || !c.sick.IsZero() || !t.asked() {
			continue
		}
		if wait := c.next.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		c.asking = true
		spec := t.spec
		if !c.Checks() {
			asks.Go(func() { w.learn(ctx, t, c, spec) })
			continue
		}
		q := question{Health: c.Health, id: id, address: netip.AddrPortFrom(t.address, spec.HealthPort())}
		asks.Go(func() {
			failure, err := w.ask(ctx, q)
			w.heard(ctx, t, c, failure, err, now)
		})
	}
	return next
}

// asked tells whether it matters how the task is. What is to end is not asked, and neither is what nobody knows how to
// ask, because its version was forgotten before this agent was started.
func (t *task) asked() bool {
	return t.container == containers.Running && t.exit == nil && t.wanted && !t.barred && t.spec.Name != ""
}

// heard takes in an answer to a question that was asked then.
func (w *Worker) heard(ctx context.Context, t *task, c *check, failure string, err error, asked time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.checks.Set()
	c.asking = false
	if ctx.Err() != nil || t.check != c || t.container != containers.Running || t.exit != nil {
		return // it is not that container any more
	}
	now := time.Now()
	if err != nil {
		w.cfg.Log.Debug("the health of a task is not known", "service", t.status.Service, "task", t.status.ID, "error", err)
		c.postponed(now)
		return
	}
	c.answered(failure, asked, now)
	if c.passed && !t.ready || !c.sick.IsZero() {
		t.ready = t.ready || c.passed
		t.runs(now)
		w.wake.Set()
	}
}

// learn finds out how the health of a container is checked that this agent did not start.
func (w *Worker) learn(ctx context.Context, t *task, c *check, spec cluster.Spec) {
	health, err := w.healthOf(ctx, spec)
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.checks.Set()
	c.asking = false
	if ctx.Err() != nil || t.check != c {
		return
	}
	now := time.Now()
	if errors.Is(err, containers.ErrUnavailable) {
		c.postponed(now)
		return
	}
	if err != nil { // the image is gone
		w.cfg.Log.Warn("a task runs without the health check of its image", "service", t.status.Service, "task", t.status.ID, "error", err)
		health = spec.Container.Health
	}
	t.check = checkOf(health, c.begun, now)
	if t.check == nil && !t.ready && t.container == containers.Running && t.exit == nil {
		t.ready = true
		t.runs(now)
		w.wake.Set()
	}
}

// checkOf returns the check of a container that started then; nil if it has none.
func checkOf(health cluster.Health, begun, now time.Time) *check {
	if health.Disabled || !health.Checks() {
		return nil
	}
	return newCheck(health, begun, now)
}

// healthOf returns how containers of a spec are checked, with what their image says about it.
func (w *Worker) healthOf(ctx context.Context, spec cluster.Spec) (cluster.Health, error) {
	health := spec.Container.Health
	if health.Disabled {
		return health, nil
	}
	image, err := w.cfg.Runtime.ImageHealth(ctx, spec.Container.Digest)
	if err != nil {
		return cluster.Health{}, err
	}
	return health.Over(image), nil
}

// adopted notes that a container was found running that began that long ago. Of one that this agent has never seen, it
// is taken that it serves: the agent was restarted, not the task.
func (t *task) adopted(since, now time.Time, serves bool) {
	// The clock may have been set since.
	t.check = &check{begun: now.Add(-max(0, now.Sub(since))), next: now}
	t.ready = serves
}

// cure ends a container that has failed its check too often, for its policy to give the task another one.
func (w *Worker) cure(ctx context.Context, t *task, id, signal string, grace time.Duration) error {
	if err := w.cfg.Runtime.Stop(ctx, id, signal, grace); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.container, t.oom = containers.Stopped, false
	w.lost(t, cluster.Failed, "unhealthy: "+t.symptom(), 0, time.Now())
	return nil
}

// symptom says why the task is unhealthy.
func (t *task) symptom() string { return cmp.Or(t.check.reason, "its check failed") }
