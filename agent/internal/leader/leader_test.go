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

func (r *rig) report(id string) {
	r.put(cluster.ReportKey(id), cluster.Report{Node: cluster.Description{
		Platform: cluster.Platform{OS: "linux", Arch: "arm64"}, Capacity: cluster.Amount{MemoryBytes: 1 << 30, NanoCPUs: 4e9},
	}})
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
	record, ok := r.store.Get(cluster.PlanKey(service))
	if !ok {
		return nil
	}
	var plan cluster.Plan
	if err := json.Unmarshal(record.Value, &plan); err != nil {
		r.t.Fatal(err)
	}
	var nodes []string
	for _, t := range plan.Tasks {
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
