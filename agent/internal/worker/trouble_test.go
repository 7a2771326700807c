package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/containers/containerstest"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// serviceOf writes a service of another image.
func (r *rig) serviceOf(name, digest string) {
	r.t.Helper()
	r.put(cluster.ServiceKey(name), cluster.Service{ID: name + "-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: name, Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/" + name + ":1", Digest: digest},
	}})
}

func TestRebuildsALostStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.runtime.OfferImage(digest)
		r.runtime.LoseStore()
		after(time.Second)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		r.runtime.set(func() {
			if len(r.runtime.pulls) == 0 {
				t.Error("the image was not fetched again")
			}
		})
		for _, task := range r.report().Tasks {
			if task.State != cluster.Running || task.Error != "" {
				t.Errorf("reported: %+v", task)
			}
		}
	})
}

// TestWhatDoesNotEndKeepsNobodyFromWork holds that a lost container whose processes hang in the kernel costs a moment
// and not the node.
func TestWhatDoesNotEndKeepsNobodyFromWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.runtime.stuck = true
		r.service("web")
		r.planBy(self, "web", "web.1")
		r.start()
		after(2 * sweepLimit) // with the look that the first event asks for
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.serviceOf("big", "sha256:2")
		r.runtime.OfferImage("sha256:2")
		r.runtime.SetDisk(containers.Disk{Total: 100, Free: 5}, 10)
		r.plan("big", self)
		after(10 * time.Second)
		if task := r.report().Tasks[0]; task.State != cluster.Rejected || !strings.Contains(task.Error, "no space left") {
			t.Errorf("reported: %+v", task)
		}
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
		r.runtime.set(func() {
			if n := len(r.runtime.pulls); n > 6 {
				t.Errorf("tried %d times in 10 seconds", n)
			}
		})
		r.runtime.SetDisk(containers.Disk{Total: 100, Free: 50}, 10)
		after(time.Minute)
		same(t, "containers", r.runtime.String(), "big.1 big.1 v1 running\nweb.1 web.1 v1 running\nweb.2 web.2 v1 running\n")
	})
}

func TestShortDiskLosesUnusedImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.runtime.SetDisk(containers.Disk{Total: 100, Free: 50}, 12)
		r.start()
		for i := range 3 { // three services come and go; the fourth stays, and runs elsewhere
			name, image := fmt.Sprint("s", i), fmt.Sprint("sha256:a", i)
			r.serviceOf(name, image)
			r.runtime.OfferImage(image)
			r.plan(name, self)
		}
		prunes := func() int {
			return len(slices.DeleteFunc(r.runtime.Calls(), func(call string) bool { return call != "prune" }))
		}
		before := prunes()
		r.plan("s1", "n2")
		for _, name := range []string{"s0", "s2"} {
			if _, _, err := r.store.Delete(cluster.ServiceKey(name)); err != nil {
				t.Fatal(err)
			}
		}
		after(time.Minute)
		if prunes() != before {
			t.Error("tidied up between two looks")
		}
		after(lookEvery)
		digests := func() (all []string) {
			for _, i := range r.report().Images {
				all = append(all, i.Digest)
			}
			return all
		}
		if got, want := digests(), []string{digest, "sha256:a1", "sha256:a2"}; !slices.Equal(got, want) {
			t.Errorf("images are %v, want %v: no more than is needed goes, and the oldest first", got, want)
		}

		// What does not fit makes room at once.
		r.runtime.SetDisk(containers.Disk{Total: 100, Free: 5}, 12)
		r.serviceOf("new", "sha256:b")
		r.runtime.OfferImage("sha256:b")
		r.plan("new", self)
		after(5 * time.Second)
		if got, want := digests(), []string{digest, "sha256:a1", "sha256:b"}; !slices.Equal(got, want) {
			t.Errorf("images are %v, want %v", got, want)
		}
	})
}

// A short disk loses no image that a service may go back to, and none that an old task of it is made of.
func TestShortDiskKeepsWhatMayRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.runtime.SetDisk(containers.Disk{Total: 100, Free: 50}, 15)
		r.start()
		s := cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1"}}}
		for i := range 3 {
			spec := s.Spec
			spec.Container.Digest = fmt.Sprint("sha256:a", i)
			s = s.Changed(spec, time.Now())
			r.put(cluster.ServiceKey("web"), s)
			r.runtime.OfferImage(spec.Container.Digest)
			r.put(cluster.PlanKey("web"), cluster.Plan{ServiceID: "web-id", Tasks: []cluster.Task{
				{ID: fmt.Sprint("web.", i), Slot: 1, Node: self, SpecVersion: s.SpecVersion},
			}})
			after(time.Minute)
		}
		after(2 * lookEvery)
		var digests []string
		for _, i := range r.report().Images {
			digests = append(digests, i.Digest)
		}
		if want := []string{digest, "sha256:a1", "sha256:a2"}; !slices.Equal(digests, want) {
			t.Errorf("images are %v, want %v", digests, want)
		}
	})
}

