package worker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestStartsAndStopsAsPlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self, "n2", self)
		r.start()
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.3 web.3 v1 running\n")
		for _, line := range strings.Split(strings.TrimSpace(r.told()), "\n") {
			if !strings.Contains(line, "running 10.77.3.") {
				t.Errorf("reported: %s", line)
			}
		}

		r.plan("web", self) // scaled down
		after(releaseLimit + lastWord)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		if tasks := r.report().Tasks; len(tasks) != 1 || tasks[0].ID != "web.1" {
			t.Errorf("reported: %v", tasks)
		}
		if _, err := r.wires.Attachments(); err != nil || len(r.wires.attached) != 1 {
			t.Errorf("attached:\n%s", r.wires)
		}

		if _, _, err := r.store.Delete(cluster.ServiceKey("web")); err != nil {
			t.Fatal(err)
		}
		after(releaseLimit + lastWord)
		same(t, "containers", r.runtime.String(), "")
		same(t, "reported", r.told(), "")
		same(t, "attached", r.wires.String(), "")
	})
}

func TestWaitsForGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.run()
		after(time.Minute)
		if calls := r.runtime.Calls(); len(calls) > 0 {
			t.Errorf("before it may: %v", calls)
		}
		same(t, "reported", r.told(), "web.1 pending\n")
		close(r.going)
		synctest.Wait()
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestLeavesAloneWhatHasNoPlanYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()()
		if _, _, err := r.store.Delete(cluster.PlanKey("web")); err != nil {
			t.Fatal(err)
		}
		calls := len(r.runtime.Calls())
		r.run()
		after(time.Minute)
		if now := r.runtime.Calls(); len(now) != calls {
			t.Errorf("without a plan: %v", now[calls:])
		}
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")

		// A plan for an earlier service of the name says as little.
		r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "another"})
		synctest.Wait()
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		r.plan("web", "n2")
		after(holdLimit + releaseLimit + lastWord)
		same(t, "containers", r.runtime.String(), "")
	})
}

func TestAdoptsWithoutRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self, self)
		stop := r.start()
		calls, report := r.runtime.Calls(), r.told()
		since := r.report().Tasks[0].Since
		stop()
		after(time.Hour)
		r.run()
		if now := r.runtime.Calls(); !slices.Equal(now, calls) {
			t.Errorf("the second life made %v", now[len(calls):])
		}
		same(t, "reported", r.told(), report)
		if now := r.report().Tasks[0].Since; !now.Equal(since) {
			t.Errorf("runs since %s, was %s before", now, since)
		}
		// An address in use is not given to another.
		r.plan("web", self, self, self)
		if len(r.wires.attached) != 3 || !strings.Contains(r.told(), "web.3 running 10.77.3.4") {
			t.Errorf("reported:\n%s", r.told())
		}
	})
}

func TestMakesAnewWhatEndedWhileNobodyLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()()
		r.runtime.Exit("web.1", 3)
		r.run()
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestNeverReportsAnEmptyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()()
		r.runtime.Exit("web.1", 0)
		r.going = make(chan struct{}) // the next life may not start anything yet
		r.run()
		same(t, "reported", r.told(), "web.1 pending 10.77.3.2\n")
	})
}

func TestRestartsACrashedOneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()
		after(time.Minute)
		begun := time.Now()
		r.runtime.Exit("web.1", 1)
		synctest.Wait()
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %s", took)
		}
		if task := r.report().Tasks[0]; task.State != cluster.Running || task.Restarts != 1 || task.Address != "10.77.3.2" || task.Error != "" {
			t.Errorf("reported: %+v", task)
		}
	})
}

func TestRestartsWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.runtime.CrashAfterStart("web", 0, 137)
		r.plan("web", self)
		r.start()
		after(10 * time.Second)
		var pauses []time.Duration
		for i := range r.runtime.starts[1:] {
			pauses = append(pauses, r.runtime.starts[i+1].Sub(r.runtime.starts[i]))
		}
		want := []time.Duration{0, 100e6, 200e6, 400e6, 800e6, 1600e6, 3200e6}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		task := r.report().Tasks[0]
		if task.State != cluster.Failed || task.Error != "ended by SIGKILL (exit code 137)" || task.ExitCode != 137 || task.Restarts != 8 {
			t.Errorf("reported: %+v", task)
		}

		// One that then runs for a while starts afresh.
		r.runtime.StopCrashing("web")
		after(time.Minute)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		begun := time.Now()
		r.runtime.Exit("web.1", 0)
		synctest.Wait()
		if took := time.Since(begun); took > 0 || r.report().Tasks[0].Restarts != 1 {
			t.Errorf("it took %s; reported: %+v", took, r.report().Tasks[0])
		}
	})
}

