package scheduler

import (
	"encoding/json"
	"fmt"
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

// unplanned counts the tasks that run and are in no plan, as far as any might be taken in.
func unplanned(in Input) int {
	planned, version := map[string]bool{}, map[string]uint64{}
	for _, s := range in.Services {
		version[s.ID] = s.SpecVersion
	}
	for _, plan := range in.Plans {
		for _, task := range plan.Tasks {
			planned[task.ID] = true
		}
	}
	n := 0
	for id, r := range in.Status {
		if r.State == cluster.Running && !planned[id] && r.SpecVersion == version[r.ServiceID] {
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
		if s.Spec.Mode.PerNode() {
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
		if task.Ended != "" {
			continue
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
		if task.SpecVersion != s.SpecVersion && (s.Spec.Mode.Job() || !remembers(s, task.SpecVersion)) {
			t.Errorf("%s: slot %d was placed with version %d of the spec, which is forgotten", name, task.Slot, task.SpecVersion)
		}
		inPlace := s.Spec.Mode == cluster.Global && n.Availability == cluster.Pause && slices.ContainsFunc(before.Tasks, func(a cluster.Task) bool { return a.Node == task.Node })
		if n.Condition != cluster.Ready || n.Availability != cluster.Active && !inPlace || n.Leaving {
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

func remembers(s cluster.Service, version uint64) bool {
	_, ok := s.SpecOf(version)
	return ok
}

// checkPair: both tasks of a move have the same slot, and different nodes or versions, the new one does not serve yet as
// far as is known, and replaces one that replaces none.
func checkPair(t *testing.T, s cluster.Service, task cluster.Task, byID map[string]cluster.Task, status map[string]Reported) {
	t.Helper()
	old, ok := byID[task.Replaces]
	if !ok || old.ID == task.ID || old.Slot != task.Slot || old.Node == "" || task.Node == "" || old.Replaces != "" {
		t.Errorf("%s: %+v replaces %+v", s.Spec.Name, task, old)
	}
	if old.SpecVersion == task.SpecVersion && (old.Node == task.Node || s.Spec.Mode == cluster.Global) {
		t.Errorf("%s: %+v replaces %+v, which is no better", s.Spec.Name, task, old)
	}
	if s.Spec.Mode.Job() || status[task.ID].State == cluster.Running {
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
		stays := known && task.Ended == "" && n.Condition == cluster.Ready && n.Availability != cluster.Drain && !n.Leaving && status[task.ID].State == cluster.Running
		stays = stays && task.SpecVersion == s.SpecVersion // else it is an update's to replace
		for _, c := range s.Spec.Placement.Constraints {
			stays = stays && c.Holds(n.NodeFacts)
		}
		if stays && task.Slot > 0 && slots[task.Slot] == 1 && !slices.ContainsFunc(after.Tasks, func(a cluster.Task) bool { return a.ID == task.ID && a.Node == task.Node }) {
			t.Errorf("%s: the running task of slot %d was taken off %s", s.Spec.Name, task.Slot, task.Node)
		}
	}
}

// checkServed: a slot that is served goes on being served, unless its task must leave its node and fits nowhere, or it
// is the slot's turn in an update.
func checkServed(t *testing.T, s cluster.Service, old map[string]cluster.Task, after cluster.Plan, nodes map[string]Node, status map[string]Reported) {
	t.Helper()
	if s.Spec.Mode != cluster.Replicated || len(old) > s.Spec.Replicas || s.Spec.Placement.MaxPerNode > 0 {
		return
	}
	turned := 0
	for _, task := range old {
		if n, known := nodes[task.Node]; !known || n.Condition != cluster.Ready || task.Slot < 1 || task.Ended != "" || status[task.ID].State != cluster.Running {
			continue
		}
		if !slices.ContainsFunc(after.Tasks, func(a cluster.Task) bool {
			serves := status[a.ID].State == cluster.Running || nodes[a.Node].Condition == Unknown
			if _, kept := old[a.ID]; serves && !kept {
				return true // taken in, if need be from another slot
			}
			return a.Slot == task.Slot && (a.Node == "" || serves)
		}) {
			if task.SpecVersion != s.SpecVersion && slices.ContainsFunc(after.Tasks, func(a cluster.Task) bool { return a.Follows == task.ID }) {
				turned++
				continue
			}
			t.Errorf("%s: slot %d was served on %s and is not any more", s.Spec.Name, task.Slot, task.Node)
		}
	}
	config := s.Spec.Update
	if s.RollingBack {
		config = s.Spec.Rollback
	}
	if most := config.WithDefaults().Parallelism; most > 0 && turned > most {
		t.Errorf("%s: %d slots were given up at once, at most %d may", s.Spec.Name, turned, most)
	}
}

// TestLaws drives random clusters through random changes, each step starting from the plans of the one before.
func TestLaws(t *testing.T) {
	for seed := range uint64(600) {
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

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
