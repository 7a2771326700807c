package view

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// rig is a reader of a real store, with a membership that the test sets and what was logged.
type rig struct {
	t       *testing.T
	store   *state.Store
	members []cluster.Member
	log     bytes.Buffer
	reader  *Reader
}

func newRig(t *testing.T, members ...cluster.Member) *rig {
	t.Helper()
	store, err := state.New("a", state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: store, members: members}
	r.reader = NewReader(store, func() []cluster.Member { return r.members }, slog.New(slog.NewTextHandler(&r.log, nil)))
	return r
}

func (r *rig) put(key string, value any) state.Record {
	r.t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		r.t.Fatal(err)
	}
	record, err := r.store.Put(key, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

func TestViewReadsEveryKind(t *testing.T) {
	r := newRig(t, cluster.Member{ID: "a", Condition: cluster.Ready}, cluster.Member{ID: "b", Name: "pi2", Condition: cluster.Down})
	versions := map[string]state.Version{}
	for _, name := range []string{"web", "api"} {
		versions[cluster.ServiceKey(name)] = r.put(cluster.ServiceKey(name), cluster.Service{ID: "id-" + name, Spec: cluster.Spec{Name: name}}).Version
	}
	plan := cluster.Plan{ServiceID: "id-web", Tasks: []cluster.Task{{ID: "t1", Node: "a"}, {ID: "t2", Node: "b"}}}
	versions[cluster.PlanKey("web")] = r.put(cluster.PlanKey("web"), plan).Version
	r.put(cluster.PlanKey("api"), cluster.Plan{ServiceID: "an earlier api", Tasks: []cluster.Task{{ID: "t3", Node: "a"}}})
	versions[cluster.NodeKey("a")] = r.put(cluster.NodeKey("a"), cluster.Settings{Name: "pi1", Availability: cluster.Drain}).Version
	r.put(cluster.SettingsKey, cluster.ClusterSettings{Name: "home"})
	for node, task := range map[string]string{"a": "t1", "b": "t2"} {
		r.put(cluster.ReportKey(node), cluster.Report{Tasks: []cluster.TaskStatus{{ID: task, State: cluster.Running}}})
	}
	v := r.reader.View()

	if v.Self != "a" || v.Leader != "a" || v.Cluster.Name != "home" {
		t.Errorf("self %q, leader %q, cluster %q", v.Self, v.Leader, v.Cluster.Name)
	}
	if len(v.Services) != 2 || v.Services[0].Spec.Name != "api" {
		t.Errorf("services out of order: %v", v.Services)
	}
	for key, want := range versions {
		if v.Versions[key] != want {
			t.Errorf("version of %s is %v, want %v", key, v.Versions[key], want)
		}
	}
	web, found := v.Service("web")
	if _, nothing := v.Service("none"); !found || nothing || len(v.Plan(web)) != 2 {
		t.Errorf("web: found %v, tasks %v", found, v.Plan(web))
	}
	if api, _ := v.Service("api"); v.Plan(api) != nil {
		t.Errorf("a plan of an earlier service counts: %v", v.Plan(api))
	}
	if s, ok := v.Status("a", "t1"); !ok || s.State != cluster.Running {
		t.Errorf("status of t1: %v, %v", s, ok)
	}
	if _, ok := v.Status("b", "t2"); ok {
		t.Error("what a node said before it went down counts")
	}
	if s := v.SettingsOf("a"); s.Availability != cluster.Drain || s.Role != cluster.Manager {
		t.Errorf("settings of a: %v", s)
	}
	if s := v.SettingsOf("unheard of"); s.Availability != cluster.Active || s.Role != cluster.Manager {
		t.Errorf("what holds for a node without settings: %v", s)
	}
}

// TestShutDownIsNotGone: what the gossip calls left is only off, until the node is removed from the cluster.
func TestShutDownIsNotGone(t *testing.T) {
	r := newRig(t, cluster.Member{ID: "c", Condition: cluster.Left}, cluster.Member{ID: "a", Name: "pi1", Condition: cluster.Ready})
	r.put(cluster.NodeKey("b"), cluster.Settings{Name: "pi2"})
	r.put(cluster.NodeKey("c"), cluster.Settings{Name: "pi3"})
	want := []cluster.Member{{ID: "a", Name: "pi1", Condition: cluster.Ready}, {ID: "b", Name: "pi2", Condition: cluster.Down}, {ID: "c", Name: "pi3", Condition: cluster.Down}}
	if got := r.reader.View().Members; !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	if r.members[0].Condition != cluster.Left {
		t.Error("the caller's list was changed")
	}
	if _, _, err := r.store.Delete(cluster.NodeKey("c")); err != nil {
		t.Fatal(err)
	}
	if m, ok := r.reader.View().Member("c"); !ok || m.Condition != cluster.Left {
		t.Errorf("a removed node that left is %v", m)
	}
}

// TestReadsNothingAsLongAsNothingChanges: a look at an unchanged cluster costs the list of its members and no more, and
// a change of either a record or a member is seen.
func TestReadsNothingAsLongAsNothingChanges(t *testing.T) {
	r := newRig(t, cluster.Member{ID: "a", Condition: cluster.Ready})
	r.put(cluster.ServiceKey("web"), cluster.Service{ID: "1", Spec: cluster.Spec{Name: "web"}})
	r.reader.View()
	if n := testing.AllocsPerRun(100, func() { r.reader.View() }); n > 0 {
		t.Errorf("a look at the same makes %v allocations", n)
	}
	r.members[0].Condition = cluster.Down
	if v := r.reader.View(); v.Ready("a") {
		t.Error("a member that went down is ready")
	}
	r.put(cluster.ReportKey("a"), cluster.Report{Leaving: true})
	if v := r.reader.View(); !v.Reports["a"].Leaving {
		t.Error("a new report is not seen")
	}
	if _, _, err := r.store.Delete(cluster.ServiceKey("web")); err != nil {
		t.Fatal(err)
	}
	if v := r.reader.View(); len(v.Services) > 0 {
		t.Error("a removed service is still there")
	}
}

// TestDecodesOncePerVersion: the second look costs no JSON, a new version is seen, and what cannot be read is passed
// over and said once a version.
func TestDecodesOncePerVersion(t *testing.T) {
	r := newRig(t)
	r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "1", Tasks: []cluster.Task{{ID: "t1"}}})
	first := r.reader.View().Plans["web"].Tasks
	if again := r.reader.View().Plans["web"].Tasks; &first[0] != &again[0] {
		t.Error("an unchanged record was decoded twice")
	}
	r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "1", Tasks: []cluster.Task{{ID: "t2"}}})
	if got := r.reader.View().Plans["web"].Tasks; got[0].ID != "t2" {
		t.Errorf("after the change: %v", got)
	}
	if _, _, err := r.store.Delete(cluster.PlanKey("web")); err != nil {
		t.Fatal(err)
	}
	if _, there := r.reader.View().Plans["web"]; there || len(r.reader.decoded) != 0 {
		t.Errorf("a removed plan is seen or remembered: %v, %v", there, r.reader.decoded)
	}
	r.put(cluster.ServiceKey("web"), cluster.Service{Spec: cluster.Spec{Name: "other"}})
	r.put(cluster.ReportKey("b"), []int{1})
	for range 3 {
		if v := r.reader.View(); len(v.Services) != 0 || len(v.Reports) != 0 {
			t.Fatalf("unreadable records were read: %v, %v", v.Services, v.Reports)
		}
	}
	for _, key := range []string{"service/web", "report/b"} {
		if n := strings.Count(r.log.String(), "key="+key+" "); n != 1 {
			t.Errorf("%s was complained about %d times:\n%s", key, n, r.log.String())
		}
	}
}

