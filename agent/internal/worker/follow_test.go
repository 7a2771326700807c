package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// following returns a rig with a node n2 that runs web.1, which a task of this node follows, made of an image that is
// not here yet.
func following(t *testing.T) *rig {
	r := newRig(t)
	r.serviceOf("web", "sha256:2")
	r.runtime.OfferImage("sha256:2")
	r.has("n2", "web.1")
	r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "web-id", Tasks: []cluster.Task{
		{ID: "web.2", Slot: 1, Node: self, SpecVersion: 1, Follows: "web.1"},
	}})
	r.start()
	return r
}

// has makes a node report these tasks.
func (r *rig) has(node string, ids ...string) {
	r.t.Helper()
	report := cluster.Report{Node: cluster.Description{Platform: zero}}
	for _, id := range ids {
		report.Tasks = append(report.Tasks, cluster.TaskStatus{ID: id, Service: "web", ServiceID: "web-id", Slot: 1, State: cluster.Stopping})
	}
	r.put(cluster.ReportKey(node), report)
	synctest.Wait()
}

func TestFetchesTheImageWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := following(t)
		after(followLimit - time.Second)
		if len(r.runtime.pulls) != 1 {
			t.Errorf("pulled %d times", len(r.runtime.pulls))
		}
		same(t, "reported", r.told(), "web.2 preparing\n")
		r.has("n2")
		same(t, "reported", r.told(), "web.2 running 10.77.3.2\n")
	})
}

func TestFollowsNobodyForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := following(t)
		after(followLimit - time.Millisecond)
		same(t, "reported", r.told(), "web.2 preparing\n")
		after(time.Millisecond)
		same(t, "reported", r.told(), "web.2 running 10.77.3.2\n")
	})
}

func TestFollowsATaskOfItsOwnNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.has("n2")
		r.start()
		r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "web-id", Tasks: []cluster.Task{
			{ID: "web.2", Slot: 1, Node: self, SpecVersion: 1, Follows: "web.1"},
		}})
		synctest.Wait()
		same(t, "while the other serves", r.told(), "web.1 running 10.77.3.2\nweb.2 preparing\n")
		after(releaseLimit + lastWord)
		same(t, "when it has ended", r.told(), "web.2 running 10.77.3.3\n")
	})
}

func TestFollowsWhatANodeMayHave(t *testing.T) {
	for name, test := range map[string]struct {
		condition cluster.Condition
		unheard   bool
		reported  bool
		waits     bool
	}{
		"ready, and has not said what it has": {cluster.Ready, false, false, true},
		"ready, and does not have it":         {cluster.Ready, false, true, false},
		"back, and has said so before":        {cluster.Ready, true, true, true},
		"down":                                {cluster.Down, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := following(t)
				r.change(func() {
					r.nodes = append(r.nodes, cluster.Member{ID: "n3", Name: "pi3", Condition: test.condition, Unheard: test.unheard})
				})
				if test.reported {
					r.has("n3")
				}
				r.has("n2")
				if waits := r.report().Tasks[0].State != cluster.Running; waits != test.waits {
					t.Errorf("waits %t, want %t", waits, test.waits)
				}
			})
		})
	}
}
