package scheduler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// checkLaws holds what must be true whatever the input.
func checkLaws(t *testing.T, in Input) {
	t.Helper()
	untouched := asJSON(t, in)
	out := Decide(in)
	if asJSON(t, in) != untouched {
		t.Error("Decide changed its input")
	}
	after := apply(in, out)
	// What this call freed may be the room for an orphan, so each further call may change something if it takes in one.
	for from, again := after, Decide(after); len(again.Plans) > 0 || len(again.Delete) > 0; {
		to := apply(from, again)
		if unplanned(to) >= unplanned(from) {
			t.Errorf("Decide on its own result changes it\nfrom %s\nto   %s", asJSON(t, from.Plans), asJSON(t, again))
			break
		}
		from, again = to, Decide(to)
	}
	for seed := range uint64(3) {
		other := shuffle(in, seed)
		if got, want := asJSON(t, sorted(apply(other, Decide(other)).Plans)), asJSON(t, sorted(after.Plans)); got != want {
			t.Errorf("the order of the input matters\none %s\ntwo %s", want, got)
		}
	}
	nodes := map[string]Node{}
	for _, n := range in.Nodes {
		nodes[n.ID] = n
	}
	for _, s := range in.Services {
		if in.Minority && s.Spec.OnPartition == cluster.StopOnPartition {
			if got, want := asJSON(t, after.Plans[s.Spec.Name]), asJSON(t, in.Plans[s.Spec.Name]); got != want {
				t.Errorf("%s: on the smaller side of a partition its plan became %s from %s", s.Spec.Name, got, want)
			}
			continue
		}
		checkPlan(t, s, in.Plans[s.Spec.Name], after.Plans[s.Spec.Name], nodes, in.Status)
	}
	if !in.Minority && len(after.Plans) != len(in.Services) {
		t.Errorf("%d plans for %d services", len(after.Plans), len(in.Services))
	}
}

// unplanned counts the tasks that run and are in no plan.
func unplanned(in Input) int {
	planned := map[string]bool{}
	for _, plan := range in.Plans {
		for _, task := range plan.Tasks {
			planned[task.ID] = true
		}
	}
	n := 0
	for id, r := range in.Status {
		if r.State == cluster.Running && !planned[id] {
			n++
		}
	}
	return n
}

func checkPlan(t *testing.T, s cluster.Service, before, after cluster.Plan, nodes map[string]Node, status map[string]Reported) {
	t.Helper()
	name := s.Spec.Name
	if after.ServiceID != s.ID {
		t.Errorf("%s: plan of %q", name, after.ServiceID)
	}
	old := map[string]cluster.Task{}
	if before.ServiceID == s.ID {
		for _, task := range before.Tasks {
			old[task.ID] = task
		}
	}
	byID := map[string]cluster.Task{}
	for _, task := range after.Tasks {
		byID[task.ID] = task
	}
	replaced := map[string]bool{}
	for _, task := range after.Tasks {
		if task.Replaces != "" {
			checkPair(t, s, task, byID, status)
			if replaced[task.Replaces] {
				t.Errorf("%s: two tasks replace one in slot %d", name, task.Slot)
			}
			replaced[task.Replaces] = true
		}
	}
	seen := map[string]bool{}
	perNode := map[string]int{}
	for _, task := range after.Tasks {
		place := fmt.Sprint(task.Slot)
		if s.Spec.Mode == cluster.Global {
			place = task.Node
		}
		if task.Replaces != "" {
			place += " moving"
		}
		if seen[place] || seen[task.ID] {
			t.Errorf("%s: two tasks in place %q or of ID %s", name, place, task.ID)
		}
		seen[place], seen[task.ID] = true, true
		if len(task.ID) != taskIDLength {
			t.Errorf("%s: task ID %q", name, task.ID)
		}
		if task.Node == "" {
			if !strings.HasPrefix(task.Reason, "no suitable node (") {
				t.Errorf("%s: slot %d has no node and the reason %q", name, task.Slot, task.Reason)
			}
			continue
		}
		if task.Reason != "" {
			t.Errorf("%s: slot %d has a node and the reason %q", name, task.Slot, task.Reason)
		}
		perNode[task.Node]++
		n, known := nodes[task.Node]
		if !known || n.Condition == cluster.Down || n.Condition == cluster.Left || n.Availability == cluster.Drain && !replaced[task.ID] {
			t.Errorf("%s: slot %d is on %s (%s, %s)", name, task.Slot, task.Node, n.Condition, n.Availability)
		}
		if _, kept := old[task.ID]; kept {
			continue
		}
		if reported, ok := status[task.ID]; ok && reported.State == cluster.Running && n.Availability != cluster.Drain && !n.Leaving {
			continue // taken in
		}
		if n.Condition != cluster.Ready || n.Availability != cluster.Active || n.Leaving {
			t.Errorf("%s: slot %d was placed on %s (%s, %s)", name, task.Slot, task.Node, n.Condition, n.Availability)
		}
		for _, earlier := range before.Tasks {
			if before.ServiceID == s.ID && task.Attempt <= earlier.Attempt && task.Slot == earlier.Slot && task.Node == earlier.Node {
				t.Errorf("%s: slot %d is placed on %s in attempt %d after attempt %d", name, task.Slot, task.Node, task.Attempt, earlier.Attempt)
			}
		}
	}
	if slots := len(after.Tasks) - len(replaced); s.Spec.Mode == cluster.Replicated && slots != max(0, s.Spec.Replicas) {
		t.Errorf("%s: %d slots for %d replicas", name, slots, s.Spec.Replicas)
	}
	for n, count := range perNode {
		if most := s.Spec.Placement.MaxPerNode; most > 0 && count > most && nodes[n].Condition == cluster.Ready {
			t.Errorf("%s: %d tasks on %s, at most %d allowed", name, count, n, most)
		}
	}
	checkSticky(t, s, old, after, nodes, status)
	checkServed(t, s, old, after, nodes, status)
}

