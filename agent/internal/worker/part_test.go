package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestPart(t *testing.T) {
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		parting parting
		barred  bool
		want    step
		wait    time.Duration
	}{
		"just dropped":                        {parting{}, false, retire, 0},
		"may yet be adopted":                  {parting{held: now.Add(2 * time.Second)}, false, rest, 2 * time.Second},
		"was not adopted":                     {parting{held: now}, false, retire, 0},
		"must not run, whoever adopts it":     {parting{held: now.Add(time.Second)}, true, retire, 0},
		"waits for the nodes":                 {parting{retired: ago(time.Second)}, false, rest, 2 * time.Second},
		"released":                            {parting{retired: ago(0), released: true}, false, finish, 0},
		"waited for long enough":              {parting{retired: ago(releaseLimit)}, false, finish, 0},
		"must not run, waits less":            {parting{retired: ago(hurriedRelease)}, true, finish, 0},
		"connections are not known":           {parting{finishing: now}, false, count, 0},
		"no connection is left":               {parting{finishing: ago(time.Second), counted: ago(time.Second)}, false, stop, 0},
		"none is left, and nodes are told":    {parting{finishing: ago(200 * ms), counted: ago(200 * ms)}, false, rest, 300 * ms},
		"some are, counted just now":          {parting{finishing: ago(time.Second), counted: ago(50 * ms), open: 1}, false, rest, 200 * ms},
		"some were":                           {parting{finishing: ago(time.Second), counted: ago(250 * ms), open: 1}, false, count, 0},
		"some are, and patience ends first":   {parting{finishing: ago(1950 * ms), counted: ago(0), open: 1}, false, rest, 50 * ms},
		"some are, and patience is over":      {parting{finishing: ago(2 * time.Second), counted: ago(0), open: 1}, false, stop, 0},
		"must not run, waits for none":        {parting{finishing: now}, true, stop, 0},
		"unreleased again after its last one": {parting{finishing: ago(time.Second), counted: now, retired: ago(time.Minute)}, false, stop, 0},
	} {
		f := facts{known: true, container: containers.Running, barred: test.barred, parting: test.parting, patience: 2 * time.Second}
		f.parting.retired = cmpTime(f.parting.retired, f.parting.finishing)
		if got, wait := next(f, now); got != test.want || wait != test.wait {
			t.Errorf("%s: %s, look again in %s; want %s and %s", name, got, wait, test.want, test.wait)
		}
	}
}

// cmpTime returns the first time that is given: a task that finishes was retired before.
func cmpTime(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// running returns a rig in which the tasks web.1 and web.2 run.
func running(t *testing.T) *rig {
	r := newRig(t)
	r.service("web")
	r.planBy(self, "web", "web.1")
	r.start()
	r.planBy(self, "web", "web.1", "web.2")
	same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
	return r
}

func TestServesUntilEveryNodeHasReleasedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.planBy(self, "web", "web.1")
		after(2 * time.Second)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 running 10.77.3.3\n")
		if got := r.report().Released; len(got) != 1 || got[0] != "web.2" {
			t.Errorf("says that it has released %v", got)
		}
		r.release("web.2")
		after(lastWord - time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		after(time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestWaitsForNoNodeForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.planBy(self, "web", "web.1")
		after(releaseLimit + lastWord - time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		after(time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestANodeThatIsDownIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.change(func() { r.nodes[1].Condition = cluster.Down })
		r.planBy(self, "web", "web.1")
		after(lastWord)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestConnectionsComeToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.wires.connect(3)
		r.release("web.2")
		r.planBy(self, "web", "web.1")
		after(2 * time.Second)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 stopping 10.77.3.3\n")
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		if r.wires.counts > 9 {
			t.Errorf("counted %d times in 2 seconds", r.wires.counts)
		}
		r.wires.connect(0)
		after(countEvery)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestConnectionsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.wires.connect(3)
		r.release("web.2")
		r.planBy(self, "web", "web.1")
		after(maxPatience - time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		after(time.Millisecond)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestWantedAgainBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.wires.connect(1)
		r.release("web.2")
		r.planBy(self, "web", "web.1")
		after(time.Second)
		calls := len(r.runtime.Calls())
		r.planBy(self, "web", "web.1", "web.2")
		after(time.Minute)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 running 10.77.3.3\n")
		if now := r.runtime.Calls(); len(now) != calls {
			t.Errorf("calls: %v", now[calls:])
		}
	})
}

func TestItsSuccessorIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.planBy(self, "web", "web.1", "web.3")
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 running 10.77.3.3\nweb.3 running 10.77.3.4\n")
		after(releaseLimit + lastWord)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.3 running 10.77.3.4\n")
	})
}

