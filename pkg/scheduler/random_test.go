package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// disturb changes everything that can change: nodes come, go and are relabelled, services are scaled,
// created and removed, tasks fail, plans are damaged.
func disturb(r *rand.Rand, in Input) Input {
	platforms := []cluster.Platform{{OS: "linux", Arch: "arm64"}, {OS: "linux", Arch: "arm", Variant: "v6"}}
	conditions := []cluster.Condition{cluster.Ready, cluster.Ready, cluster.Ready, cluster.Ready, cluster.Down, cluster.Left, Unknown}
	availabilities := []cluster.Availability{cluster.Active, cluster.Active, cluster.Active, cluster.Pause, cluster.Drain}
	next := Input{Plans: maps.Clone(in.Plans), Status: map[string]Reported{}}
	for i := range 1 + r.IntN(6) {
		id := fmt.Sprintf("pi%d", i)
		next.Nodes = append(next.Nodes, Node{
			NodeFacts:    cluster.NodeFacts{ID: id, Hostname: id, Labels: map[string]string{"room": pick(r, []string{"a", "b", "c"})}},
			Platform:     pick(r, platforms),
			Capacity:     cluster.Amount{MemoryBytes: int64(1+r.IntN(4)) << 30, NanoCPUs: int64(1+r.IntN(4)) * 1e9},
			MemoryLimit:  r.IntN(4) > 0,
			Availability: pick(r, availabilities),
			Condition:    pick(r, conditions),
			Leaving:      r.IntN(8) == 0,
			Settled:      r.IntN(2) == 0,
		})
	}
	for i := range r.IntN(5) {
		s := cluster.Service{ID: fmt.Sprintf("id%d-%d", i, r.IntN(10)/9), SpecVersion: uint64(1 + r.IntN(10)/9)}
		s.Spec = cluster.Spec{Name: fmt.Sprintf("s%d", i), Mode: cluster.Replicated, Replicas: r.IntN(9)}
		s.Spec.Placement.Strategy = pick(r, []cluster.Strategy{cluster.Spread, cluster.Binpack})
		s.Spec.Placement.MaxPerNode = max(0, r.IntN(6)-3)
		if r.IntN(3) == 0 {
			s.Spec.Placement.Constraints = []cluster.Constraint{{Attribute: "node.labels.room", Not: r.IntN(2) == 0, Value: "a"}}
		}
		if r.IntN(3) == 0 {
			s.Spec.Placement.Spread = []string{"node.labels.room"}
		}
		if r.IntN(2) == 0 {
			s.Spec.Resources.Reservations = cluster.Amount{MemoryBytes: int64(r.IntN(6)) << 28, NanoCPUs: int64(r.IntN(3)) * 5e8}
		}
		if r.IntN(5) == 0 {
			s.Spec.Resources.Limits.MemoryBytes = 1 << 28
		}
		if r.IntN(5) == 0 {
			s.Spec.Container.Platforms = platforms[:1]
		}
		if r.IntN(6) == 0 {
			s.Spec.Ports = []cluster.Port{{Published: 80, Target: 80, Protocol: cluster.TCP, Mode: cluster.PortHost}}
		}
		if r.IntN(4) == 0 {
			s.Spec.OnPartition = cluster.StopOnPartition
		}
		switch {
		case i == 0:
			s.Spec.Mode, s.Spec.Replicas, s.Spec.Placement.MaxPerNode = pick(r, []cluster.Mode{cluster.Global, cluster.Global, cluster.GlobalJob}), 0, 0
		case r.IntN(6) == 0:
			s.Spec.Mode, s.Spec.MaxConcurrent = cluster.ReplicatedJob, r.IntN(4)
		}
		s = revise(r, s)
		next.Services = append(next.Services, s)
	}
	ready := map[string]bool{}
	for _, n := range next.Nodes {
		ready[n.ID] = n.Condition == cluster.Ready
	}
	for _, name := range slices.Sorted(maps.Keys(next.Plans)) {
		plan := next.Plans[name]
		plan.Tasks = damage(r, plan.Tasks)
		next.Plans[name] = plan
		for _, task := range plan.Tasks {
			states := []cluster.State{cluster.Running, cluster.Running, cluster.Running, cluster.Starting, cluster.Failed, cluster.Rejected, cluster.Unhealthy, cluster.Complete}
			if ready[task.Node] && r.IntN(8) > 0 {
				next.Status[task.ID] = Reported{Node: task.Node, TaskStatus: cluster.TaskStatus{
					ServiceID: plan.ServiceID, Slot: task.Slot, SpecVersion: task.SpecVersion,
					State: pick(r, states), Restarts: max(0, r.IntN(16)-8), Final: r.IntN(4) == 0,
				}, For: time.Duration(r.IntN(20)) * time.Second, Ran: time.Duration(max(0, r.IntN(20)-10)) * time.Second}
			}
		}
	}
	for _, s := range next.Services {
		for range r.IntN(3) {
			slot, node, attempt := r.IntN(10), pick(r, next.Nodes).ID, uint64(r.IntN(20))
			if !ready[node] {
				continue
			}
			next.Status[taskID(s.ID, slot, node, attempt)] = Reported{Node: node, TaskStatus: cluster.TaskStatus{
				ServiceID: s.ID, Slot: slot, SpecVersion: uint64(1 + r.IntN(2)), State: cluster.Running,
			}}
		}
	}
	next.Minority = r.IntN(6) == 0
	return next
}