// checkPair: both tasks of a move have the same slot and different nodes, the new one does not serve yet as far as is
// known, and replaces one that replaces none.
func checkPair(t *testing.T, s cluster.Service, task cluster.Task, byID map[string]cluster.Task, status map[string]Reported) {
	t.Helper()
	old, ok := byID[task.Replaces]
	if !ok || old.ID == task.ID || old.Slot != task.Slot || old.Node == task.Node || old.Node == "" || task.Node == "" || old.Replaces != "" {
		t.Errorf("%s: %+v replaces %+v", s.Spec.Name, task, old)
	}
	if s.Spec.Mode == cluster.Global || status[task.ID].State == cluster.Running {
		t.Errorf("%s: slot %d is still being moved to %s", s.Spec.Name, task.Slot, task.Node)
	}
}

// checkSticky: a running task that may stay and is wanted stays. Where slots are to be dropped or the maximum
// per node cuts in, which of them go is for the golden tests to say.
func checkSticky(t *testing.T, s cluster.Service, old map[string]cluster.Task, after cluster.Plan, nodes map[string]Node, status map[string]Reported) {
	t.Helper()
	slots := map[int]int{}
	for _, task := range old {
		slots[task.Slot]++
	}
	if s.Spec.Mode != cluster.Replicated || len(old) > s.Spec.Replicas || s.Spec.Placement.MaxPerNode > 0 {
		return
	}
	for _, task := range old {
		n, known := nodes[task.Node]
		stays := known && n.Condition == cluster.Ready && n.Availability != cluster.Drain && !n.Leaving && status[task.ID].State == cluster.Running
		for _, c := range s.Spec.Placement.Constraints {
			stays = stays && c.Holds(n.NodeFacts)
		}
		if stays && task.Slot > 0 && slots[task.Slot] == 1 && !slices.ContainsFunc(after.Tasks, func(a cluster.Task) bool { return a.ID == task.ID && a.Node == task.Node }) {
			t.Errorf("%s: the running task of slot %d was taken off %s", s.Spec.Name, task.Slot, task.Node)
		}
	}
}

