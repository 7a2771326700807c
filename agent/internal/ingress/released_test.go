package ingress

import (
	"errors"
	"slices"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// drop takes the task of a node out of the plan of web.
func drop(v *view.View, node string) {
	p := v.Plans["web"]
	p.Tasks = slices.DeleteFunc(slices.Clone(p.Tasks), func(t cluster.Task) bool { return t.Node == node })
	v.Plans["web"] = p
}

// replace plans another task in the place of a node's, which nobody has seen yet.
func replace(v *view.View, node, id string) {
	p := v.Plans["web"]
	p.Tasks = slices.Clone(p.Tasks)
	for i := range p.Tasks {
		if p.Tasks[i].Node == node {
			p.Tasks[i].ID = id
		}
	}
	v.Plans["web"] = p
}

// minority makes the shelf one of seven nodes.
func minority(v *view.View) {
	v.Settings = map[string]cluster.Settings{}
	for _, id := range []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7"} {
		v.Settings[id] = cluster.Settings{}
	}
}

func TestPlanReleases(t *testing.T) {
	const all, none = "[10.77.1.2 10.77.2.2 10.77.3.2]", "[]"
	for name, test := range map[string]struct {
		change   func(v *view.View)
		backends string
		released []string
	}{
		"all is planned": {func(*view.View) {}, all, nil},
		"two are out of the plan": {func(v *view.View) { drop(v, "n3"); drop(v, "n1") },
			"[10.77.2.2]", []string{"web.1", "web.3"}},
		"one that is out of the plan is being stopped": {func(v *view.View) {
			drop(v, "n2")
			status(*v, "n2", func(s *cluster.TaskStatus) { s.State = cluster.Stopping })
		}, "[10.77.1.2 10.77.3.2]", nil},
		"one that is out of the plan is on a dead node": {func(v *view.View) {
			drop(v, "n2")
			v.Members[1].Condition = cluster.Down
		}, "[10.77.1.2 10.77.3.2]", nil},
		"a node is back and not heard yet": {func(v *view.View) { v.Members[1].Unheard = true }, "[10.77.1.2 10.77.3.2]", nil},
		"a move: both serve": {func(v *view.View) {
			p := v.Plans["web"]
			p.Tasks = append(slices.Clone(p.Tasks), cluster.Task{ID: "web.1.b", Slot: 1, Node: "n2", Replaces: "web.1"})
			v.Plans["web"] = p
			r := v.Reports["n2"]
			r.Tasks = append(slices.Clone(r.Tasks), cluster.TaskStatus{ID: "web.1.b", ServiceID: "a", State: cluster.Running, Address: "10.77.2.3"})
			v.Reports["n2"] = r
		}, "[10.77.1.2 10.77.2.3 10.77.2.2 10.77.3.2]", nil},
		"nothing planned is ready: what runs serves on": {func(v *view.View) {
			replace(v, "n1", "web.1.b")
			replace(v, "n2", "web.2.b")
			replace(v, "n3", "web.3.b")
		}, all, nil},
		"nothing planned is ready, and one waits for the end of what runs": {func(v *view.View) {
			replace(v, "n1", "web.1.b")
			replace(v, "n2", "web.2.b")
			replace(v, "n3", "web.3.b")
			v.Plans["web"].Tasks[1].Follows = "web.2"
		}, "[10.77.1.2 10.77.3.2]", []string{"web.2"}},
		"one that is planned is ready: the others are released": {func(v *view.View) {
			replace(v, "n1", "web.1.b")
			replace(v, "n2", "web.2.b")
		}, "[10.77.3.2]", []string{"web.1", "web.2"}},
		"nothing planned is ready, and what runs is of an earlier service": {func(v *view.View) {
			for _, n := range []string{"n1", "n2", "n3"} {
				replace(v, n, "web.b")
				status(*v, n, func(s *cluster.TaskStatus) { s.ServiceID = "z" })
			}
		}, none, []string{"web.1", "web.2", "web.3"}},
		"nothing planned is ready, and what runs is on a dead node": {func(v *view.View) {
			v.Plans["web"] = cluster.Plan{ServiceID: "a", Tasks: []cluster.Task{{ID: "web.b", Slot: 1}}}
			v.Members[0].Condition, v.Members[2].Condition = cluster.Down, cluster.Down
		}, "[10.77.2.2]", nil},
		"scaled to none": {func(v *view.View) { v.Plans["web"] = cluster.Plan{ServiceID: "a"} },
			none, []string{"web.1", "web.2", "web.3"}},
		"not planned yet": {func(v *view.View) { delete(v.Plans, "web") },
			none, []string{"web.1", "web.2", "web.3"}},
		"a smaller side, where the service runs on": {minority, all, nil},
		"a smaller side, where the service stops": {func(v *view.View) {
			minority(v)
			v.Services[0].Spec.OnPartition = cluster.StopOnPartition
		}, none, []string{"web.1", "web.2", "web.3"}},
		"no smaller side": {func(v *view.View) { v.Services[0].Spec.OnPartition = cluster.StopOnPartition }, all, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := shelf()
			test.change(&v)
			w := plan(v, here(t))
			ports := "[80:8080/tcp] "
			if test.backends == none {
				ports = "[80/tcp] "
			}
			if want := "web 10.77.240.9 " + ports + test.backends + "\n" + peersText; text(w) != want {
				t.Errorf("%swant:\n%s", text(w), want)
			}
			if !slices.Equal(w.released, test.released) {
				t.Errorf("released %v, want %v", w.released, test.released)
			}
		})
	}
}

// woken tells whether Released was announced to have changed.
func woken(i *Ingress) bool {
	select {
	case <-i.ReleasedChanged():
		return true
	default:
		return false
	}
}

func TestReleasedFollowsTheRules(t *testing.T) {
	v := shelf()
	i, n := build(t, &v)
	expect := func(what string, wake bool, want ...string) {
		t.Helper()
		_, err := pass(i, n)
		if (err != nil) != (len(n.fail) > 0) {
			t.Errorf("%s: error %v", what, err)
		}
		if got := i.Released(); !slices.Equal(got, want) {
			t.Errorf("%s: released %v, want %v", what, got, want)
		}
		if got := woken(i); got != wake {
			t.Errorf("%s: announced %t", what, got)
		}
	}
	expect("all is planned", false)
	drop(&v, "n2")
	n.fail = map[string]error{"firewall": errors.New("broken")}
	expect("the rules could not be applied", false)
	n.fail = nil
	expect("now they could", true, "web.2")
	expect("nothing changed", false, "web.2")
	drop(&v, "n3")
	v.Plans["web"] = cluster.Plan{ServiceID: "a", Tasks: append(v.Plans["web"].Tasks, cluster.Task{ID: "web.2", Slot: 2, Node: "n2"})}
	n.fail = map[string]error{"firewall": errors.New("broken")}
	expect("one is planned again, and nobody knows which rules hold", true)
	n.fail = nil
	expect("the rules hold", true, "web.3")
}
