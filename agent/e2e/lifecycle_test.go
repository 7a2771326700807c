package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestKilledContainerComesBack: `make bench` measures how soon; here it has ten times as long.
func TestKilledContainerComesBack(t *testing.T) {
	s := newShelf(t, 2)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	for range 3 {
		victim := s.tasks("pi1", "greeters")[0]
		pid := s.pids(victim.Node)[victim.ID]
		s.must(victim.Node, "kill", "-9", pid)
		s.eventually(10*time.Second, "a new process runs the task", func() bool {
			now := s.pids(victim.Node)[victim.ID]
			return now != "" && now != pid
		})
		s.eventually(10*time.Second, "3/3 again", func() bool { return s.running("pi2", "greeters") == 3 })
	}
	s.settled("greeters", 3)
	s.wantEven("after the kills", s.fetch("laptop", "http://pi2:9000/", 30), 3, 10)
}

// TestAgentKilled: containers keep their processes and no request of a running load fails.
func TestAgentKilled(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	s.settled("greeters", 4)
	before := s.allPIDs()
	for _, node := range []string{"pi1", "pi2", "pi3"} {
		l := s.wrk(node+":9000", false)
		time.Sleep(time.Second) // let the load get going
		s.must(node, "pkill", "-9", "-f", "^piswarm agent|/piswarm agent")
		time.Sleep(5 * time.Second) // by then it has long been back
		s.wantNone("kill -9 of the agent of "+node, l, 1000)
		s.awaitReady(3)
		s.eventually(20*time.Second, "4/4 seen from "+node, func() bool { return s.running(node, "greeters") == 4 })
	}
	if after := s.allPIDs(); !slices.Equal(before, after) {
		t.Errorf("processes of containers before %v, after %v", before, after)
	}
}

// TestPowerOff: what was on a Pi that lost its power runs on the others soon, and comes back to a Pi that does.
func TestPowerOff(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	if err := s.lab.PowerOff("pi3"); err != nil {
		t.Fatal(err)
	}
	s.eventually(30*time.Second, "3/3 on two Pis", func() bool {
		return s.running("pi1", "greeters") == 3 && s.running("pi2", "greeters") == 3
	})
	s.eventually(10*time.Second, "no request is lost any more", func() bool {
		return s.on("laptop", "curl", "-sS", "--fail", "--max-time", "1", "-H", "Connection: close", "http://pi1:9000/?[1-12]").code == 0
	})
	if err := s.lab.PowerOn(t.Context(), "pi3"); err != nil {
		t.Fatal(err)
	}
	s.awaitReady(3)
	s.eventually(20*time.Second, "exactly 3 tasks everywhere", func() bool {
		return len(s.tasks("pi3", "greeters")) == 3 && s.running("pi3", "greeters") == 3
	})
	s.settled("greeters", 3)
	s.wantEven("pi3 after its return", s.fetch("laptop", "http://pi3:9000/", 30), 3, 10)
}

// TestAllPowerOff: after a power cut of the whole shelf everything is back by itself.
func TestAllPowerOff(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	placed := func(host string) (all []string) {
		for _, task := range s.tasks(host, "greeters") {
			all = append(all, task.ID+" on "+task.Node)
		}
		return all
	}
	before := placed("pi1")
	nodes := []string{"pi1", "pi2", "pi3"}
	for _, n := range nodes {
		if err := s.lab.PowerOff(n); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"pi2", "pi3", "pi1"} {
		if err := s.lab.PowerOn(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitReady(3)
	s.eventually(30*time.Second, "4/4 again", func() bool { return s.running("pi1", "greeters") == 4 })
	if after := placed("pi1"); !slices.Equal(before, after) {
		t.Errorf("tasks before the cut %v, after it %v", before, after)
	}
}

// TestLossyWiFi: with one packet in ten lost in each direction, create, scale and rm end in the right state.
func TestLossyWiFi(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		if err := s.lab.Loss(t.Context(), n, 10); err != nil {
			t.Fatal(err)
		}
	}
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	s.piswarm("pi2", "scale greeters 6")
	s.piswarm("pi3", "scale greeters 2")
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		s.eventually(60*time.Second, "two tasks as "+n+" sees it", func() bool {
			return len(s.tasks(n, "greeters")) == 2 && s.running(n, "greeters") == 2
		})
	}
	s.piswarm("pi2", "rm greeters")
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		s.eventually(60*time.Second, "nothing is left as "+n+" sees it", func() bool {
			return len(s.tasks(n, "")) == 0 && len(s.status(n).Services) == 0
		})
	}
}