// checkServed: a slot that is served goes on being served, unless its task must leave its node and fits nowhere.
func checkServed(t *testing.T, s cluster.Service, old map[string]cluster.Task, after cluster.Plan, nodes map[string]Node, status map[string]Reported) {
	t.Helper()
	if s.Spec.Mode != cluster.Replicated || len(old) > s.Spec.Replicas || s.Spec.Placement.MaxPerNode > 0 {
		return
	}
	for _, task := range old {
		if n, known := nodes[task.Node]; !known || n.Condition != cluster.Ready || task.Slot < 1 || status[task.ID].State != cluster.Running {
			continue
		}
		if !slices.ContainsFunc(after.Tasks, func(a cluster.Task) bool {
			serves := status[a.ID].State == cluster.Running || nodes[a.Node].Condition == Unknown
			if _, kept := old[a.ID]; serves && !kept {
				return true // taken in, if need be from another slot
			}
			return a.Slot == task.Slot && (a.Node == "" || serves)
		}) {
			t.Errorf("%s: slot %d was served on %s and is not any more", s.Spec.Name, task.Slot, task.Node)
		}
	}
}

// TestLaws drives random clusters through random changes, each step starting from the plans of the one before.
func TestLaws(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		in := Input{Plans: map[string]cluster.Plan{}}
		for step := range 8 {
			in = disturb(r, in)
			checkLaws(t, in)
			if t.Failed() {
				t.Fatalf("seed %d step %d: %s", seed, step, asJSON(t, in))
			}
			in = apply(in, Decide(in))
		}
	}
}

// TestRemovedNodeMovesOnlyItsTasks takes one node away from a cluster at rest.
func TestRemovedNodeMovesOnlyItsTasks(t *testing.T) {
	moved := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 11))
		in := disturb(r, Input{})
		in.Plans = nil
		in = apply(in, Decide(in))
		in.Status = nil
		gone := in.Nodes[r.IntN(len(in.Nodes))].ID
		before := in.Plans
		in.Nodes = slices.DeleteFunc(slices.Clone(in.Nodes), func(n Node) bool { return n.ID == gone })
		after := apply(in, Decide(in)).Plans
		for name, plan := range before {
			kept := map[string]string{}
			for _, task := range after[name].Tasks {
				kept[task.ID] = task.Node
			}
			for _, task := range plan.Tasks {
				switch node, ok := kept[task.ID]; {
				case task.Node == gone && ok:
					t.Errorf("seed %d: %s slot %d stays on a node that is gone", seed, name, task.Slot)
				case task.Node == gone:
					moved++
				case task.Node != "" && node != task.Node:
					t.Errorf("seed %d: %s slot %d left %s when %s was removed", seed, name, task.Slot, task.Node, gone)
				}
			}
		}
	}
	if moved == 0 {
		t.Error("no removed node had a task: the test shows nothing")
	}
}

// TestEvenSpread: equal nodes get equal shares.
func TestEvenSpread(t *testing.T) {
	for replicas := range 40 {
		in := Input{}
		for i := range 5 {
			in.Nodes = append(in.Nodes, Node{NodeFacts: cluster.NodeFacts{ID: fmt.Sprint("n", i)}, Availability: cluster.Active, Condition: cluster.Ready})
		}
		in.Services = []cluster.Service{{ID: "s", Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: replicas}}}
		count := map[string]int{}
		for _, task := range Decide(in).Plans["web"].Tasks {
			count[task.Node]++
		}
		for i := range 5 {
			if n := count[fmt.Sprint("n", i)]; n != replicas/5 && n != (replicas+4)/5 {
				t.Errorf("%d replicas: %v", replicas, count)
			}
		}
	}
}

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
		if i == 0 {
			s.Spec.Mode, s.Spec.Replicas, s.Spec.Placement.MaxPerNode = cluster.Global, 0, 0
		}
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
			states := []cluster.State{cluster.Running, cluster.Running, cluster.Running, cluster.Starting, cluster.Failed, cluster.Rejected}
			if ready[task.Node] && r.IntN(8) > 0 {
				next.Status[task.ID] = Reported{task.Node, cluster.TaskStatus{State: pick(r, states), Restarts: r.IntN(8)}}
			}
		}
	}
	for _, s := range next.Services {
		for range r.IntN(3) {
			slot, node, attempt := r.IntN(10), pick(r, next.Nodes).ID, uint64(r.IntN(20))
			if !ready[node] {
				continue
			}
			next.Status[taskID(s.ID, slot, node, attempt)] = Reported{node, cluster.TaskStatus{
				ServiceID: s.ID, Slot: slot, SpecVersion: uint64(1 + r.IntN(2)), State: cluster.Running,
			}}
		}
	}
	next.Minority = r.IntN(6) == 0
	return next
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

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
