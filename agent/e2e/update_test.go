package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestChange: what runs is changed while it is asked, and nobody notices.
func TestChange(t *testing.T) {
	together(t)
	s := newShelf(t, 3)
	s.load("pi1")
	for _, image := range [][]string{
		{"-name", "greeter:v2", "-version", "v2"},
		{"-name", "greeter:sick", "-version", "sick", "-health", "/greeter get 1 http://127.0.0.1:1/"},
		{"-name", "greeter:crash", "-args", "get nothing"},
	} {
		s.loadImage("pi1", image...)
	}
	t.Run("image, start first", func(t *testing.T) { s.fresh(t, 3).updateImage("start-first") })
	t.Run("image, stop first", func(t *testing.T) { s.fresh(t, 3).updateImage("stop-first") })
	t.Run("scale", func(t *testing.T) { s.fresh(t, 3).scaleUnderLoad() })
	t.Run("drain", func(t *testing.T) { s.fresh(t, 3).drainUnderLoad() })
	t.Run("shutdown", func(t *testing.T) { s.fresh(t, 3).shutdownUnderLoad() })
	t.Run("sick image", func(t *testing.T) { s.fresh(t, 3).sickImage() })
	t.Run("crashing image", func(t *testing.T) { s.fresh(t, 3).crashingImage() })
	t.Run("leader off", func(t *testing.T) { s.fresh(t, 3).leaderOff() })
	t.Run("job", func(t *testing.T) { s.fresh(t, 3).runJob() })
	t.Run("host port", func(t *testing.T) { s.fresh(t, 3).hostPort() })
}

// loadImage makes an image of the greeter for this machine alone and loads it on one node.
func (s *shelf) loadImage(host string, flags ...string) {
	s.t.Helper()
	out := filepath.Join(s.t.TempDir(), "image.tar")
	if err := goTool(append([]string{"run", "../../testdata/greeter/image", "-platform", "linux/" + runtime.GOARCH, "-o", out}, flags...)...); err != nil {
		s.t.Fatal(err)
	}
	tar, err := os.ReadFile(out)
	if err != nil {
		s.t.Fatal(err)
	}
	if r := s.feed(tar, host, "piswarm", "image", "load"); r.code != 0 {
		s.t.Fatalf("image load: %s", r.err)
	}
}

// ended runs a line of the command line that ends with that exit code, and returns what it says.
func (s *shelf) ended(code int, host, line string) string {
	s.t.Helper()
	r := s.on(host, append([]string{"piswarm"}, strings.Fields(line)...)...)
	if r.code != code {
		s.t.Fatalf("piswarm %s: exit %d, want %d\n%s%s", line, r.code, code, r.out, r.err)
	}
	return r.out + r.err
}

// update is the state of a service's update as a node sees it.
func (s *shelf) update(host, service string) string {
	for _, one := range s.status(host).Services {
		if one.Name == service {
			return fmt.Sprint(one.Update.State)
		}
	}
	return ""
}

// greets checks that all of so many tasks answer, each with the version at the end of its greeting.
func (s *shelf) greets(version string, tasks int) {
	s.t.Helper()
	for _, node := range pis(3) {
		answers := count(s.fetch("laptop", "http://"+node+":9000/", 4*tasks))
		for greeting := range answers {
			if !strings.HasSuffix(greeting, "."+version) {
				s.t.Errorf("%s: %q, want the version %q", node, greeting, version)
			}
		}
		if len(answers) != tasks {
			s.t.Errorf("%s: %d tasks answer, want %d: %v", node, len(answers), tasks, answers)
		}
	}
}

func (s *shelf) updateImage(order string) {
	const replicas = 6
	// Kept connections do not end by themselves: each task waits for them for as long as it may take to stop.
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d --stop-grace-period 3s greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	s.under("update, "+order, func() {
		s.piswarm("pi2", "update --image greeter:v2 --update-monitor 1s --update-order "+order+" greeters")
	})
	if got := s.update("pi3", "greeters"); got != "completed" {
		s.t.Errorf("the update is %s", got)
	}
	s.greets(" v2", replicas)
	s.under("rollback, "+order, func() {
		s.piswarm("pi3", "rollback greeters")
	})
	s.greets("", replicas)
	s.eventually(20*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", replicas) })
}

func (s *shelf) scaleUnderLoad() {
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 8 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 8)
	s.under("scale 8, 2, 8", func() {
		for _, n := range []int{2, 8} {
			s.piswarm("pi3", fmt.Sprintf("scale greeters %d", n))
		}
		s.eventually(30*time.Second, "8 tasks and no other", func() bool { return s.exactly("pi1", "greeters", 8) })
	})
}

func (s *shelf) drainUnderLoad() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	s.under("drain of pi2, pause of pi3, and back", func() {
		s.piswarm("pi1", "node update --availability drain pi2")
		s.eventually(40*time.Second, "pi2 has none", func() bool {
			return s.exactly("pi1", "greeters", replicas) && !slices.Contains(nodesOf(s.seen("pi1", "greeters")), "pi2")
		})
		s.piswarm("pi1", "node update --availability pause pi3")
		s.piswarm("pi1", "node update --availability active pi2")
		s.piswarm("pi1", "node update --availability active pi3")
		if !soak() {
			return // that it gets work again is seen by the test of a clean shutdown
		}
		s.eventually(120*time.Second, "pi2 has work again", func() bool {
			return slices.Contains(nodesOf(s.seen("pi1", "greeters")), "pi2") && s.exactly("pi1", "greeters", replicas)
		})
	})
}

