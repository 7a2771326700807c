package agent

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/piswarm/piswarm/agent/internal/doctor"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// passSeconds are the bounds by which passes of the loops are counted. One that has nothing to do takes a millisecond on a
// Pi Zero; the watchdog barks after a minute.
var passSeconds = []float64{.001, .005, .02, .1, .5, 2, 10, 60}

// took notes how long a pass of a loop took. No pass that is counted waits for who reads.
func (a *Agent) took(loop string, d time.Duration) {
	a.passes.GetOrCreatePrometheusHistogramExt(fmt.Sprintf("piswarm_reconcile_seconds{loop=%q}", loop), passSeconds).Update(d.Seconds())
}

// Metrics writes what this node counts in Prometheus' text format. Everything is read where it is counted anyway, at
// the moment when somebody asks.
func (a *Agent) Metrics(w io.Writer) {
	gauge := func(name string, value float64) { metrics.WriteGaugeFloat64(w, name, value) }
	metrics.WriteGaugeUint64(w, fmt.Sprintf("piswarm_build_info{version=%q,commit=%q}", Version, Commit), 1)
	peers, registries := a.runtime.Fetched()
	metrics.WriteCounterUint64(w, `piswarm_image_bytes_total{from="peer"}`, peers)
	metrics.WriteCounterUint64(w, `piswarm_image_bytes_total{from="registry"}`, registries)
	hot, throttled := doctor.This().Heat()
	if hot != 0 {
		gauge("piswarm_temperature_celsius", hot)
	}
	gauge("piswarm_throttled", one(throttled))
	a.passes.WritePrometheus(w)
	a.mu.Lock()
	s := a.session
	a.mu.Unlock()
	if s != nil {
		s.metrics(w)
	}
	metrics.WriteProcessMetrics(w)
}

// metrics are those of a node that is in a cluster.
func (s *session) metrics(w io.Writer) {
	v := s.reader.View()
	members := map[cluster.Condition]uint64{cluster.Ready: 0, cluster.Down: 0, cluster.Left: 0}
	for _, m := range v.Members {
		members[m.Condition]++
	}
	for _, state := range slices.Sorted(maps.Keys(members)) {
		metrics.WriteGaugeUint64(w, fmt.Sprintf("piswarm_members{state=%q}", state), members[state])
	}
	metrics.WriteGaugeFloat64(w, "piswarm_leader", one(v.Leader == v.Self))
	metrics.WriteCounterUint64(w, "piswarm_leader_changes_total", s.leader.Changes())
	metrics.WriteGaugeUint64(w, "piswarm_services", uint64(len(v.Services)))
	writeTasks(w, v)
	metrics.WriteCounterUint64(w, "piswarm_rule_changes_total", s.firewall.Changes())
	metrics.WriteCounterUint64(w, "piswarm_gossip_sent_bytes_total", s.gossip.Sent())
	metrics.WriteCounterUint64(w, "piswarm_snapshot_writes_total", s.disk.file.Writes())
}

// taskStates are those that a node's own task can be in.
var taskStates = []cluster.State{
	cluster.Preparing, cluster.Starting, cluster.Running, cluster.Unhealthy, cluster.Stopping, cluster.Complete, cluster.Failed, cluster.Rejected,
}

// writeTasks counts the tasks of this node, so that the nodes' figures can be added up, and those that have no node, which
// every node tells alike.
func writeTasks(w io.Writer, v view.View) {
	own := map[cluster.State]uint64{}
	for _, t := range v.Reports[v.Self].Tasks {
		own[t.State]++
	}
	for _, state := range taskStates {
		metrics.WriteGaugeUint64(w, fmt.Sprintf("piswarm_tasks{state=%q}", state), own[state])
	}
	pending := uint64(0)
	for _, s := range v.Services {
		for _, t := range v.Plan(s) {
			if t.Node == "" && t.Ended == "" {
				pending++
			}
		}
	}
	metrics.WriteGaugeUint64(w, "piswarm_tasks_pending", pending)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
