package leader

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// rig is a leader loop on a real store with a membership that the test sets.
type rig struct {
	t         *testing.T
	store     *state.Store
	members   []cluster.Member
	leader    *Leader
	published []string
}

func newRig(t *testing.T, self string, ready ...string) *rig {
	t.Helper()
	store, err := state.New(self, state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: store}
	for _, id := range ready {
		r.members = append(r.members, cluster.Member{ID: id, Name: id, Condition: cluster.Ready})
		r.put(cluster.NodeKey(id), cluster.Settings{Name: id})
		r.report(id)
	}
	reader := view.NewReader(store, func() []cluster.Member { return r.members }, slog.New(slog.DiscardHandler))
	r.leader = New(Config{
		Store: store, View: reader.View, Log: slog.New(slog.DiscardHandler),
		Publish: func(keys ...string) error { r.published = append(r.published, keys...); return nil },
	})
	return r
}

func (r *rig) put(key string, value any) {
	r.t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = r.store.Put(key, raw)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) report(id string, tasks ...cluster.TaskStatus) {
	r.put(cluster.ReportKey(id), report(tasks))
}

func report(tasks []cluster.TaskStatus) cluster.Report {
	return cluster.Report{Tasks: tasks, Node: cluster.Description{
		Platform: cluster.Platform{OS: "linux", Arch: "arm64"}, Capacity: cluster.Amount{MemoryBytes: 1 << 30, NanoCPUs: 4e9},
	}}
}

// run makes the nodes report that all planned tasks of the service run, with what is said of the node itself.
func (r *rig) run(service string, leaving ...string) {
	r.t.Helper()
	tasks := map[string][]cluster.TaskStatus{}
	for _, t := range r.plan(service).Tasks {
		tasks[t.Node] = append(tasks[t.Node], cluster.TaskStatus{
			ID: t.ID, Service: service, ServiceID: "id-" + service, Slot: t.Slot, SpecVersion: 1, State: cluster.Running,
		})
	}
	for _, m := range r.members {
		if m.Condition == cluster.Ready {
			said := report(tasks[m.ID])
			said.Leaving = slices.Contains(leaving, m.ID)
			r.put(cluster.ReportKey(m.ID), said)
		}
	}
}

func (r *rig) plan(service string) cluster.Plan {
	r.t.Helper()
	var plan cluster.Plan
	if record, ok := r.store.Get(cluster.PlanKey(service)); ok {
		if err := json.Unmarshal(record.Value, &plan); err != nil {
			r.t.Fatal(err)
		}
	}
	return plan
}

func (r *rig) service(name string, replicas int) {
	spec := cluster.Spec{Name: name, Replicas: replicas, Container: cluster.Container{Image: "docker.io/library/x:1"}}
	r.put(cluster.ServiceKey(name), cluster.Service{ID: "id-" + name, Spec: spec.WithDefaults(), SpecVersion: 1})
}

// pass runs one pass and returns on which nodes the service's tasks are then, in order of slot.
func (r *rig) pass(service string) []string {
	r.t.Helper()
	if err := r.leader.pass(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	var nodes []string
	for _, t := range r.plan(service).Tasks {
		nodes = append(nodes, t.Node)
	}
	return nodes
}

func TestOnlyTheLeaderPlans(t *testing.T) {
	r := newRig(t, "b", "a", "b")
	r.service("web", 2)
	if got := r.pass("web"); got != nil {
		t.Fatalf("b planned %v although a leads", got)
	}
	r.members[0].Condition = cluster.Down
	if got := r.pass("web"); len(got) != 2 {
		t.Fatalf("b leads now and planned %v", got)
	}
}

func TestPlansOnceAndRemoves(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	first := slices.Sorted(slices.Values(r.pass("web")))
	if !slices.Equal(first, []string{"a", "b"}) || !slices.Equal(r.published, []string{"plan/web"}) {
		t.Fatalf("tasks on %v, published %v", first, r.published)
	}
	r.pass("web")
	if len(r.published) != 1 {
		t.Errorf("an unchanged plan was published again: %v", r.published)
	}
	if _, _, err := r.store.Delete(cluster.ServiceKey("web")); err != nil {
		t.Fatal(err)
	}
	if got := r.pass("web"); got != nil || !slices.Equal(r.published, []string{"plan/web", "plan/web"}) {
		t.Errorf("after rm: tasks on %v, published %v", got, r.published)
	}
}

// TestBootGrace: a leader that has just started waits for nodes that it has not seen, and no longer than that.
func TestBootGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "a", "b")
		r.service("web", 2)
		r.pass("web")
		r.leader = New(r.leader.cfg) // the agent restarts, and b is not there yet
		r.members[1].Condition = cluster.Down
		if got := r.pass("web"); !slices.Contains(got, "b") {
			t.Fatalf("the task of a node that may still boot was moved: %v", got)
		}
		time.Sleep(BootGrace)
		if got := r.pass("web"); slices.Contains(got, "b") {
			t.Fatalf("after the grace the task is still on a node that is down: %v", got)
		}
	})
}

func TestSeenNodeThatDiesIsReplacedAtOnce(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	r.pass("web")
	r.members[1].Condition = cluster.Down
	if got := r.pass("web"); slices.Contains(got, "b") {
		t.Errorf("the tasks of a node that was seen and died stay: %v", got)
	}
}

