package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestStranger: nothing that comes over the LAN from somebody without the secret changes anything, keeps a request of
// anybody's from being answered, or costs more than a little while it lasts.
func TestStranger(t *testing.T) {
	const (
		mostMemory = 16 << 10 // kB that an agent may grow by
		idleCPU    = 0.04     // of a core, as in TestIdle
	)
	nodes := []string{"pi1", "pi2", "pi3"}
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")

	// Somebody records what changes make the nodes say, among it how a service comes and goes.
	tape := s.record()
	s.piswarm("pi1", "create --name doomed --replicas 3 greeter")
	s.piswarm("pi2", "scale greeters=5")
	s.piswarm("pi3", "node update --label-add room=kitchen pi2")
	s.piswarm("pi2", "rm doomed")
	s.piswarm("pi1", "scale greeters=4")
	s.piswarm("pi1", "node update --label-rm room pi2")
	s.must("pi3", "kill", "-9", s.agentUse("pi3").pid) // when it is back, it joins the others by streams
	s.awaitReady(3)
	s.eventually(30*time.Second, "the tasks are those of one service", func() bool { return len(s.tasks("pi1", "")) == 4 })
	time.Sleep(2 * time.Second)
	said := tape.end()
	t.Logf("recorded: %d packets and %d streams of the gossip", len(said.Packets), len(said.Streams))
	if len(said.Packets) < 100 || len(said.Streams) < 2 {
		t.Errorf("too little of the gossip was heard")
	}

	before := live(s.alike(10*time.Second, "all hold the same", nodes))
	use := map[string]agentUse{}
	for _, n := range nodes {
		use[n] = s.agentUse(n)
	}
	knocks := s.knock("pi1:9000", "pi2:9000")
	lasts := span(12*time.Second, 10*time.Minute)
	report := s.strange(said, lasts)
	most := map[string]int{}
	for deadline := time.Now().Add(lasts); time.Now().Before(deadline); time.Sleep(2 * time.Second) {
		for _, n := range nodes {
			most[n] = max(most[n], s.agentUse(n).pss)
		}
	}
	told := <-report
	knocks.wantNone("while a stranger tried everything")
	t.Logf("the stranger: %s", told.text)
	if told.Answered > 0 || told.Members > 0 {
		t.Errorf("the stranger was answered: %s", told.text)
	}
	for _, what := range told.idle() {
		t.Errorf("the stranger never came to %s: %s", what, told.text)
	}

	if after := live(s.alike(10*time.Second, "all hold the same", nodes)); after != before {
		t.Errorf("the records were\n%s\nand are\n%s", before, after)
	}
	for _, n := range nodes {
		var listed []string
		for _, m := range s.status(n).Nodes {
			listed = append(listed, m.Name+" "+string(m.State))
		}
		if got := strings.Join(listed, ", "); got != "pi1 ready, pi2 ready, pi3 ready" {
			t.Errorf("%s lists %s", n, got)
		}
		if got := s.must(n, "piswarm", "ls", "-q"); len(strings.Fields(got)) != 1 {
			t.Errorf("%s has the services %s", n, got)
		}
	}
	// Connections that say nothing may last for some seconds yet.
	time.Sleep(12 * time.Second)
	rest := map[string]agentUse{}
	for _, n := range nodes {
		rest[n] = s.agentUse(n)
	}
	const quiet = 10 * time.Second
	time.Sleep(quiet)
	for _, n := range nodes {
		a, b, c := use[n], rest[n], s.agentUse(n)
		cpu := float64(c.ticks-b.ticks) / 100 / quiet.Seconds()
		t.Logf("%s: PSS %.1f MB before, %.1f MB at most, %.1f MB after; CPU %.0f %% of a core meanwhile, %.1f %% after", n, mb(a.pss), mb(most[n]), mb(c.pss),
			100*float64(b.ticks-a.ticks)/100/(lasts+12*time.Second).Seconds(), 100*cpu)
		if a.pid != c.pid {
			t.Errorf("%s: the agent was restarted", n)
		}
		if grown := most[n] - a.pss; grown > mostMemory {
			t.Errorf("%s: the agent grew by %d kB", n, grown)
		}
		if cpu > idleCPU {
			t.Errorf("%s: the agent still uses %.1f %% of a core", n, 100*cpu)
		}
		s.wantShortLog(n, 10+int(lasts/time.Minute))
	}
}

// live leaves out what is deleted: that it is may be forgotten at any time.
func live(records string) string {
	var out strings.Builder
	for line := range strings.Lines(records) {
		if !strings.Contains(line, `"deleted":true`) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func mb(kb int) float64 { return float64(kb) / 1024 }

// wantShortLog checks that the agent had no more to say of strangers than so many lines.
func (s *shelf) wantShortLog(node string, most int) {
	s.t.Helper()
	path, err := s.lab.LogFile(node, "agent")
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "memberlist") || strings.Contains(line, lanLaptop) {
			n++
		}
	}
	s.t.Logf("%s: %d lines of log, %d of them about strangers", node, strings.Count(string(raw), "\n"), n)
	if n > most {
		s.t.Errorf("%s logged %d lines about strangers, want at most %d", node, n, most)
	}
}

// lanLaptop is the laptop's address.
const lanLaptop = "192.168.77.2"

// strange has a stranger on the laptop do its worst for a time, and tells how that went.
func (s *shelf) strange(said recording, lasts time.Duration) <-chan toldStranger {
	s.t.Helper()
	plan := strangerPlan{Lasts: lasts, Said: said, Cluster: s.clusterID()}
	for _, h := range s.lab.List() {
		if h.Name != lab.LaptopName {
			plan.Targets = append(plan.Targets, h.Address)
		}
	}
	raw, err := json.Marshal(plan)
	if err != nil {
		s.t.Fatal(err)
	}
	// The hosts have a /tmp of their own.
	file, program := filepath.Join(dir, fmt.Sprintf("plan-%d", time.Now().UnixNano())), s.self()
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan toldStranger, 1)
	go func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), lasts+time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		code, err := s.lab.Exec(ctx, lab.LaptopName, []string{program, strangerArg, file}, lab.Stdio{Out: &out, Err: &errs})
		told := toldStranger{text: strings.TrimSpace(out.String())}
		if err != nil || code != 0 || json.Unmarshal(out.Bytes(), &told) != nil {
			told.text = fmt.Sprintf("%s\nexit %d, %v: %s", out.String(), code, err, errs.String())
		}
		done <- told
	}()
	return done
}

// clusterID is what anybody can read in the mDNS answers.
func (s *shelf) clusterID() string {
	s.t.Helper()
	return strings.Split(strings.TrimSpace(s.must("pi1", "piswarm", "token")), "-")[2]
}

// idle names what a stranger came to not once.
func (t toldStranger) idle() (all []string) {
	for name, n := range t.Done {
		if n == 0 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	if len(t.Done) == 0 {
		return []string{"anything"}
	}
	return all
}
