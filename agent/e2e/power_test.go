package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestPower: what plugs and cards do to three Pis.
func TestPower(t *testing.T) {
	together(t)
	s := newShelf(t, 3)
	s.load("pi1")
	t.Run("cut under load", func(t *testing.T) { s.fresh(t, 3).cutUnderLoad(3) })
	t.Run("clean shutdown", func(t *testing.T) { s.fresh(t, 3).cleanShutdown() })
	t.Run("stale node", func(t *testing.T) { s.fresh(t, 3).staleNode() })
	t.Run("all cut", func(t *testing.T) { s.fresh(t, 3).allCut() })
}

// fresh is the shelf for a further test: all nodes ready, no service.
func (s *shelf) fresh(t *testing.T, nodes int) *shelf {
	s = &shelf{t: t, lab: s.lab}
	for _, n := range pis(nodes) {
		if err := s.lab.PowerOn(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitReady(nodes)
	for _, service := range s.status("pi1").Services {
		s.piswarm("pi1", "rm "+service.Name)
	}
	s.eventually(30*time.Second, "no task is left", func() bool {
		var tasks []client.Task
		err := s.ask("pi1", func(ctx context.Context, c *client.Client) (err error) {
			tasks, err = c.Tasks(ctx, "")
			return err
		})
		return err == nil && len(tasks) == 0
	})
	return s
}

func (s *shelf) powerOff(node string) {
	s.t.Helper()
	if err := s.lab.PowerOff(node); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) powerOn(node string) {
	s.t.Helper()
	if err := s.lab.PowerOn(s.t.Context(), node); err != nil {
		s.t.Fatal(err)
	}
}

// cutUnderLoad cuts the leader, and in the long series each node: clients of the others soon are not sent to it, and the
// wanted number runs again. `make bench` takes the times; here they are a multiple of what is promised.
func (s *shelf) cutUnderLoad(nodes int) {
	replicas := 2 * nodes
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	for range rounds(1, 10) {
		victim := s.status("pi1").Leader
		var others, ports []string
		for _, n := range pis(nodes) {
			if n != victim {
				others, ports = append(others, n), append(ports, n+":9000")
			}
		}
		s.answering(20*time.Second, "before the cut", others, 9000, replicas)
		k := s.knock(ports...)
		began := time.Now()
		s.powerOff(victim)
		s.eventually(15*time.Second, "the wanted number runs on the others", func() bool {
			n := 0
			for _, task := range s.seen(others[0], "greeters") {
				if task.State == cluster.Running && task.Node != victim {
					n++
				}
			}
			return n >= replicas
		})
		s.t.Logf("%s of %d lost its power: the wanted number runs after %.1f s", victim, nodes, time.Since(began).Seconds())
		s.answering(10*time.Second, "after the cut", others, 9000, replicas)
		s.eventually(30*time.Second, "no request has failed for a while", func() bool { return time.Since(k.lastFailure()) > patience })
		k.end()
		if last := k.lastFailure(); !last.IsZero() {
			s.t.Logf("%d of %d requests failed, the last was begun %.1f s after the cut", len(k.failed), k.asked, last.Sub(began).Seconds())
			if last.Sub(began) > 6*time.Second {
				s.t.Errorf("a request failed that was begun %s after the cut", last.Sub(began))
			}
		}
		s.powerOn(victim)
		s.awaitReady(nodes)
		s.eventually(20*time.Second, "exactly the wanted tasks", func() bool { return s.exactly(others[0], "greeters", replicas) })
	}
}

// cleanShutdown: a node that is told to go gives its tasks away before, and no request is lost. When it is back it gets
// work again, one task at a time.
func (s *shelf) cleanShutdown() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	for range rounds(1, 10) {
		k := s.knock("pi1:9000", "pi3:9000")
		began := time.Now()
		down := make(chan error, 1)
		go func() { down <- s.lab.Shutdown(s.t.Context(), "pi2") }()
		least := replicas
		for ended := false; !ended; {
			select {
			case err := <-down:
				if err != nil {
					s.t.Fatal(err)
				}
				ended = true
			case <-time.After(50 * time.Millisecond):
				if n := countRunning(s.seen("pi1", "greeters")); n < least {
					least = n
				}
			}
		}
		s.t.Logf("pi2 was off after %.1f s", time.Since(began).Seconds())
		if least < replicas {
			s.t.Errorf("while pi2 shut down, only %d of %d tasks ran", least, replicas)
		}
		for _, n := range []string{"pi1", "pi3"} {
			s.eventually(5*time.Second, n+" sees all tasks on the others", func() bool {
				return s.exactly(n, "greeters", replicas) && !slices.Contains(nodesOf(s.seen(n, "greeters")), "pi2")
			})
		}
		s.answering(5*time.Second, "with pi2 off", []string{"pi1", "pi3"}, 9000, replicas)
		s.powerOn("pi2")
		s.awaitReady(3)
		s.eventually(90*time.Second, "pi2 has work again", func() bool {
			return slices.Contains(nodesOf(s.seen("pi1", "greeters")), "pi2")
		})
		s.eventually(60*time.Second, "2 tasks on each, none besides", func() bool {
			return s.exactly("pi1", "greeters", replicas) &&
				slices.Equal(nodesOf(s.seen("pi1", "greeters")), []string{"pi1", "pi1", "pi2", "pi2", "pi3", "pi3"})
		})
		k.wantNone("shutdown and return of pi2, asked at pi1 and pi3")
	}
}

// staleNode: what was removed while a node was off stays removed when it is back, and what was made is there.
func (s *shelf) staleNode() {
	s.piswarm("pi1", "create --name old --publish 9001:5000 --replicas 3 greeter")
	s.piswarm("pi1", "create --name kept --publish 9002:5000 --replicas 3 greeter")
	s.powerOff("pi3")
	s.eventually(20*time.Second, "pi3 is down", func() bool {
		return slices.ContainsFunc(s.status("pi1").Nodes, func(n client.NodeStatus) bool { return n.Name == "pi3" && n.State == cluster.Down })
	})
	s.piswarm("pi1", "rm old")
	s.piswarm("pi2", "create --name new --publish 9001:5000 --replicas 2 greeter")
	s.piswarm("pi2", "scale kept 2")
	s.powerOn("pi3")
	s.awaitReady(3)
	text := s.alike(10*time.Second, "the stale node is back", pis(3))
	for _, key := range []string{"service/old", "plan/old"} {
		if !removed(text, key) {
			s.t.Errorf("%s is there again:\n%s", key, text)
		}
	}
	for _, n := range pis(3) {
		s.eventually(20*time.Second, n+" sees the two services and no task of the old one", func() bool {
			all := s.seen(n, "")
			return len(all) == 4 && countRunning(all) == 4 && !slices.ContainsFunc(all, func(t client.Task) bool { return t.Service == "old" })
		})
	}
	s.answering(10*time.Second, "the new service", pis(3), 9001, 2)
	s.answering(10*time.Second, "the kept one", pis(3), 9002, 2)
	for task := range s.pids("pi3") {
		if strings.HasPrefix(task, "old") {
			s.t.Errorf("pi3 runs %s again", task)
		}
	}
}

// removed tells whether some records have none of a key but its tombstone, if that.
func removed(records, key string) bool {
	for line := range strings.Lines(records) {
		if strings.HasPrefix(line, `{"key":"`+key+`"`) {
			return strings.Contains(line, `"deleted":true`)
		}
	}
	return true
}

// allCut: all nodes lose their power at once and come back in any order: the same services, plans and removals.
func (s *shelf) allCut() {
	s.piswarm("pi2", "create --name gone greeter")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	s.piswarm("pi3", "create --name everywhere --publish 9001:5000 --mode global greeter")
	s.piswarm("pi2", "node update --label-add room=kitchen pi3")
	s.piswarm("pi2", "rm gone")
	s.eventually(10*time.Second, "the leader drops the plan of what is gone", func() bool {
		text, err := s.records("pi1")
		return err == nil && removed(text, "plan/gone")
	})
	for range rounds(1, 10) {
		before := s.alike(10*time.Second, "before the cut", pis(3))
		cut := make(chan error, 3)
		for _, n := range pis(3) {
			go func() { cut <- s.lab.PowerOff(n) }()
		}
		for range 3 {
			if err := <-cut; err != nil {
				s.t.Fatal(err)
			}
		}
		order := pis(3)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		s.t.Logf("switched on in this order: %v", order)
		for _, n := range order {
			s.powerOn(n)
		}
		s.awaitReady(3)
		s.answering(30*time.Second, "after the cut", pis(3), 9000, 4)
		s.answering(10*time.Second, "after the cut", pis(3), 9001, 3)
		if after := s.alike(10*time.Second, "after the cut", pis(3)); after != before {
			s.t.Errorf("records before\n%s\nand after\n%s", before, after)
		}
		s.eventually(20*time.Second, "exactly 4 and 3 tasks", func() bool {
			return s.exactly("pi1", "greeters", 4) && s.exactly("pi2", "everywhere", 3)
		})
	}
}