// revise gives the service a past and a way to be updated.
func revise(r *rand.Rand, s cluster.Service) cluster.Service {
	s.Spec.Restart.MaxAttempts = max(0, r.IntN(6)-4)
	s.Spec.Update = cluster.UpdateConfig{
		Parallelism:     r.IntN(4),
		Delay:           pick(r, []time.Duration{0, 10 * time.Second}),
		Monitor:         pick(r, []time.Duration{0, 5 * time.Second}),
		MaxFailureRatio: pick(r, []float64{0, 0, 0.5}),
		FailureAction:   pick(r, []cluster.FailureAction{cluster.OnFailurePause, cluster.OnFailureContinue, cluster.OnFailureRollback}),
		Order:           pick(r, []cluster.Order{cluster.OrderAuto, cluster.StartFirst, cluster.StopFirst}),
	}
	s.Spec.Rollback = s.Spec.Update
	if s.Spec.Rollback.FailureAction == cluster.OnFailureRollback {
		s.Spec.Rollback.FailureAction = cluster.OnFailurePause
	}
	s.Generation, s.RollingBack = uint64(r.IntN(10)/8), r.IntN(4) == 0
	if r.IntN(4) > 0 {
		before := s.Spec
		before.Resources.Reservations.MemoryBytes = int64(r.IntN(3)) << 28
		s.Past = []cluster.Revision{{Spec: before, SpecVersion: 3 - s.SpecVersion, Failed: r.IntN(3) == 0}}
	}
	return s
}

// damage makes of a plan what another leader, or a bug, could have left.
func damage(r *rand.Rand, tasks []cluster.Task) []cluster.Task {
	tasks = slices.Clone(tasks)
	for range r.IntN(3) {
		if len(tasks) == 0 || r.IntN(3) > 0 {
			continue
		}
		task := pick(r, tasks)
		task.Attempt++
		task.Node = fmt.Sprintf("pi%d", r.IntN(8))
		task.Reason = ""
		task.ID = taskID("elsewhere", task.Slot, task.Node, r.Uint64())
		if r.IntN(4) == 0 {
			task.Slot = r.IntN(20) - 2
		}
		tasks = append(tasks, task)
	}
	for i := range tasks {
		if r.IntN(10) == 0 {
			tasks[i].Replaces = pick(r, tasks).ID
		}
	}
	return tasks
}

func shuffle(in Input, seed uint64) Input {
	r := rand.New(rand.NewPCG(seed, 3))
	out := Input{Status: in.Status, Minority: in.Minority, Plans: map[string]cluster.Plan{}}
	for _, i := range r.Perm(len(in.Services)) {
		out.Services = append(out.Services, in.Services[i])
	}
	for _, i := range r.Perm(len(in.Nodes)) {
		out.Nodes = append(out.Nodes, in.Nodes[i])
	}
	for _, name := range slices.Sorted(maps.Keys(in.Plans)) {
		plan := in.Plans[name]
		plan.Tasks = slices.Clone(plan.Tasks)
		r.Shuffle(len(plan.Tasks), func(i, j int) { plan.Tasks[i], plan.Tasks[j] = plan.Tasks[j], plan.Tasks[i] })
		out.Plans[name] = plan
	}
	return out
}

// sorted brings those plans into order, too, that Decide left as they were.
func sorted(plans map[string]cluster.Plan) map[string]cluster.Plan {
	out := maps.Clone(plans)
	for name, plan := range out {
		plan.Tasks = slices.Clone(plan.Tasks)
		slices.SortFunc(plan.Tasks, func(a, b cluster.Task) int {
			return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID))
		})
		out[name] = plan
	}
	return out
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
