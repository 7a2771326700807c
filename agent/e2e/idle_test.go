package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestIdle: with two services and nothing to do, the agent writes no file, starts no process and sleeps.
func TestIdle(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	s.piswarm("pi2", "create --name others --publish 9001:5000 --replicas 3 greeter")
	time.Sleep(5 * time.Second) // the last save and the first comparison of digests are over
	const span = 60 * time.Second
	before := map[string]agentUse{}
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		before[n] = s.agentUse(n)
	}
	time.Sleep(span)
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		a, b := before[n], s.agentUse(n)
		if a.pid != b.pid {
			t.Errorf("%s: the agent was restarted", n)
		}
		if a.written != b.written {
			t.Errorf("%s: the agent wrote %d bytes to files", n, b.written-a.written)
		}
		if a.files != b.files {
			t.Errorf("%s: files changed:\n%s\nthen\n%s", n, a.files, b.files)
		}
		if a.children != b.children {
			t.Errorf("%s: the agent's children used %d ticks: it started processes", n, b.children-a.children)
		}
		cpu := float64(b.ticks-a.ticks) / 100 / span.Seconds()
		t.Logf("%s: CPU %.2f %% of a core (promised: 1 %%), PSS %.1f MB (promised: 25 MB)", n, 100*cpu, float64(b.pss)/1024)
		if cpu > 0.04 {
			t.Errorf("%s: the agent used %.1f %% of a core", n, 100*cpu)
		}
		if b.pss > 40*1024 {
			t.Errorf("%s: the agent holds %d kB", n, b.pss)
		}
	}
}

// agentUse is what the agent of a node has used so far.
type agentUse struct {
	pid             string
	ticks, children int // of processor time, 100 a second; of processes that it started and that ended
	written, pss    int // bytes to block devices, kilobytes
	files           string
}

func (s *shelf) agentUse(node string) agentUse {
	s.t.Helper()
	u := agentUse{pid: strings.TrimSpace(s.must(node, "pgrep", "-o", "-f", "piswarm agent"))}
	stat := s.must(node, "cat", "/proc/"+u.pid+"/stat")
	f := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	u.ticks = number(s.t, f[11]) + number(s.t, f[12])
	u.children = number(s.t, f[13]) + number(s.t, f[14])
	u.written = number(s.t, field(s.must(node, "cat", "/proc/"+u.pid+"/io"), "write_bytes:"))
	u.pss = number(s.t, field(s.must(node, "cat", "/proc/"+u.pid+"/smaps_rollup"), "Pss:"))
	u.files = s.must(node, "find", "/var/lib/piswarm", "-type", "f", "-printf", "%p %s %T@\n")
	return u
}

func field(text, name string) string {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	return fmt.Sprintf("no %s", name)
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