func TestSaysHowATaskEnded(t *testing.T) {
	for name, test := range map[string]struct {
		end   func(r *rig)
		state cluster.State
		text  string
	}{
		"by itself":     {func(r *rig) { r.runtime.Exit("web.1", 0) }, cluster.Complete, ""},
		"with an error": {func(r *rig) { r.runtime.Exit("web.1", 3) }, cluster.Failed, "ended with exit code 3"},
		"by a signal":   {func(r *rig) { r.runtime.Exit("web.1", 143) }, cluster.Failed, "ended by SIGTERM (exit code 143)"},
		"no memory":     {func(r *rig) { r.runtime.OOMKill("web.1") }, cluster.Failed, "out of memory: the kernel killed it; raise --limit-memory"},
		"no memory, while containerd restarted": {func(r *rig) {
			r.runtime.set(func() { r.runtime.listed = nil })
			r.worker.mu.Lock() // what happened is not heard of, only seen by the next look
			defer r.worker.mu.Unlock()
			r.runtime.OOMKill("web.1")
			r.runtime.Resync()
		}, cluster.Failed, "out of memory: the kernel killed it; raise --limit-memory"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.service("web")
				r.plan("web", self)
				r.start()
				// The second failure in a row is followed by a pause, in which the state can be seen.
				r.runtime.Exit("web.1", 1)
				synctest.Wait()
				test.end(r)
				synctest.Wait()
				if task := r.report().Tasks[0]; task.State != test.state || task.Error != test.text {
					t.Errorf("reported: %s %q, want %s %q", task.State, task.Error, test.state, test.text)
				}
			})
		})
	}
}

func TestReportsWhatFails(t *testing.T) {
	for name, test := range map[string]struct {
		fail  func(r *rig, err error)
		err   error
		state cluster.State
		text  string
	}{
		"create": {func(r *rig, err error) { r.runtime.FailCreate("web", err) }, errBroken, cluster.Failed, "broken"},
		"start":  {func(r *rig, err error) { r.runtime.FailStart("web", err) }, errBroken, cluster.Failed, "broken"},
		"refuse": {func(r *rig, err error) { r.runtime.FailCreate("web", err) },
			fmt.Errorf("mount source /srv/x is\nmissing: %w", containers.ErrRejected), cluster.Rejected, "mount source /srv/x is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.service("web")
				test.fail(r, test.err)
				r.plan("web", self)
				r.start()
				task := r.report().Tasks[0]
				if task.State != test.state || !strings.Contains(task.Error, test.text) || strings.Contains(task.Error, "\n") {
					t.Errorf("reported: %s %q", task.State, task.Error)
				}
				same(t, "containers", r.runtime.String(), "")

				// It is tried again, but not hastily.
				calls := len(r.runtime.Calls())
				after(1900 * time.Millisecond)
				if now := r.runtime.Calls(); len(now) != calls {
					t.Errorf("tried again at once: %v", now)
				}
				test.fail(r, nil)
				after(200 * time.Millisecond)
				same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
			})
		})
	}
}

func TestOneDownloadForTheShelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		const other = "sha256:2"
		r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: other},
		}})
		r.runtime.OfferImage(other)
		theirs := cluster.Report{Node: cluster.Description{Platform: zero}}
		r.put(cluster.ReportKey("n2"), theirs)
		r.plan("web", "n2", self)
		r.start()
		after(time.Minute)
		same(t, "reported", r.told(), "web.2 preparing\n")
		if len(r.runtime.pulls) > 0 {
			t.Fatalf("did not wait for the node whose turn it is: %v", r.runtime.pulls)
		}

		theirs.Images = []cluster.Image{{Digest: other}}
		r.put(cluster.ReportKey("n2"), theirs)
		synctest.Wait()
		if len(r.runtime.pulls) != 1 || len(r.runtime.pulls[0].Sources) != 1 || r.runtime.pulls[0].Sources[0].Name != "n2" {
			t.Fatalf("pulled %+v", r.runtime.pulls)
		}
		same(t, "containers", r.runtime.String(), "web.2 web.2 v1 running\n")
		if got := r.report().Images; !slices.ContainsFunc(got, func(i cluster.Image) bool { return i.Digest == other }) {
			t.Errorf("the report does not name the image that was pulled: %v", got)
		}
	})
}

func TestAsksTheRegistryInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: "sha256:2"},
		}})
		r.plan("web", self)
		r.start()
		if len(r.runtime.pulls) != 1 || !r.runtime.pulls[0].Registry || len(r.runtime.pulls[0].Sources) != 0 {
			t.Fatalf("pulled %+v", r.runtime.pulls)
		}
		if told := r.told(); !strings.Contains(told, "web.1 failed") {
			t.Errorf("reported: %s", told)
		}
		r.runtime.OfferImage("sha256:2")
		after(3 * time.Second)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestLooksAgainForAnImageThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.start()
		r.runtime.FailCreate("web", containers.ErrImageUnknown)
		looks := r.runtime.looks
		r.plan("web", self)
		if r.runtime.looks == looks {
			t.Error("the images were not listed anew")
		}
	})
}

func TestContainerdAwayFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()()
		told, written := r.told(), r.writes()
		r.runtime.set(func() { r.runtime.away = true })
		r.run()
		after(patience - time.Second)
		if r.writes() != written {
			t.Error("reported before it was patient")
		}
		select {
		case <-r.worker.Reported():
			t.Error("says that it has reported")
		default:
		}
		after(30 * time.Second)
		same(t, "reported", r.told(), "web.1 pending\n")
		r.runtime.set(func() { r.runtime.away = false })
		r.runtime.Resync()
		synctest.Wait()
		same(t, "reported", r.told(), told)
		if calls := r.runtime.Calls(); len(calls) != 2 {
			t.Errorf("calls: %v", calls)
		}
	})
}

func TestContainerdGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()
		told := r.told()
		r.runtime.set(func() { r.runtime.away = true })
		r.runtime.Resync()
		after(time.Minute)
		same(t, "reported", r.told(), told)
		r.plan("web", "n2") // cannot be stopped now
		r.runtime.set(func() { r.runtime.away = false })
		r.runtime.Resync()
		after(releaseLimit + lastWord)
		same(t, "containers", r.runtime.String(), "")
		same(t, "reported", r.told(), "")
	})
}

func TestStepThatFailsForWantOfContainerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()
		r.runtime.set(func() { r.runtime.away = true })
		r.plan("web")
		after(time.Minute)
		same(t, "reported", r.told(), "web.1 stopping 10.77.3.2\n")
		r.runtime.set(func() { r.runtime.away = false })
		after(15 * time.Second)
		same(t, "containers", r.runtime.String(), "")
	})
}

func TestUnchangedInputCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self, self)
		r.start()
		after(time.Second)
		calls, looks, written := len(r.runtime.Calls()), r.runtime.looks, r.writes()
		for range 60 {
			r.members.Set()
			after(time.Minute)
		}
		if n := len(r.runtime.Calls()); n != calls || r.runtime.looks != looks {
			t.Errorf("in an hour without news: %d calls and %d looks", n-calls, r.runtime.looks-looks)
		}
		if n := r.writes(); n != written {
			t.Errorf("in an hour without news: %d reports", n-written)
		}
	})
}

func TestMovesWithItsSubnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()
		same(t, "attached", r.wires.String(), "web.1 10.77.3.2\n")
		r.move("10.77.9.0/24")
		same(t, "reported", r.told(), "web.1 running 10.77.9.2\n")
		same(t, "attached", r.wires.String(), "web.1 10.77.9.2\n")
		want := []string{"create web.1", "start web.1", "stop web.1", "remove web.1", "create web.1", "start web.1"}
		if calls := r.runtime.Calls(); !slices.Equal(calls, want) {
			t.Errorf("calls: %v", calls)
		}
		if task := r.report().Tasks[0]; task.Restarts != 0 {
			t.Errorf("counts as a failure: %+v", task)
		}
	})
}

func TestAddressesRunOutAndComeBack(t *testing.T) {
	r := newRig(t)
	r.worker = New(Config{Subnet: func() netip.Prefix { return r.subnet }})
	given := map[string]bool{}
	for i := range 253 {
		task := &task{}
		a, err := r.worker.address(task)
		if err != nil || given[a.String()] || a.String() == "10.77.3.1" || a.String() == "10.77.3.255" || a.String() == "10.77.3.0" {
			t.Fatalf("address %d: %s %v", i, a, err)
		}
		given[a.String()] = true
		r.worker.tasks[a.String()] = task
	}
	if a, err := r.worker.address(&task{}); err == nil {
		t.Fatalf("one address too many: %s", a)
	}
	delete(r.worker.tasks, "10.77.3.7")
	if a, err := r.worker.address(&task{}); err != nil || a.String() != "10.77.3.7" {
		t.Errorf("the one that was given back: %s %v", a, err)
	}
}

func TestEndDuringTheFirstListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web") // without a plan, so that nothing else is done about it
		r.start()
		spec := containers.Spec{
			ID: "web.1", Task: containers.Task{Service: "web", ServiceID: "web-id", Slot: 1, SpecVersion: 1},
			Container: cluster.Container{Digest: digest},
		}
		if err := errors.Join(r.runtime.Create(t.Context(), spec), r.runtime.Start(t.Context(), "web.1")); err != nil {
			t.Fatal(err)
		}
		r.runtime.set(func() {
			r.runtime.listed = func() {
				r.runtime.Exit("web.1", 1)
				time.Sleep(time.Second)
			}
		})
		r.runtime.Resync()
		after(5 * time.Second)
		same(t, "reported", r.told(), "web.1 failed  ended with exit code 1\n")
	})
}

func TestRemovedBySomeoneElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.plan("web", self)
		r.start()
		if err := r.runtime.Remove(t.Context(), "web.1"); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestListingFromBeforeAStepEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.start()
		r.runtime.delay = time.Second
		r.runtime.listed = func() { time.Sleep(2 * time.Second) }
		r.plan("web", self) // is made, and about to be started
		r.runtime.Resync()
		after(5 * time.Second)
		if calls, want := r.runtime.Calls(), []string{"create web.1", "start web.1"}; !slices.Equal(calls, want) {
			t.Errorf("calls: %v, want %v", calls, want)
		}
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestEndsInTheMiddleOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.runtime.SlowPull(time.Hour)
		r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: "sha256:2"},
		}})
		r.plan("web", self)
		stop := r.start()
		same(t, "reported", r.told(), "web.1 preparing\n")
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the end took %s", took)
		}
	})
}
