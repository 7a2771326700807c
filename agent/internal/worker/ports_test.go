package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// starting returns a rig in which the container of web.1 runs and its published port is not open.
func starting(t *testing.T) *rig {
	r := newRig(t)
	r.wires.shut(true)
	r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: "web", Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest},
		Ports: []cluster.Port{{Published: 80, Target: 80, Protocol: cluster.TCP, Mode: cluster.PortIngress}},
	}})
	r.plan("web", self)
	r.start()
	after(time.Second)
	same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
	same(t, "before its port is open", r.told(), "web.1 starting 10.77.3.2\n")
	return r
}

func TestRunsWhenItsPortIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := starting(t)
		r.wires.shut(false)
		after(lastLook)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestWaitsForNoPortForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := starting(t)
		after(portsLimit)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

// A container that ends before it has opened its port has never run, as far as anyone is told.
func TestEndsBeforeItsPortIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := starting(t)
		r.runtime.Exit("web.1", 1)
		for range 20 {
			after(lastLook)
			if told := r.told(); strings.Contains(told, "running") {
				t.Fatalf("reported: %s", told)
			}
		}
		if task := r.report().Tasks[0]; task.Restarts == 0 {
			t.Errorf("its end was not noticed: %+v", task)
		}
	})
}

func TestUnwantedBeforeItsPortIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := starting(t)
		r.plan("web", "n2")
		after(holdLimit + releaseLimit + lastWord + lastLook)
		same(t, "containers", r.runtime.String(), "")
	})
}

// A container ends before it has opened its port, in a moment in which containerd's events do not arrive.
func TestEndsUnheardBeforeItsPortIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := starting(t)
		r.runtime.set(func() { r.runtime.deaf = true })
		r.runtime.Exit("web.1", 1)
		synctest.Wait()
		r.runtime.set(func() { r.runtime.deaf = false })
		r.runtime.Resync()
		after(portsLimit)
		if task := r.report().Tasks[0]; task.Restarts == 0 {
			t.Errorf("its end was not noticed: %+v", task)
		}
	})
}