func TestReadyNodeWithoutReportGetsNothingYet(t *testing.T) {
	r := newRig(t, "a", "a")
	r.members = append(r.members, cluster.Member{ID: "b", Name: "b", Condition: cluster.Ready})
	r.service("web", 2)
	if got := r.pass("web"); !slices.Equal(got, []string{"a", "a"}) {
		t.Fatalf("tasks on %v, want both on a: nothing is known of b", got)
	}
	r.report("b")
	r.service("other", 2)
	if got := r.pass("other"); !slices.Contains(got, "b") {
		t.Errorf("tasks of the next service on %v, want one on b", got)
	}
}

// TestTombstonesGoSlowly: not at the start, where nodes still join, and then when all have acknowledged them.
func TestTombstonesGoSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "a")
		r.service("web", 1)
		if _, _, err := r.store.Delete(cluster.ServiceKey("web")); err != nil {
			t.Fatal(err)
		}
		r.pass("web")
		if !r.leader.purged.Equal(r.leader.started) {
			t.Error("tombstones were dropped at the start")
		}
		time.Sleep(purgeEvery)
		r.pass("web")
		if r.leader.purged.Equal(r.leader.started) {
			t.Error("tombstones are never dropped")
		}
	})
}

// TestReturnedNodeGetsWorkWhenSettled: not at once, then one task at a time; a node that went away meanwhile waits
// anew, and a node that leads only now has watched for as long.
func TestReturnedNodeGetsWorkWhenSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a", "a", "b")
		r.members[1].Condition = cluster.Down
		time.Sleep(BootGrace)
		r.service("web", 4)
		r.pass("web")
		r.run("web")
		r.members[1].Condition = cluster.Ready
		r.run("web")
		r.pass("web")
		time.Sleep(settleTime / 2)
		r.members[1].Condition = cluster.Down // it comes and goes
		r.pass("web")
		r.members[1].Condition = cluster.Ready
		r.pass("web")
		time.Sleep(settleTime - time.Second)
		if got := r.pass("web"); slices.Contains(got, "b") {
			t.Fatalf("b is back since a moment and has work: %v", got)
		}
		time.Sleep(time.Second)
		for _, want := range [][]string{{"a", "a", "a", "a", "b"}, {"a", "a", "a", "b", "b"}, {"a", "a", "b", "b"}} {
			got := r.pass("web")
			if again := r.pass("web"); !slices.Equal(got, again) {
				t.Fatalf("a second move began before the first was done: %v, then %v", got, again)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("tasks on %v, want %v", got, want)
			}
			r.run("web")
		}
	})
}

// TestLeavingNodeHandsOver: its task is replaced while it serves, and only as long as the node is there to say so.
func TestLeavingNodeHandsOver(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	r.pass("web")
	r.run("web", "b")
	if got := r.pass("web"); len(got) != 3 || !slices.Contains(got, "b") {
		t.Fatalf("tasks on %v, want both and one more on a", got)
	}
	r.run("web", "b")
	if got := r.pass("web"); !slices.Equal(got, []string{"a", "a"}) {
		t.Fatalf("the new task runs, and tasks are on %v", got)
	}
	r.members[1].Condition = cluster.Down
	if got := r.pass("web"); !slices.Equal(got, []string{"a", "a"}) {
		t.Fatalf("b is off, and tasks are on %v", got)
	}
}

// TestReportOfDeadNodeIsHistory: neither that it was leaving nor what it ran counts any more.
func TestReportOfDeadNodeIsHistory(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	r.pass("web")
	r.run("web", "b")
	r.members[1].Condition = cluster.Down
	if got := r.pass("web"); !slices.Equal(got, []string{"a", "a"}) {
		t.Errorf("tasks on %v", got)
	}
}

// TestTakesInWhatRuns: a node that was cut off still runs a task that is planned elsewhere and has not started there.
func TestTakesInWhatRuns(t *testing.T) {
	r := newRig(t, "a", "a", "b")
	r.service("web", 2)
	r.pass("web")
	r.run("web")
	before := r.plan("web").Tasks
	r.members[1].Condition = cluster.Down
	if got := r.pass("web"); slices.Contains(got, "b") {
		t.Fatalf("tasks on %v", got)
	}
	r.members[1].Condition = cluster.Ready
	r.pass("web")
	after := r.plan("web").Tasks
	if len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID {
		t.Errorf("tasks are %v, want the running ones %v", after, before)
	}
}

// TestMinorityLeavesPlansThatStop: one of three nodes, alone, re-places what may run on both sides and nothing else.
func TestMinorityLeavesPlansThatStop(t *testing.T) {
	r := newRig(t, "a", "a", "b", "c")
	r.service("web", 3)
	spec := cluster.Spec{Name: "db", Replicas: 3, OnPartition: cluster.StopOnPartition}
	r.put(cluster.ServiceKey("db"), cluster.Service{ID: "id-db", Spec: spec.WithDefaults(), SpecVersion: 1})
	r.pass("web")
	want := r.pass("db")
	r.members[1].Condition, r.members[2].Condition = cluster.Down, cluster.Down
	if got := r.pass("web"); !slices.Equal(got, []string{"a", "a", "a"}) {
		t.Errorf("tasks of web on %v", got)
	}
	if got := r.pass("db"); !slices.Equal(got, want) {
		t.Errorf("tasks of db on %v, want them left on %v", got, want)
	}
	r.members[1].Condition = cluster.Ready
	if got := r.pass("db"); slices.Contains(got, "c") {
		t.Errorf("two of three are no minority, and tasks of db are on %v", got)
	}
}