func TestViewReadsSecretsAndConfigs(t *testing.T) {
	r := newRig(t)
	r.put(cluster.SecretKey("db"), cluster.Secret{Head: cluster.Head{ID: "s1", Name: "db"}, Sealed: []byte("sealed")})
	r.put(cluster.ConfigKey("db"), cluster.Config{Head: cluster.Head{ID: "c1", Name: "db"}, Data: []byte("data")})
	v := r.reader.View()
	if string(v.Secrets["db"].Sealed) != "sealed" || string(v.Configs["db"].Data) != "data" {
		t.Errorf("secrets %+v, configs %+v", v.Secrets, v.Configs)
	}
	for _, test := range []struct {
		kind, name, id string
		ok             bool
	}{{cluster.KindSecret, "db", "s1", true}, {cluster.KindConfig, "db", "c1", true}, {cluster.KindSecret, "none", "", false}, {cluster.KindConfig, "none", "", false}} {
		if id, ok := v.FileID(test.kind, test.name); id != test.id || ok != test.ok {
			t.Errorf("%s %s: %q, %t", test.kind, test.name, id, ok)
		}
	}
}

// TestRemovedIsGone: a node that was removed for good is nowhere, whatever the gossip and the node itself say.
func TestRemovedIsGone(t *testing.T) {
	r := newRig(t, cluster.Member{ID: "0", Condition: cluster.Ready}, cluster.Member{ID: "a", Condition: cluster.Ready})
	r.put(cluster.NodeKey("0"), cluster.Settings{Name: "pi0"})
	r.put(cluster.ReportKey("0"), cluster.Report{})
	if v := r.reader.View(); v.Leader != "0" {
		t.Fatalf("the leader is %q", v.Leader)
	}
	r.put(cluster.RemovedKey("0"), cluster.Removed{Name: "pi0"})
	v := r.reader.View()
	if _, ok := v.Member("0"); ok || v.Leader != "a" || len(v.Settings)+len(v.Reports) != 0 || !v.Removed["0"] {
		t.Errorf("%+v", v)
	}
	if _, ok := v.Versions[cluster.NodeKey("0")]; ok || len(r.members) != 2 {
		t.Error("its record counts, or the caller's list was changed")
	}
}