// TestGlobalAndPlacement: one task on every node, and one where a label says.
func TestGlobalAndPlacement(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi2")
	s.piswarm("pi1", "create --name everywhere --mode global greeter")
	s.piswarm("pi3", "node update --label-add room=kitchen pi2")
	s.piswarm("pi1", "create --name kitchen --replicas 2 --constraint node.labels.room==kitchen greeter")
	for _, task := range s.tasks("pi1", "kitchen") {
		if task.Node != "pi2" {
			t.Errorf("a task for the kitchen is on %s", task.Node)
		}
	}
	if got := nodesOf(s.tasks("pi2", "everywhere")); !slices.Equal(got, []string{"pi1", "pi2", "pi3"}) {
		t.Errorf("the global service is on %v", got)
	}
	r := s.on("pi1", "piswarm", "create", "--name", "attic", "--constraint", "node.labels.room==attic", "greeter")
	if r.code != 2 || !strings.Contains(r.err, "constraint") {
		t.Errorf("a service that fits nowhere: exit %d, %q", r.code, r.err)
	}
	s.piswarm("pi1", "node update --label-add room=attic pi3")
	s.eventually(10*time.Second, "the pending task is placed", func() bool { return s.running("pi1", "attic") == 1 })
}

// TestInitAndJoin: nodes without a token are told by hand.
func TestInitAndJoin(t *testing.T) {
	s := startLab(t, 3, "")
	if r := s.on("pi1", "piswarm", "status"); r.code != 1 || !strings.Contains(r.err, "piswarm init") {
		t.Errorf("status before init: exit %d, %q", r.code, r.err)
	}
	s.piswarm("pi1", "init --name workshop --pool 10.99.0.0/16")
	token := strings.TrimSpace(s.piswarm("pi1", "token"))
	s.piswarm("pi2", "join --token "+token)
	// Where mDNS does not reach, the address that is named is enough.
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		s.must("pi3", "iptables", "-w", "-I", chain, "-d", "224.0.0.251", "-j", "DROP")
	}
	s.piswarm("pi3", "join --token "+token+" 192.168.77.12")
	s.awaitReady(3)
	if st := s.status("pi3"); st.Cluster != "workshop" || len(st.Nodes) != 3 {
		t.Errorf("pi3 sees cluster %q of %d nodes", st.Cluster, len(st.Nodes))
	}
	s.load("pi2")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	for _, task := range s.tasks("pi1", "greeters") {
		if !strings.HasPrefix(task.Address, "10.99.") {
			t.Errorf("task %s has address %s, which is not of the pool", task.ID, task.Address)
		}
	}
	s.piswarm("pi3", "leave")
	s.eventually(20*time.Second, "its task runs elsewhere", func() bool {
		return s.running("pi1", "greeters") == 3 && !slices.Contains(nodesOf(s.tasks("pi1", "greeters")), "pi3")
	})
	if rules := s.must("pi3", "iptables-save"); strings.Contains(rules, "PISWARM") {
		t.Errorf("leave left rules:\n%s", rules)
	}
	if links := s.must("pi3", "ip", "-o", "link"); strings.Contains(links, "piswarm0") {
		t.Errorf("leave left links:\n%s", links)
	}
	if got := s.pids("pi3"); len(got) != 0 {
		t.Errorf("leave left containers: %v", got)
	}
}

func nodesOf(tasks []client.Task) (nodes []string) {
	for _, task := range tasks {
		nodes = append(nodes, task.Node)
	}
	slices.Sort(nodes)
	return nodes
}

func (s *shelf) running(host, service string) (n int) {
	for _, task := range s.tasks(host, service) {
		if task.State == cluster.Running && task.Desired == cluster.Running {
			n++
		}
	}
	return n
}

// pids are the processes of a node's containers, by task.
func (s *shelf) pids(node string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(s.must(node, "ctr", "-n", "piswarm", "task", "ls")) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "RUNNING" {
			all[f[0]] = f[1]
		}
	}
	return all
}

func (s *shelf) allPIDs() (all []string) {
	for _, h := range s.lab.List() {
		if !strings.HasPrefix(h.Name, "pi") {
			continue
		}
		for task, pid := range s.pids(h.Name) {
			all = append(all, h.Name+" "+task+" "+pid)
		}
	}
	slices.Sort(all)
	return all
}
