package worker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestPause(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 0, 1: 0, 2: 100 * time.Millisecond, 3: 200 * time.Millisecond, 6: 1600 * time.Millisecond,
		11: 51200 * time.Millisecond, 12: time.Minute, 13: time.Minute, 1 << 40: time.Minute,
	} {
		if got := pause(failures); got != want {
			t.Errorf("pause after %d failures is %s, want %s", failures, got, want)
		}
	}
}

func TestAgain(t *testing.T) {
	const ms = time.Millisecond
	job := cluster.Spec{Mode: cluster.ReplicatedJob}
	policy := func(c cluster.RestartCondition, attempts int, window time.Duration) cluster.Spec {
		return cluster.Spec{Restart: cluster.RestartPolicy{Condition: c, MaxAttempts: attempts, Window: window}}
	}
	for name, test := range map[string]struct {
		spec   cluster.Spec
		failed bool
		ends   []time.Duration // when it ended
		want   string          // for each end, r: run again, -: given up
	}{
		"by default":                    {cluster.Spec{}, false, []time.Duration{0, 1, 2}, "rrr"},
		"by default, failed":            {cluster.Spec{}, true, []time.Duration{0, 1, 2}, "rrr"},
		"never":                         {policy(cluster.RestartNone, 0, 0), true, []time.Duration{0}, "-"},
		"on failure":                    {policy(cluster.RestartOnFailure, 0, 0), true, []time.Duration{0}, "r"},
		"on failure, and it succeeded":  {policy(cluster.RestartOnFailure, 0, 0), false, []time.Duration{0}, "-"},
		"a job that succeeded":          {job, false, []time.Duration{0}, "-"},
		"a job that failed":             {job, true, []time.Duration{0}, "r"},
		"twice":                         {policy("", 2, 0), true, []time.Duration{0, time.Hour, 9 * time.Hour}, "rr-"},
		"twice a second":                {policy("", 2, time.Second), true, []time.Duration{0, 999 * ms, time.Second, 1500 * ms}, "rrr-"},
		"twice a second, which it does": {policy("", 2, time.Second), true, []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, "rrrr"},
	} {
		var attempts []time.Time
		got := ""
		for _, at := range test.ends {
			var run bool
			if run, attempts = again(test.spec, test.failed, attempts, time.Unix(1000, 0).Add(at)); run {
				got += "r"
			} else {
				got += "-"
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// restarting returns a rig in which web.1 runs, with a policy.
func restarting(t *testing.T, mode cluster.Mode, policy cluster.RestartPolicy) *rig {
	r := newRig(t)
	r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: "web", Mode: mode, Restart: policy, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest},
	}})
	r.plan("web", self)
	r.start()
	return r
}

func TestRestartsAfterTheDelayOfItsPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := restarting(t, cluster.Replicated, cluster.RestartPolicy{Delay: 5 * time.Second})
		r.runtime.CrashAfterStart("web", 0, 1)
		r.runtime.Exit("web.1", 1)
		after(20 * time.Second)
		var pauses []time.Duration
		for i := range r.runtime.starts[2:] {
			pauses = append(pauses, r.runtime.starts[i+2].Sub(r.runtime.starts[i+1]))
		}
		if want := []time.Duration{5e9, 5e9, 5e9}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

func TestGivesUpAsItsPolicySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := restarting(t, cluster.Replicated, cluster.RestartPolicy{MaxAttempts: 2})
		for range 3 {
			if task := r.report().Tasks[0]; task.Final || task.State != cluster.Running {
				t.Fatalf("reported: %+v", task)
			}
			after(time.Minute)
			r.runtime.Exit("web.1", 3)
			synctest.Wait()
		}
		task := r.report().Tasks[0]
		if !task.Final || task.State != cluster.Failed || task.Error != "ended with exit code 3" || task.ExitCode != 3 {
			t.Errorf("reported: %+v", task)
		}
		after(time.Hour)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 stopped 3\n")
	})
}

// ended writes the plan as a leader does that has read that web.1 is not run again.
func (r *rig) ended(how cluster.State) {
	r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "web-id", Tasks: []cluster.Task{
		{ID: "web.1", Slot: 1, Node: self, SpecVersion: 1, Ended: how},
	}})
	synctest.Wait()
}

func TestJobRunsUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := restarting(t, cluster.ReplicatedJob, cluster.RestartPolicy{Condition: cluster.RestartOnFailure})
		r.runtime.Exit("web.1", 1)
		synctest.Wait()
		same(t, "after its failure", r.told(), "web.1 running 10.77.3.2\n")
		r.runtime.Exit("web.1", 0)
		synctest.Wait()
		if task := r.report().Tasks[0]; !task.Final || task.State != cluster.Complete || task.Restarts != 1 {
			t.Errorf("after its success: %+v", task)
		}
		r.ended(cluster.Complete)
		same(t, "containers", r.runtime.String(), "")
		same(t, "attached", r.wires.String(), "")
		same(t, "reported", r.told(), "")
	})
}

// An agent that is restarted before the leader has written down that a job is done does not do it again.
func TestRestartedAgentLearnsThatAJobIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, code := range map[string]int{"complete": 0, "failed": 7} {
			r := newRig(t)
			r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
				Name: "web", Mode: cluster.ReplicatedJob, Restart: cluster.RestartPolicy{Condition: cluster.RestartNone},
				Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest},
			}})
			r.plan("web", self)
			stop := r.start()
			r.runtime.Exit("web.1", code)
			synctest.Wait()
			stop()
			stop = r.run()
			if task := r.report().Tasks[0]; !task.Final || string(task.State) != name || task.ExitCode != code {
				t.Errorf("reported: %+v", task)
			}
			if starts := len(r.runtime.starts); starts != 1 {
				t.Errorf("started %d times", starts)
			}
			stop()
		}
	})
}

func TestStartsNothingThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.ended(cluster.Failed)
		r.start()
		after(time.Minute)
		same(t, "containers", r.runtime.String(), "")
		same(t, "reported", r.told(), "")
	})
}

// In the middle of an update, an old task that crashes is made again as what it was.
func TestRestartsAnOldTaskAsWhatItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.runtime.AddImage("sha256:2")
		r.service("web")
		r.plan("web", self)
		r.start()
		old := cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest},
		}}
		spec := old.Spec
		spec.Container.Digest = "sha256:2"
		updated := old.Changed(spec, time.Now())
		r.put(cluster.ServiceKey("web"), updated)
		r.runtime.Exit("web.1", 1)
		after(time.Second)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		if made := r.made("web.1"); made.Digest != digest {
			t.Errorf("made of %s", made.Digest)
		}

		// Of a version that nobody remembers, what runs runs on, and nothing is made again.
		updated.Past = nil
		r.put(cluster.ServiceKey("web"), updated)
		after(time.Second)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		r.runtime.Exit("web.1", 1)
		after(time.Hour)
		same(t, "containers", r.runtime.String(), "")
		same(t, "reported", r.told(), "web.1 failed 10.77.3.2 "+unknownText+"\n")
	})
}

// made is the container of that ID.
func (r *rig) made(id string) containers.Container {
	r.t.Helper()
	list, err := r.runtime.List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c containers.Container) bool { return c.ID == id })
	if i < 0 {
		r.t.Fatalf("no container %s", id)
	}
	return list[i]
}
