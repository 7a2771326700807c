package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

const (
	// handOverLimit is how long a shutdown waits for the tasks to be moved. systemd's own patience is longer
	// (TimeoutStopSec in piswarm.service).
	handOverLimit = 40 * time.Second
	// noProgress is how long nothing may happen before it takes what is left for what fits nowhere else.
	noProgress = 10 * time.Second
	// lastRequests is how long containers that end with this node get for what they have begun to answer, once the
	// others send them nothing more.
	lastRequests = 2 * time.Second
)

// outlive returns a context that ends when ctx does or, on a shutdown, when the tasks are handed over.
func (a *Agent) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer stop()
		select {
		case <-work.Done():
			return
		case <-ctx.Done():
		}
		if errors.Is(context.Cause(ctx), a.opts.Shutdown) {
			a.ending.Store(true)
			a.handOver(work)
		}
	}()
	return work, stop
}

// handOver moves this node's tasks to the others, if there are any, and tells them that it goes.
func (a *Agent) handOver(ctx context.Context) {
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s == nil {
		return
	}
	if len(others{s}.Ready()) == 0 {
		s.log.Info("shutting down: no other node is there to take the tasks")
		return
	}
	began := time.Now()
	s.leaving.Store(true)
	s.members.Set()
	s.log.Info("shutting down: the tasks go to other nodes")
	left := s.awaitMoved(ctx)
	if err := s.gossip.Leave(); err != nil {
		s.log.Warn("the others were not told that this node goes; they will notice", "error", err)
	}
	if left == 0 {
		s.log.Info("shutting down: every task has another place", "after", time.Since(began).Round(time.Millisecond))
		return
	}
	s.log.Info("shutting down: some tasks end with this node", "tasks", left)
	select {
	case <-ctx.Done():
	case <-time.After(lastRequests):
	}
}

// awaitMoved waits until this node reports no task that another node could run, or until no other node is left that
// stays, as when the whole shelf is shut down. It returns how many tasks are left.
func (s *session) awaitMoved(ctx context.Context) int {
	limit := time.NewTimer(handOverLimit)
	defer limit.Stop()
	quiet := time.NewTimer(noProgress)
	defer quiet.Stop()
	dirty, cancel := s.store.Watch(state.Kinds(cluster.KindPlan, cluster.KindReport))
	defer cancel()
	for {
		v := s.reader.View()
		movable, all := tasksOf(v)
		if movable == 0 || !canTake(v) {
			return all
		}
		select {
		case <-ctx.Done():
			return all
		case <-limit.C:
			return all
		case <-quiet.C:
			return all
		case <-dirty:
			quiet.Reset(noProgress)
		}
	}
}

// tasksOf counts the tasks that this node reports: those that could run elsewhere, and all.
func tasksOf(v view.View) (movable, all int) {
	for _, t := range v.Reports[v.Self].Tasks {
		all++
		if s, ok := v.Service(t.Service); !ok || !s.Spec.Mode.PerNode() {
			movable++
		}
	}
	return movable, all
}

// canTake tells whether there is another node that takes tasks because it does not go as well.
func canTake(v view.View) bool {
	return slices.ContainsFunc(v.Members, func(m cluster.Member) bool {
		return m.ID != v.Self && m.Condition == cluster.Ready && !v.Reports[m.ID].Leaving
	})
}
