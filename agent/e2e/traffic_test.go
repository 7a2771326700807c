package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestExactRoundRobin: 400 sequential connections over four replicas are 100 each, however one asks.
func TestExactRoundRobin(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi2", "create --name greeters --publish 9000:5000 --publish 9000:5000/udp --replicas 4 greeter")
	nodes := map[string]bool{}
	for _, task := range s.tasks("pi3", "greeters") {
		nodes[task.Node] = true
	}
	if len(nodes) != 3 {
		t.Errorf("four tasks are on %d of three nodes", len(nodes))
	}
	s.settled("greeters", 4)

	for _, node := range []string{"pi1", "pi2", "pi3"} {
		s.wantEven("laptop to "+node, s.fetch("laptop", "http://"+node+":9000/", 400), 4, 100)
	}
	s.wantEven("localhost", s.fetch("pi1", "http://localhost:9000/", 400), 4, 100)
	s.wantEven("own address", s.fetch("pi2", "http://192.168.77.12:9000/", 400), 4, 100)
	for i, task := range s.tasks("pi1", "greeters") {
		inside := func(n int, url string) string {
			return s.must(task.Node, "ctr", "-n", "piswarm", "task", "exec", "--exec-id", fmt.Sprintf("get%d%d", i, len(url)), task.ID,
				"/greeter", "get", fmt.Sprint(n), url)
		}
		s.wantEven("by service name in "+task.Node, inside(400, "http://greeters:5000/"), 4, 100)
		s.wantEven("by a node's port in "+task.Node, inside(40, "http://192.168.77.12:9000/"), 4, 10)
	}
	s.wantEven("udp", s.must("laptop", greeter, "get", "400", "udp://pi3:9000"), 4, 100)

	// The client's address is kept, for a task on the node asked and for those on others.
	for _, node := range []string{"pi1", "pi2"} {
		s.wantEven("whoami by "+node, s.fetch("laptop", "http://"+node+":9000/whoami", 40), 1, 40)
		if answer := s.fetch("laptop", "http://"+node+":9000/whoami", 1); strings.TrimSpace(answer) != "192.168.77.2" {
			t.Errorf("a task takes the laptop for %q", answer)
		}
	}

	s.piswarm("pi3", "rm greeters")
	s.eventually(20*time.Second, "no task is left", func() bool { return len(s.tasks("pi1", "")) == 0 })
	for _, node := range []string{"pi1", "pi2", "pi3"} {
		if r := s.on("laptop", "curl", "-sS", "--max-time", "3", "http://"+node+":9000/"); r.code != 7 {
			t.Errorf("%s after rm: curl exits %d, want 7 (refused): %s%s", node, r.code, r.out, r.err)
		}
	}
}

// settled waits until every node leads the service's port to so many backends.
func (s *shelf) settled(service string, replicas int) {
	s.t.Helper()
	for _, h := range s.lab.List() {
		if !strings.HasPrefix(h.Name, "pi") {
			continue
		}
		s.eventually(15*time.Second, h.Name+" answers for all of "+service, func() bool {
			return strings.Count(s.must(h.Name, "iptables-save", "-t", "nat"), "--to-destination 10.77.") >= replicas
		})
	}
}