func (s *shelf) shutdownUnderLoad() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	s.under("clean shutdown of pi3", func() {
		if err := s.lab.Shutdown(s.t.Context(), "pi3"); err != nil {
			s.t.Fatal(err)
		}
		s.powerOn("pi3")
		s.awaitReady(3)
	})
	s.eventually(20*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", replicas) })
}

// sickImage: the image's own health check fails, so that no task of it gets a request, and the service goes back.
func (s *shelf) sickImage() {
	const replicas = 4
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	before := s.allPIDs()
	s.under("an image whose health check fails", func() {
		said := s.ended(2, "pi2", "update --image greeter:sick --update-failure-action rollback greeters")
		s.t.Logf("the command said: %s", said)
		s.eventually(60*time.Second, "it went back", func() bool { return s.update("pi1", "greeters") == "rollback_completed" })
	})
	s.greets("", replicas)
	s.eventually(30*time.Second, "the tasks of before, and no others", func() bool { return slices.Equal(before, s.allPIDs()) })
}

func (s *shelf) crashingImage() {
	const replicas = 4
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	before := s.allPIDs()
	s.under("an image that crashes", func() {
		said := s.ended(2, "pi2", "update --image greeter:crash --update-failure-action pause greeters")
		s.t.Logf("the command said: %s", said)
		s.eventually(10*time.Second, "pi1 knows that it is paused", func() bool { return s.update("pi1", "greeters") == "paused" })
	})
	s.greets("", replicas)
	s.piswarm("pi3", "rollback greeters")
	s.under("an image that crashes, rolled back", func() {
		s.ended(2, "pi2", "update --image greeter:crash --update-failure-action rollback greeters")
		s.eventually(60*time.Second, "it went back", func() bool { return s.update("pi1", "greeters") == "rollback_completed" })
	})
	s.greets("", replicas)
	s.eventually(30*time.Second, "the tasks of before, and no others", func() bool { return slices.Equal(before, s.allPIDs()) })
}

// leaderOff: the leader goes dark in the middle of an update, and its successor finishes it.
func (s *shelf) leaderOff() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	leader := s.status("pi1").Leader
	others := slices.DeleteFunc(pis(3), func(n string) bool { return n == leader })
	s.piswarm(others[0], "update -d --image greeter:v2 --update-delay 1s --update-monitor 1s greeters")
	s.eventually(20*time.Second, "two tasks are replaced", func() bool {
		n := 0
		for _, t := range s.seen(others[0], "greeters") {
			if t.State == cluster.Running && strings.Contains(t.Image, "v2") {
				n++
			}
		}
		return n >= 2
	})
	if got := s.update(others[0], "greeters"); got != "updating" {
		s.t.Fatalf("the update is %s before the leader goes, want it in the middle", got)
	}
	s.powerOff(leader)
	s.eventually(60*time.Second, "the next leader finishes it", func() bool { return s.update(others[1], "greeters") == "completed" })
	s.eventually(20*time.Second, "all run the new image", func() bool {
		all := s.seen(others[1], "greeters")
		return s.exactly(others[1], "greeters", replicas) &&
			!slices.ContainsFunc(all, func(t client.Task) bool { return !strings.Contains(t.Image, "v2") })
	})
	s.powerOn(leader)
	s.awaitReady(3)
}

// runJob: a job runs to its end, three times with two at a time, and again when it is asked for.
func (s *shelf) runJob() {
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 1)
	s.piswarm("pi2", "create --name ask --mode replicated-job --replicas 3 --max-concurrent 2 greeter get 1 http://greeters:5000/")
	complete := func(node string) (n int) {
		for _, t := range s.seen(node, "ask") {
			if t.State == cluster.Complete {
				n++
			}
		}
		return n
	}
	if n := complete("pi2"); n != 3 {
		s.t.Errorf("%d tasks are complete where they were waited for, want 3", n)
	}
	s.eventually(5*time.Second, "another node has heard of it", func() bool { return complete("pi3") == 3 })
	s.ended(2, "pi2", "create --name fail --mode replicated-job --restart-condition none greeter get nothing")
}

// hostPort: a port in mode host is answered by the node that runs the task, for that task alone.
func (s *shelf) hostPort() {
	s.piswarm("pi1", "create --name lamp --mode global --constraint node.hostname!=pi3 --publish published=9000,target=5000,mode=host greeter")
	for _, node := range []string{"pi1", "pi2"} {
		s.eventually(5*time.Second, node+" answers for its own task alone", func() bool {
			r := s.on("laptop", greeter, "get", "20", "http://"+node+":9000/")
			return r.code == 0 && len(count(r.out)) == 1
		})
	}
	if r := s.on("laptop", "curl", "-sS", "--max-time", "3", "http://pi3:9000/"); r.code != 7 {
		s.t.Errorf("pi3 runs none: curl exits %d, want 7 (refused): %s%s", r.code, r.out, r.err)
	}
}