func TestHoldsWhatAnotherLeaderMayAdopt(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *rig)
		held   bool
	}{
		"another leader": {func(r *rig) { r.planBy("n2", "web", "web.1") }, true},
		"a partition has just ended": {func(r *rig) {
			r.change(func() { r.nodes[1].Condition = cluster.Down })
			r.change(func() { r.nodes[1].Condition = cluster.Ready })
			r.planBy(self, "web", "web.1")
		}, true},
		"a partition ended long ago": {func(r *rig) {
			r.change(func() { r.nodes[1].Condition = cluster.Down })
			r.change(func() { r.nodes[1].Condition = cluster.Ready })
			after(holdLimit)
			r.planBy(self, "web", "web.1")
		}, false},
		"the same leader":            {func(r *rig) { r.planBy(self, "web", "web.1") }, false},
		"a service that was removed": {func(r *rig) { r.store.Delete(cluster.ServiceKey("web")) }, false},
		"an outdated version": {func(r *rig) {
			record, _ := r.store.Get(cluster.ServiceKey("web"))
			record.Value = []byte(`{"id":"web-id","specVersion":2,"spec":{"name":"web"}}`)
			r.store.Put(record.Key, record.Value)
			r.planBy("n2", "web")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := running(t)
				r.release("web.1", "web.2")
				test.change(r)
				after(lastWord)
				if runs := len(r.report().Tasks) == 2; runs != test.held {
					t.Errorf("held %t, want %t:\n%s", runs, test.held, r.told())
				}
				after(holdLimit)
				if n := len(r.report().Tasks); test.held && n != 1 {
					t.Errorf("after its time: %s", r.told())
				}
			})
		})
	}
}

func TestHoldsNothingForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.release("web.1", "web.2")
		flap := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				r.change(func() { r.nodes[1].Condition = cluster.Down })
				after(time.Second)
				r.change(func() { r.nodes[1].Condition = cluster.Ready })
				after(time.Second)
			}
		}
		flap(holdLimit)
		r.planBy(self, "web", "web.1")
		flap(maxHold - 2*time.Second)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 running 10.77.3.3\n")
		flap(2*time.Second + holdLimit + releaseLimit + lastWord)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestHoldsWhatARestartedAgentFinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.planBy(self, "web", "web.1")
		close(r.going)
		stop := r.run()
		r.planBy(self, "web", "web.1", "web.2")
		stop()
		r.planBy(self, "web", "web.1")
		r.release("web.2")
		r.run()
		after(holdLimit - time.Millisecond)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\nweb.2 running 10.77.3.3\n")
		after(time.Millisecond + lastWord)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestMinorityStopsWhatShallNotRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, id := range []string{self, "n2", "n3"} {
			r.put(cluster.NodeKey(id), cluster.Settings{Name: id})
		}
		r.nodes = append(r.nodes, cluster.Member{ID: "n3", Condition: cluster.Ready})
		r.service("web")
		r.put(cluster.ServiceKey("once"), cluster.Service{ID: "once-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "once", Mode: cluster.Replicated, OnPartition: cluster.StopOnPartition,
			Container: cluster.Container{Image: "docker.io/library/once:1", Digest: digest},
		}})
		r.plan("web", self)
		r.plan("once", self)
		r.start()
		r.change(func() { r.nodes[1].Condition = cluster.Down })
		same(t, "containers with two of three", r.runtime.String(), "once.1 once.1 v1 running\nweb.1 web.1 v1 running\n")
		r.change(func() { r.nodes[2].Condition = cluster.Down })
		after(hurriedRelease)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		if told := r.report().Tasks[0]; told.State != cluster.Pending || told.Error != barredText {
			t.Errorf("reported: %+v", told)
		}
		after(time.Minute)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		r.change(func() { r.nodes[1].Condition = cluster.Ready })
		same(t, "containers", r.runtime.String(), "once.1 once.1 v1 running\nweb.1 web.1 v1 running\n")
		if told := r.report().Tasks[0]; told.State != cluster.Running || told.Error != "" {
			t.Errorf("reported: %+v", told)
		}
	})
}

func TestLeavingNodeStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.change(func() { r.leaving = true })
		if !r.report().Leaving {
			t.Error("the report does not say that the node leaves")
		}
		r.planBy(self, "web", "web.1", "web.2", "web.3")
		after(time.Minute)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		r.planBy(self, "web", "web.1")
		after(releaseLimit + lastWord)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}
