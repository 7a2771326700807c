// Package leader is the loop that places the work. Every node runs it; it acts only where this node is the
// leader. What goes where is package scheduler's to decide; this package tells it what is known and writes down
// its answer.
package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/scheduler"
	"github.com/piswarm/piswarm/pkg/state"
)

// BootGrace is how long after its start an agent takes a node that it has not seen for one that still boots.
// After a power cut of the whole shelf the Pis come up in any order, a Zero half a minute after a 4; without this
// the first would take over everybody's work.
const BootGrace = 40 * time.Second

// settleTime is how long a node has to be ready before running tasks move to it for no other reason than that it has
// fewer. A node that comes and goes, as on a loose plug, so never gets more than it had.
const settleTime = 30 * time.Second

// Config of the loop.
type Config struct {
	Store    *state.Store
	View     func() view.View
	Publish  func(keys ...string) error // saves and spreads what was just put into the store
	Members  <-chan struct{}            // signalled when the membership changes
	Watchdog *loop.Watchdog             // may be nil
	Log      *slog.Logger
}

// Leader is the loop.
type Leader struct {
	cfg     Config
	started time.Time
	seen    map[string]bool      // nodes that were ready at some time since the start
	since   map[string]time.Time // when each node that is ready became so, by this node's own monotonic clock
	tasks   map[string]watched   // by ID
	passes  uint64
	again   *time.Timer // wakes the loop
	ticked  loop.Trigger
	led     bool
	leader  string // at the last look; empty while there is none
	changes atomic.Uint64
	purged  time.Time // when tombstones were dropped last
}

// New returns the loop; the boot grace begins now.
func New(cfg Config) *Leader {
	now := time.Now()
	l := &Leader{
		cfg: cfg, started: now, purged: now, seen: map[string]bool{}, since: map[string]time.Time{}, tasks: map[string]watched{},
		ticked: loop.NewTrigger(),
	}
	l.again = time.AfterFunc(watchEvery, l.ticked.Set)
	l.again.Stop() // until something waits for time
	return l
}

// Run places work until ctx ends.
func (l *Leader) Run(ctx context.Context) error {
	dirty, cancel := l.cfg.Store.Watch(nil)
	defer cancel()
	defer l.again.Stop()
	return loop.Loop{
		Name: "leader", Wake: []<-chan struct{}{dirty, l.cfg.Members, l.ticked}, Resync: 5 * time.Second, Pass: l.pass, Watchdog: l.cfg.Watchdog, Log: l.cfg.Log,
	}.Run(ctx)
}

// Changes is how often another node, or none, was seen to lead. The first leader is one.
func (l *Leader) Changes() uint64 { return l.changes.Load() }

func (l *Leader) pass(context.Context) error {
	v := l.cfg.View()
	l.look(v.Members)
	l.watch(v.Reports)
	if v.Leader != l.leader {
		l.leader = v.Leader
		l.changes.Add(1)
	}
	if leads := v.Leader == v.Self; leads != l.led {
		l.led = leads
		l.cfg.Log.Info("leadership", "leads", leads)
	}
	if !l.led {
		return nil
	}
	out := scheduler.Decide(l.input(v))
	var keys []string
	var errs []error
	for name, plan := range out.Plans {
		raw, err := json.Marshal(plan)
		if err == nil {
			_, err = l.cfg.Store.Put(cluster.PlanKey(name), raw)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("plan service %s: %w", name, err))
			continue
		}
		keys = append(keys, cluster.PlanKey(name))
	}
	for _, name := range out.Delete {
		if _, ok, err := l.cfg.Store.Delete(cluster.PlanKey(name)); err != nil {
			errs = append(errs, fmt.Errorf("remove the plan of service %s: %w", name, err))
		} else if ok {
			keys = append(keys, cluster.PlanKey(name))
		}
	}
	for _, name := range out.Rollback {
		written, err := l.rollBack(v, name)
		keys, errs = append(keys, written...), append(errs, err)
	}
	l.lookAgain(v, out.Plans)
	if len(keys) > 0 {
		errs = append(errs, l.cfg.Publish(keys...))
	}
	errs = append(errs, l.purge())
	return errors.Join(errs...)
}

// look notes who is ready, also while another node leads: a new leader knows how long each has been there.
func (l *Leader) look(members []cluster.Member) {
	ready := make(map[string]time.Time, len(members))
	for _, m := range members {
		if m.Condition != cluster.Ready {
			continue
		}
		l.seen[m.ID] = true
		ready[m.ID] = time.Now()
		if since, ok := l.since[m.ID]; ok {
			ready[m.ID] = since
		}
	}
	l.since = ready
}

// purgeEvery is how often tombstones that every node has acknowledged are dropped, and how long after its start an
// agent waits for that: two groups of new nodes that meet only after one has dropped some would lose records.
const purgeEvery = 10 * time.Minute

func (l *Leader) purge() error {
	if time.Since(l.purged) < purgeEvery {
		return nil
	}
	l.purged = time.Now()
	purged := l.cfg.Store.RaiseHorizon()
	if len(purged) == 0 {
		return nil
	}
	l.cfg.Log.Debug("every node has acknowledged removed records", "records", len(purged))
	return l.cfg.Publish(purged[0].Key) // saved; there is nothing of it to gossip, the others learn the horizon
}

// input tells the scheduler what this node knows.
func (l *Leader) input(v view.View) scheduler.Input {
	booting := time.Since(l.started) < BootGrace
	in := scheduler.Input{
		Services: v.Services, Plans: v.Plans, Status: map[string]scheduler.Reported{},
		Minority: cluster.Minority(v.Members, v.Settings),
	}
	for _, m := range v.Members {
		settings := v.SettingsOf(m.ID)
		report, reported := v.Reports[m.ID]
		n := scheduler.Node{
			NodeFacts: cluster.NodeFacts{
				ID: m.ID, Hostname: m.Name, Arch: report.Node.Platform.Arch, Role: settings.Role, Labels: settings.Labels,
			},
			Platform:     report.Node.Platform,
			Capacity:     report.Node.Capacity,
			MemoryLimit:  report.Node.MemoryLimit,
			Availability: settings.Availability,
			Condition:    m.Condition,
		}
		switch {
		case m.Condition == cluster.Ready && (!reported || m.Unheard):
			n.Condition = scheduler.Unknown
		case m.Condition == cluster.Down && booting && !l.seen[m.ID]:
			n.Condition = scheduler.Unknown
		}
		if n.Condition == cluster.Ready {
			// What a node said before it went down says nothing of what it does now.
			n.Leaving = report.Leaving
			n.Settled = time.Since(l.since[m.ID]) >= settleTime
			for _, s := range report.Tasks {
				in.Status[s.ID] = l.reported(m.ID, s)
			}
		}
		in.Nodes = append(in.Nodes, n)
	}
	return in
}
