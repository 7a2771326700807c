package dockerapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/piswarm/piswarm/pkg/client"
)

// statsEvery is the pause between two readings of a stream.
const statsEvery = time.Second

// containerStats streams what a container uses, or takes one reading. Of network and disk nothing is counted.
func (s *server) containerStats(w http.ResponseWriter, r *http.Request) {
	stream, once := true, false
	var err error
	if r.URL.Query().Get("stream") != "" {
		stream, err = switched(r, "stream")
	}
	if err == nil {
		once, err = switched(r, "one-shot")
	}
	var t task
	if err == nil {
		t, err = s.running(r.Context(), r.PathValue("id"))
	}
	var reading container.StatsResponse
	if err == nil {
		reading, err = s.stats(r.Context(), t, container.StatsResponse{})
	}
	if err == nil && !stream && !once { // a rate takes two
		select {
		case <-r.Context().Done():
			return
		case <-time.After(statsEvery):
		}
		reading, err = s.stats(r.Context(), t, reading)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	lines, control := json.NewEncoder(w), http.NewResponseController(w)
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for lines.Encode(reading) == nil && control.Flush() == nil && stream {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		if reading, err = s.stats(r.Context(), t, reading); err != nil {
			return // the container is gone, or its node is
		}
	}
}

func (s *server) stats(ctx context.Context, t task, before container.StatsResponse) (container.StatsResponse, error) {
	v, err := s.api.Version(ctx)
	if err != nil {
		return before, err
	}
	n, err := s.ownNode(ctx, v)
	if err != nil {
		return before, err
	}
	now, err := s.api.TaskStats(ctx, t.ID)
	if err != nil {
		return before, err
	}
	return statsOut(t, n, now, before), nil
}

// statsOut is a reading in docker's words. The time that all processors had is counted from the clock: that is what a rate
// is made of.
func statsOut(t task, n client.Node, now client.TaskStats, before container.StatsResponse) container.StatsResponse {
	cpus := max(1, n.Description.Capacity.NanoCPUs/1e9)
	out := container.StatsResponse{
		ID: containerID(t.id), Name: "/" + t.name(), OSType: "linux", Read: now.Time, NumProcs: uint32(min(now.Pids, 1<<31)),
		CPUStats: container.CPUStats{
			CPUUsage: container.CPUUsage{TotalUsage: now.CPUNanos}, SystemUsage: uint64(max(now.Time.UnixNano(), 0)) / 1e3 * uint64(cpus) * 1e3,
			OnlineCPUs: uint32(cpus),
		},
		MemoryStats: container.MemoryStats{Usage: now.MemoryBytes, Limit: now.MemoryLimit},
		PidsStats:   container.PidsStats{Current: now.Pids},
		PreRead:     before.Read, PreCPUStats: before.CPUStats,
	}
	if out.MemoryStats.Limit == 0 {
		out.MemoryStats.Limit = uint64(max(n.Description.Capacity.MemoryBytes, 0))
	}
	return out
}
