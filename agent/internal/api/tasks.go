package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TasksPath is below which members reach the tasks of this node.
const TasksPath = "/node/v1/tasks/"

func getTask(m *Member, r *http.Request) (any, error) { return findTask(m.View(), r.PathValue("task")) }

// anywhere answers for a task of any node: here, or by asking its node. limit bounds how long that may take.
func anywhere[In, Out any](name string, limit func(*Member, client.Task, In) time.Duration, read func(*http.Request) (In, error), here func(context.Context, *Member, client.Task, In) (Out, error)) memberHandler {
	return func(m *Member, r *http.Request) (any, error) {
		v := m.View()
		t, err := findTask(v, r.PathValue("task"))
		if err != nil {
			return nil, err
		}
		in, err := read(r)
		if err != nil {
			return nil, err
		}
		local, err := reachable(v, t)
		switch {
		case err != nil:
			return nil, err
		case local:
			return here(r.Context(), m, t, in)
		}
		var out Out
		err = m.ask(r.Context(), t.NodeID, t.Node, limit(m, t, in), r.Method, TasksPath+t.ID+"/"+name, in, &out)
		return out, err
	}
}

// ofThisNode answers another member for a task of this node alone, so that no question goes round in circles.
func ofThisNode[In, Out any](read func(*http.Request) (In, error), here func(context.Context, *Member, client.Task, In) (Out, error)) memberHandler {
	return func(m *Member, r *http.Request) (any, error) {
		t, err := localTask(m.View(), r.PathValue("task"))
		if err != nil {
			return nil, err
		}
		in, err := read(r)
		if err != nil {
			return nil, err
		}
		return here(r.Context(), m, t, in)
	}
}

// localTask is the task of that ID, which is on this node.
func localTask(v view.View, id string) (client.Task, error) {
	for _, t := range tasks(v, "", false) {
		if t.ID == id && t.NodeID == v.Self {
			return t, nil
		}
	}
	return client.Task{}, notFound("there is no task %s here", id)
}

func nothing(*http.Request) (struct{}, error) { return struct{}{}, nil }

func reachTime[In any](*Member, client.Task, In) time.Duration { return reachLimit }

// maxGrace bounds how long a container may be given to end: a day.
const maxGrace = 24 * 60 * 60

func readStop(r *http.Request) (client.TaskStop, error) {
	in, err := read[client.TaskStop](r)
	if err == nil && in.Timeout != nil && (*in.Timeout < 0 || *in.Timeout > maxGrace) {
		err = badRequest(fmt.Errorf("timeout %d: want seconds, 0 to %d", *in.Timeout, maxGrace))
	}
	return in, err
}

// stopTime is how long a node may take to stop a task, which waits for its end and then kills it.
func stopTime(m *Member, t client.Task, in client.TaskStop) time.Duration {
	return 2*time.Minute + graceOf(m, t, in)
}

// graceOf is how long the task is given to end before it is killed.
func graceOf(m *Member, t client.Task, in client.TaskStop) time.Duration {
	if in.Timeout != nil {
		return time.Duration(*in.Timeout) * time.Second
	}
	if s, ok := m.View().Service(t.Service); ok {
		if spec, ok := s.SpecOf(t.SpecVersion); ok && spec.Container.StopGracePeriod > 0 {
			return spec.Container.StopGracePeriod
		}
	}
	return cluster.DefaultStopGracePeriod
}

func stopTask(ctx context.Context, m *Member, t client.Task, in client.TaskStop) (client.Written, error) {
	return client.Written{ID: t.ID, Holders: 1}, refusable(m.Tasks.Stop(ctx, t.ID, in.Signal, graceOf(m, t, in)))
}

func killTask(ctx context.Context, m *Member, t client.Task, in client.TaskKill) (client.Written, error) {
	signal := in.Signal
	if signal == "" {
		signal = "SIGKILL"
	}
	return client.Written{ID: t.ID, Holders: 1}, refusable(m.Tasks.Signal(ctx, t.ID, signal))
}

// refusable gives an error that the caller is to blame for the status of one.
func refusable(err error) error {
	if errors.Is(err, ErrRefused) {
		return problem{http.StatusUnprocessableEntity, err}
	}
	return err
}

func taskStats(_ context.Context, m *Member, t client.Task, _ struct{}) (client.TaskStats, error) {
	stats, err := m.Tasks.Usage(t.ID)
	if err != nil {
		return stats, conflict("%s: %w", taskName(t), err)
	}
	stats.Task, stats.Service, stats.Slot, stats.Node, stats.Time = t.ID, t.Service, t.Slot, t.Node, time.Now().UTC()
	return stats, nil
}

// nodeStats is what this node and its tasks use.
func nodeStats(m *Member) client.NodeStats {
	v := m.View()
	stats := m.Tasks.NodeUsage()
	stats.ID, stats.Time, stats.Tasks = v.Self, time.Now().UTC(), []client.TaskStats{}
	if self, ok := v.Member(v.Self); ok {
		stats.Name = self.Name
	}
	for _, t := range tasks(v, "", false) {
		if t.NodeID != v.Self {
			continue
		}
		if s, err := taskStats(context.Background(), m, t, struct{}{}); err == nil { // else it does not run just now
			stats.Tasks = append(stats.Tasks, s)
		}
	}
	return stats
}

// StatsPath answers members what this node uses.
const StatsPath = "/node/v1/stats"

const (
	// statsLimit is how long a node may take to say what it uses, and maxAsked how many are asked at a time.
	statsLimit = 5 * time.Second
	maxAsked   = 16
)

// stats asks every node what it uses. One that does not answer keeps its place.
func stats(m *Member, r *http.Request) (any, error) {
	v := m.View()
	all := make([]client.NodeStats, 0, len(v.Members))
	for _, node := range v.Members {
		if node.Condition != cluster.Left {
			all = append(all, client.NodeStats{ID: node.ID, Name: node.Name, Tasks: []client.TaskStats{}})
		}
	}
	slices.SortFunc(all, func(a, b client.NodeStats) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	slots := make(chan struct{}, maxAsked)
	var group sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			n := all[i]
			switch {
			case n.ID == v.Self:
				all[i] = nodeStats(m)
				return
			case !v.Ready(n.ID):
				all[i].Error = "it is down"
				return
			}
			if err := m.ask(r.Context(), n.ID, n.Name, statsLimit, http.MethodGet, StatsPath, nil, &all[i]); err != nil {
				n.Error = oneLine(err)
				all[i] = n
			}
		})
	}
	group.Wait()
	return all, nil
}