func TestShort(t *testing.T) {
	const gb = 1 << 30
	for _, test := range []struct {
		total, free int64
		want        bool
	}{
		{4 * gb, gb / 2, true}, {4 * gb, gb * 7 / 10, false}, {32 * gb, gb - 1, true}, {32 * gb, gb, false}, {0, 0, false},
	} {
		if got := short(containers.Disk{Total: test.total, Free: test.free}); got != test.want {
			t.Errorf("%d of %d bytes free: short %t", test.free, test.total, got)
		}
	}
}

// Two starts that hang fill the places of those who start; the others get theirs all the same.
func TestHangingStartDelaysNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.service("bad")
		r.runtime.hang = "bad."
		r.plan("bad", self, self, self, self)
		r.start()
		r.plan("web", self)
		after(2*slotLimit + time.Second) // on two cores, two at a time
		same(t, "containers", r.runtime.String(), "bad.1 bad.1 v1 created\nbad.2 bad.2 v1 created\nbad.3 bad.3 v1 created\nbad.4 bad.4 v1 created\nweb.1 web.1 v1 running\n")
	})
}

func TestCrashLoopIsToldAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("bad")
		r.service("web")
		r.runtime.CrashAfterStart("bad", 100*time.Millisecond, 3)
		r.plan("bad", self)
		r.start()
		after(10 * time.Minute)
		task := r.report().Tasks[0]
		if task.State != cluster.Failed || task.Error != "ended with exit code 3" || task.Restarts < 15 || task.Restarts > 25 {
			t.Errorf("reported: %+v", task)
		}
		starts := 0
		r.runtime.set(func() { starts = len(r.runtime.starts) })
		after(10 * time.Minute)
		r.runtime.set(func() {
			if n := len(r.runtime.starts) - starts; n < 9 || n > 10 {
				t.Errorf("%d starts in ten minutes, want one a minute", n)
			}
		})
		r.plan("web", self)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	})
}

// TestWhatCannotEndIsNotPressed: a node whose card has become read-only must not spend itself on it.
func TestWhatCannotEndIsNotPressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		r.runtime.set(func() { r.runtime.keeps = true })
		r.plan("web")
		after(2 * time.Minute)
		r.runtime.set(func() {
			if n := r.runtime.tries; n < 2*5 || n > 2*30 {
				t.Errorf("two containers were tried to be removed %d times in two minutes", n)
			}
			r.runtime.keeps = false
		})
		after(lastPause)
		same(t, "containers", r.runtime.String(), "")
	})
}

// TestTellsThatItCannotRunATask: so that the leader gives it to another node. It goes on trying, where there is no other.
func TestTellsThatItCannotRunATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.service("web")
		r.runtime.FailCreate("web", errors.New("read-only file system"))
		r.start()
		r.plan("web", self)
		after((maxTries-1)*troublePause - time.Second)
		same(t, "reported", r.told(), "web.1 failed 10.77.3.2 create web.1: read-only file system\n")
		after(2 * time.Second)
		same(t, "reported", r.told(), "web.1 rejected 10.77.3.2 create web.1: read-only file system\n")
		r.runtime.FailCreate("web", nil)
		after(lastPause)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestWaitsForNoDownloadForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.serviceOf("web", "sha256:2")
		r.runtime.OfferImage("sha256:2")
		r.put(cluster.ReportKey("n2"), cluster.Report{Node: cluster.Description{Platform: zero}})
		r.plan("web", "n2", self)
		r.start()
		after(turnLimit - time.Second)
		same(t, "reported", r.told(), "web.2 preparing\n")
		after(time.Second)
		same(t, "reported", r.told(), "web.2 running 10.77.3.2\n")
	})
}

// script is a runtime that tells what it was told to tell.
type script struct {
	*containerstest.Fake
	events []containers.Event
}

func (s script) Events(context.Context) <-chan containers.Event {
	events := make(chan containers.Event, len(s.events))
	for _, e := range s.events {
		events <- e
	}
	close(events)
	return events
}

// An end that is heard of late is of the life before, until the start of the present one was heard of.
func TestEndsBelongToTheirLives(t *testing.T) {
	started, exited := containers.Event{Type: containers.EventStarted, ID: "t"}, containers.Event{Type: containers.EventExited, ID: "t"}
	for name, test := range map[string]struct {
		events []containers.Event
		ended  bool
	}{
		"of the life before":             {[]containers.Event{exited}, false},
		"of the life before, then start": {[]containers.Event{exited, started}, false},
		"of this one":                    {[]containers.Event{started, exited}, true},
		"of both":                        {[]containers.Event{exited, started, exited}, true},
	} {
		w := New(Config{Runtime: script{events: test.events}})
		present := &task{container: containers.Running}
		w.tasks["t"] = present
		w.follow(t.Context())
		if ended := present.exit != nil; ended != test.ended {
			t.Errorf("%s: ended %t, want %t", name, ended, test.ended)
		}
	}
}
