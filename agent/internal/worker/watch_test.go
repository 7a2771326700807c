package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// checked returns a rig with a service web that has a health check, planned here, whose worker does not run yet.
func checked(t *testing.T, health cluster.Health, change ...func(*cluster.Spec)) *rig {
	r := newRig(t)
	spec := cluster.Spec{
		Name: "web", Mode: cluster.Replicated,
		Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest, Health: health},
	}
	for _, c := range change {
		c(&spec)
	}
	r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: spec})
	r.plan("web", self)
	return r
}

// patient is what a program in a container answers to a command, as the test changes it.
type patient struct {
	code   atomic.Int64
	output atomic.Value // string
	err    atomic.Value // error
}

// answers makes the commands in the containers of web get their answers from p.
func (r *rig) answers(p *patient) {
	r.runtime.AnswerExec("web", func(context.Context) (containers.Ended, error) {
		if err, ok := p.err.Load().(error); ok && err != errNone {
			return containers.Ended{}, err
		}
		output, _ := p.output.Load().(string)
		return containers.Ended{Code: int(p.code.Load()), Output: output}, nil
	})
}

// leaves waits until web.1 is in another state, and not for so long that it misses one.
func (r *rig) leaves(state cluster.State) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); r.report().Tasks[0].State == state; after(lastWord / 4) {
		if time.Now().After(end) {
			r.t.Fatalf("%s for a minute", state)
		}
	}
}

// errNone stands for no error, which an atomic.Value does not hold.
var errNone = fmt.Errorf("%w", errors.New("none"))

func TestRunsWhenItsCheckHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}})
		p := &patient{}
		p.code.Store(1)
		r.answers(p)
		r.start()
		after(10 * time.Second)
		same(t, "before it passes", r.told(), "web.1 starting 10.77.3.2\n")
		p.code.Store(0)
		after(5 * time.Second)
		same(t, "after it passed", r.told(), "web.1 running 10.77.3.2\n")
		asked := r.runtime.Execs()
		after(5 * time.Minute)
		if n := r.runtime.Execs() - asked; n != 10 {
			t.Errorf("asked %d times in 5 minutes, want every 30 seconds", n)
		}
	})
}

func TestUnhealthyTaskIsEndedAndMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: 10 * time.Second, Retries: 2})
		p := &patient{}
		r.answers(p)
		r.start()
		after(time.Minute)
		same(t, "healthy", r.told(), "web.1 running 10.77.3.2\n")
		p.code.Store(3)
		p.output.Store("no\ndatabase " + strings.Repeat("€", 100))
		after(10 * time.Second)
		same(t, "after one failure", r.told(), "web.1 running 10.77.3.2\n")
		text := "the command ended with exit code 3: no database " + strings.Repeat("€", 62)
		r.leaves(cluster.Running)
		same(t, "after two", r.told(), "web.1 unhealthy 10.77.3.2 "+text+"\n")
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		p.code.Store(0)
		after(lastWord)
		same(t, "containers", r.runtime.String(), "web.1 web.1 v1 running\n")
		if calls := strings.Join(r.runtime.Calls(), ","); !strings.HasSuffix(calls, "stop web.1,remove web.1,create web.1,start web.1") {
			t.Errorf("calls: %s", calls)
		}
		same(t, "history", r.lives(), "web.1 failed unhealthy: "+text+"\n")
		if task := r.report().Tasks[0]; task.State != cluster.Starting || task.Restarts != 1 {
			t.Errorf("reported: %+v", task)
		}
		after(firstAsk)
		same(t, "cured", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestUnhealthyTaskIsGivenUpAsItsPolicySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: time.Second, Retries: 1}, func(s *cluster.Spec) {
			s.Restart.Condition = cluster.RestartNone
		})
		p := &patient{}
		p.code.Store(1)
		r.answers(p)
		r.start()
		after(time.Minute)
		if task := r.report().Tasks[0]; !task.Final || task.State != cluster.Failed || task.Error != "unhealthy: the command ended with exit code 1" {
			t.Errorf("reported: %+v", task)
		}
		if asked := r.runtime.Execs(); asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// A task that never passes its check has never run, and its restarts get slower.
func TestTaskThatNeverPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: 5 * time.Second})
		p := &patient{}
		p.code.Store(1)
		r.answers(p)
		r.start()
		for range 200 {
			after(time.Second)
			if state := r.report().Tasks[0].State; state == cluster.Running {
				t.Fatal("reported as running")
			}
		}
		r.runtime.set(func() {
			pause := r.runtime.starts[len(r.runtime.starts)-1].Sub(r.runtime.starts[len(r.runtime.starts)-2]) - 15*time.Second
			if pause < 10*time.Second {
				t.Errorf("the last pause was %s", pause)
			}
		})
	})
}

func TestCheckThatCannotBeAskedIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: time.Second, Retries: 1})
		p := &patient{}
		r.answers(p)
		r.start()
		after(time.Minute)
		p.err.Store(fmt.Errorf("exec: %w", containers.ErrUnavailable))
		after(time.Hour)
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
		p.err.Store(fmt.Errorf("exec: %w", containers.ErrTimeout))
		r.leaves(cluster.Running)
		same(t, "reported", r.told(), "web.1 unhealthy 10.77.3.2 the command did not end within 30s\n")
	})
}

// What a restarted agent finds goes on running, and is asked on.
func TestAdoptedTaskIsCheckedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{})
		r.runtime.SetHealth(digest, cluster.Health{Cmd: []string{"/check"}, Interval: 10 * time.Second})
		p := &patient{}
		r.answers(p)
		stop := r.start()
		after(time.Minute)
		stop()
		p.code.Store(1)
		r.run()
		same(t, "adopted", r.told(), "web.1 running 10.77.3.2\n")
		after(19 * time.Second)
		same(t, "after two failures", r.told(), "web.1 running 10.77.3.2\n")
		after(1100 * time.Millisecond)
		same(t, "after three", r.told(), "web.1 unhealthy 10.77.3.2 the command ended with exit code 1\n")
	})
}

// A restart of containerd makes nothing serve that did not before.
func TestListingMakesNothingReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}})
		p := &patient{}
		p.code.Store(1)
		r.answers(p)
		r.start()
		after(5 * time.Second)
		r.runtime.Resync()
		after(5 * time.Second)
		same(t, "reported", r.told(), "web.1 starting 10.77.3.2\n")
	})
}

// A container that was started while containerd went away serves when its check has passed, like any other one.
func TestContainerdGoesWhileATaskStarts(t *testing.T) {
	for name, health := range map[string]cluster.Health{"checked": {Cmd: []string{"/check"}}, "not checked": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := checked(t, health)
				p := &patient{}
				p.code.Store(1)
				r.answers(p)
				r.runtime.goes = true
				r.start()
				after(5 * time.Second)
				r.runtime.set(func() { r.runtime.away = false })
				r.runtime.Resync()
				after(5 * time.Second)
				if health.Checks() {
					same(t, "before it passes", r.told(), "web.1 starting 10.77.3.2\n")
					p.code.Store(0)
					after(5 * time.Second)
				}
				same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
				if calls := r.runtime.Calls(); len(calls) != 2 {
					t.Errorf("calls: %v", calls)
				}
			})
		})
	}
}

// What the life before knew of the ports and the health of a task says nothing of its present one.
func TestReadinessEndsWithTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: time.Second}, func(s *cluster.Spec) {
			s.Ports = []cluster.Port{{Published: 80, Target: 80, Protocol: cluster.TCP, Mode: cluster.PortIngress}}
		})
		r.answers(&patient{})
		r.start()
		after(time.Minute)
		same(t, "its first life", r.told(), "web.1 running 10.77.3.2\n")
		r.wires.shut(true)
		r.runtime.Exit("web.1", 1)
		after(portsLimit / 2)
		same(t, "its second life", r.told(), "web.1 starting 10.77.3.2 ended with exit code 1\n")
	})
}

// A task that the plan wants again after all is as ready as it was.
func TestWantedAgainBeforeItsCheckHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}})
		p := &patient{}
		p.code.Store(1)
		r.answers(p)
		r.start()
		after(time.Second)
		r.wires.connect(1)
		r.plan("web", "n2")
		after(releaseLimit + time.Second)
		same(t, "going", r.told(), "web.1 stopping 10.77.3.2\n")
		asked := r.runtime.Execs()
		after(5 * time.Second)
		if n := r.runtime.Execs(); n != asked {
			t.Errorf("asked %d times while it goes", n-asked)
		}
		r.plan("web", self)
		same(t, "wanted again", r.told(), "web.1 starting 10.77.3.2\n")
		p.code.Store(0)
		after(5 * time.Second)
		same(t, "and passes", r.told(), "web.1 running 10.77.3.2\n")
	})
}

func TestChecksThatPassCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}, Interval: time.Second})
		r.answers(&patient{})
		r.start()
		after(time.Minute)
		calls, looks, written, asked := len(r.runtime.Calls()), r.runtime.looks, r.writes(), r.runtime.Execs()
		passes := func() int {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.passes
		}
		passed := passes()
		after(time.Hour)
		if n := passes() - passed; n > 4*60+60 {
			t.Errorf("%d passes in an hour, want four a minute", n)
		}
		if n := r.runtime.Execs() - asked; n != 3600 {
			t.Errorf("asked %d times in an hour, want every second", n)
		}
		if n := len(r.runtime.Calls()); n != calls || r.runtime.looks != looks || r.writes() != written {
			t.Errorf("%d calls, %d looks, %d reports", n-calls, r.runtime.looks-looks, r.writes()-written)
		}
	})
}

// Commands that hang keep no other from being asked, and end with the agent.
func TestHangingChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := checked(t, cluster.Health{Cmd: []string{"/check"}})
		r.put(cluster.ServiceKey("bad"), cluster.Service{ID: "bad-id", SpecVersion: 1, Spec: cluster.Spec{
			Name: "bad", Mode: cluster.Replicated,
			Container: cluster.Container{Image: "docker.io/library/web:1", Digest: digest, Health: cluster.Health{Cmd: []string{"/check"}}},
		}})
		r.answers(&patient{})
		r.runtime.AnswerExec("bad", func(ctx context.Context) (containers.Ended, error) {
			<-ctx.Done()
			return containers.Ended{}, context.Cause(ctx)
		})
		r.plan("web", "n2")
		r.plan("bad", self, self, self, self)
		stop := r.start()
		after(10 * time.Second)
		r.plan("web", self)
		after(10 * time.Second)
		if told := r.told(); !strings.Contains(told, "web.1 running") || strings.Contains(told, "bad.1 running") {
			t.Errorf("reported:\n%s", told)
		}
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the end took %s", took)
		}
	})
}

// network makes the worker's connections those of a server in memory, which answers with that status.
func (r *rig) network(status *atomic.Int64, dialed func(address string)) {
	r.worker.dial = func(_ context.Context, _, address string) (net.Conn, error) {
		dialed(address)
		if status.Load() == 0 {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			request, err := http.ReadRequest(bufio.NewReader(far))
			if err != nil {
				return
			}
			code := int(status.Load())
			answer := &http.Response{
				StatusCode: code, ProtoMajor: 1, ProtoMinor: 1, Request: request, Close: true, ContentLength: -1,
				Header: http.Header{"Location": {"http://elsewhere/"}}, Body: io.NopCloser(strings.NewReader("said " + request.URL.Path)),
			}
			answer.Write(far)
		}()
		return near, nil
	}
}

func TestChecksByNetwork(t *testing.T) {
	ports := func(s *cluster.Spec) {
		s.Ports = []cluster.Port{{Published: 80, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}}
	}
	for name, test := range map[string]struct {
		health  cluster.Health
		address string
		bad     int64
		text    string
	}{
		"HTTP":                   {cluster.Health{HTTP: "/healthz"}, "10.77.3.2:5000", 503, "GET /healthz at port 5000: answer 503 Service Unavailable: said /healthz"},
		"HTTP at another port":   {cluster.Health{HTTP: "/", Port: 8080}, "10.77.3.2:8080", 404, "GET / at port 8080: answer 404 Not Found: said /"},
		"HTTP without an answer": {cluster.Health{HTTP: "/"}, "10.77.3.2:5000", 0, "GET / at port 5000: connection refused"},
		"TCP":                    {cluster.Health{TCP: true}, "10.77.3.2:5000", 0, "port 5000: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.health.Interval = 10 * time.Second
				change := ports
				if test.health.Port != 0 {
					change = func(*cluster.Spec) {} // it need not be published
				}
				r := checked(t, test.health, change)
				var status atomic.Int64
				status.Store(302) // is not followed, and healthy
				r.wires.shut(true)
				r.run() // starts nothing before it may
				dialed := make(chan string, 100)
				r.network(&status, func(address string) { dialed <- address })
				close(r.going)
				after(time.Second)
				same(t, "before its port is open", r.told(), "web.1 starting 10.77.3.2\n")
				if len(dialed) > 0 {
					t.Errorf("asked before its port is open: %s", <-dialed)
				}
				r.wires.shut(false)
				after(lastLook)
				same(t, "after it passed", r.told(), "web.1 running 10.77.3.2\n")
				if address := <-dialed; address != test.address {
					t.Errorf("asked %s, want %s", address, test.address)
				}
				status.Store(test.bad)
				after(30 * time.Second)
				same(t, "after it failed", r.told(), "web.1 unhealthy 10.77.3.2 "+test.text+"\n")
			})
		})
	}
}
