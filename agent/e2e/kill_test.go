package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestKills: what dies on a node while the shelf is asked for greetings.
func TestKills(t *testing.T) {
	together(t)
	s := newShelf(t, 3)
	s.load("pi1")
	t.Run("agent and containerd", func(t *testing.T) { s.fresh(t, 3).killInTurns() })
	t.Run("shim", func(t *testing.T) { s.fresh(t, 3).killShim() })
	t.Run("crash loop", func(t *testing.T) { s.fresh(t, 3).crashLoop() })
	t.Run("out of memory", func(t *testing.T) { s.fresh(t, 3).outOfMemory() })
	t.Run("store deleted", func(t *testing.T) { s.fresh(t, 3).deleteStore() })
}

// killInTurns: neither the agent's nor containerd's end fails a request, ends a container or makes a second one.
func (s *shelf) killInTurns() {
	const replicas = 4
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	before := s.allPIDs()
	k := s.knock("pi1:9000", "pi2:9000", "pi3:9000")
	var slowest time.Duration
	for range rounds(1, 17) {
		for i, node := range pis(3) {
			other := pis(3)[(i+1)%3]
			for _, program := range []string{"^piswarm agent|/piswarm agent", "^containerd|/containerd$"} {
				old := s.must(node, "pgrep", "-o", "-f", program)
				s.must(node, "kill", "-9", strings.TrimSpace(old))
				var again time.Time
				s.eventually(20*time.Second, node+" runs it again", func() bool {
					r := s.on(node, "pgrep", "-o", "-f", program)
					again = time.Now()
					return r.code == 0 && r.out != old
				})
				// Reconciled is a node that knows its tasks and runs what was asked for while it was away.
				s.piswarm(other, "create -d --mode global --name meanwhile greeter")
				s.eventually(20*time.Second, node+" knows its tasks again, and runs the new one", func() bool {
					return s.exactly(node, "greeters", replicas) && slices.ContainsFunc(s.seen(node, "meanwhile"), func(t client.Task) bool {
						return t.Node == node && t.State == cluster.Running
					})
				})
				took := time.Since(again)
				slowest = max(slowest, took)
				s.t.Logf("%s reconciled %.1f s after the start of %s", node, took.Seconds(), program)
				s.piswarm(other, "rm meanwhile")
				s.eventually(20*time.Second, node+" has stopped it", func() bool { return len(s.seen(node, "meanwhile")) == 0 })
			}
		}
	}
	k.wantNone("kill -9 of agent and containerd in turns")
	s.t.Logf("slowest reconciliation after a restart: %.1f s (promised: 2 s)", slowest.Seconds())
	if slowest > 5*time.Second {
		s.t.Errorf("reconciled only %s after a restart", slowest)
	}
	s.awaitReady(3)
	s.eventually(20*time.Second, fmt.Sprintf("the same processes as before, and no others: %v", before), func() bool {
		return slices.Equal(before, s.allPIDs())
	})
}

// killShim: with its shim a group of containers loses its keeper; the tasks get new ones.
func (s *shelf) killShim() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	for range rounds(1, 10) {
		old := s.pids("pi2")
		s.must("pi2", "pkill", "-9", "-f", "containerd-shim-runc")
		s.eventually(30*time.Second, "each task of pi2 has a new process", func() bool {
			now := s.pids("pi2")
			for task, pid := range now {
				if old[task] == pid {
					return false
				}
			}
			return len(now) == len(old)
		})
		s.eventually(20*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", replicas) })
		s.answering(15*time.Second, "after the kill", pis(3), 9000, replicas)
		// No process of the old containers is left without a keeper.
		if n := strings.Count(s.must("pi2", "pgrep", "-x", "greeter"), "\n"); n != len(old) {
			s.t.Errorf("%d greeters run on pi2, want %d", n, len(old))
		}
	}
}

// crashLoop: a service whose container ends at once says so, waits longer each time, and disturbs nobody.
func (s *shelf) crashLoop() {
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 3)
	before := s.allPIDs()
	k := s.knock("pi1:9000", "pi2:9000")
	// The greeter ends at once when it is told to ask nobody.
	s.piswarm("pi1", "create -d --name broken --replicas 1 greeter get nothing")
	var seen []client.Task
	s.eventually(30*time.Second, "the task that keeps failing says so", func() bool {
		seen = s.seen("pi2", "broken")
		return len(seen) == 1 && seen[0].State == cluster.Failed && strings.Contains(seen[0].Error, "exit")
	})
	s.t.Logf("ps says: %s, %q", seen[0].State, seen[0].Error)
	s.piswarm("pi1", "rm broken")
	k.wantNone("beside a crash loop")
	s.eventually(20*time.Second, "only the greeters are left", func() bool { return len(s.seen("pi1", "")) == 3 })
	if after := s.allPIDs(); !slices.Equal(before, after) {
		s.t.Errorf("processes of containers before %v, after %v", before, after)
	}
}

// outOfMemory: a container that the kernel killed for its memory limit is named as such, and comes back.
func (s *shelf) outOfMemory() {
	s.piswarm("pi1", "create --name small --publish 9003:5000 --limit-memory 12m greeter")
	node := s.seen("pi1", "small")[0].Node
	before := s.pids(node)
	// So many connections at once are more than it can hold.
	load := make(chan result, 1)
	go func() { load <- s.on("laptop", "wrk", "-t1", "-c900", "-d8s", "http://pi1:9003/") }()
	defer func() { <-load }()
	s.eventually(30*time.Second, "ps says that it ran out of memory", func() bool {
		return slices.ContainsFunc(s.seen("pi2", "small"), func(t client.Task) bool { return strings.Contains(t.Error, "memory") })
	})
	s.t.Logf("ps says: %q", s.seen("pi2", "small")[0].Error)
	s.eventually(60*time.Second, "it runs again", func() bool { return s.exactly("pi1", "small", 1) && len(s.pids(node)) == 1 })
	if after := s.pids(node); fmt.Sprint(after) == fmt.Sprint(before) {
		s.t.Errorf("its process is still the one before: %v", after)
	}
}

// deleteStore: containerd's store is a cache. A node that lost it gets image and containers again.
func (s *shelf) deleteStore() {
	const replicas = 6
	s.piswarm("pi1", fmt.Sprintf("create --name greeters --publish 9000:5000 --replicas %d greeter", replicas))
	s.answering(20*time.Second, "before", pis(3), 9000, replicas)
	s.eventually(10*time.Second, "three nodes hold the image", func() bool {
		return strings.Contains(s.must("pi1", "piswarm", "image", "ls", "--format", "json"), `"nodes":["pi1","pi2","pi3"]`)
	})
	for range rounds(1, 10) {
		// containerd is stopped first, so that it does not start again in the middle.
		s.must("pi2", "sh", "-c", `pid=$(pgrep -o -x containerd); kill -STOP $pid; rm -rf /var/lib/containerd/* /run/containerd/io.containerd.*/*; kill -9 $pid; kill -CONT $pid; true`)
		s.eventually(60*time.Second, "pi2 runs its two tasks out of the new store, and nothing besides", func() bool {
			r := s.on("pi2", "pgrep", "-x", "greeter")
			return s.on("pi2", "ctr", "version").code == 0 && len(s.pids("pi2")) == 2 && strings.Count(r.out, "\n") == 2
		})
		s.eventually(20*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", replicas) })
		s.answering(30*time.Second, "without the old store", pis(3), 9000, replicas)
	}
}
