package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// skewFile on a node says by how many seconds its agent's wall clock is wrong.
const skewFile = "/etc/piswarm/skew"

// skewProgram is added to the program: it keeps the runtime's clock as wrong as the file says.
const skewProgram = `package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	_ "unsafe"
)

//go:linkname wallSkew runtime.wallSkew
var wallSkew int64

func readSkew() {
	raw, _ := os.ReadFile("` + skewFile + `")
	seconds, _ := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	atomic.StoreInt64(&wallSkew, seconds)
}

func init() {
	readSkew()
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			readSkew()
		}
	}()
}
`

// patch is a change of one file of the Go runtime.
type patch struct{ file, old, new string }

// skewPatches add the skew to what time.Now says, and not to the monotonic clock, which no jump moves.
func skewPatches() []patch {
	const declaration = "import _ \"unsafe\"\n\n//go:linkname wallSkew\nvar wallSkew int64\n"
	if runtime.GOARCH == "amd64" {
		return []patch{
			{"time_linux_amd64.s", "MOVQ\t16(SP), AX\t// realtime sec\n", "MOVQ\t16(SP), AX\n\tADDQ\t·wallSkew(SB), AX\n"},
			{"timeasm.go", "import _ \"unsafe\"\n", declaration},
		}
	}
	return []patch{
		{"timestub.go", "import _ \"unsafe\" // for go:linkname\n", declaration},
		{"timestub.go", "sec, nsec = walltime()\n", "sec, nsec = walltime()\n\tsec += wallSkew\n"},
	}
}

// buildSkewed builds the program with a clock that a file makes wrong. Nothing of its own source is changed.
func buildSkewed(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The Pis have to reach the program, and /tmp is their own.
	work, err := os.MkdirTemp(dir, "skew-")
	if err != nil {
		t.Fatal(err)
	}
	replace, texts := map[string]string{}, map[string]string{}
	for _, p := range skewPatches() {
		path := filepath.Join(strings.TrimSpace(string(root)), "src/runtime", p.file)
		if texts[path] == "" {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(raw)
		}
		if strings.Count(texts[path], p.old) != 1 {
			t.Fatalf("%s of this Go is another: it has no single %q", path, p.old)
		}
		texts[path] = strings.Replace(texts[path], p.old, p.new, 1)
	}
	texts[filepath.Join(module, "agent/cmd/piswarm/skew.go")] = skewProgram
	for path, text := range texts {
		replace[path] = filepath.Join(work, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay, program := filepath.Join(work, "overlay.json"), filepath.Join(work, "piswarm")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := goTool("build", "-overlay", overlay, "-trimpath", "-ldflags", "-s -w", "-o", program, "../cmd/piswarm"); err != nil {
		t.Fatal(err)
	}
	return program
}

// setClock makes a node's agent believe in another time.
func (s *shelf) setClock(node string, now time.Time) {
	s.t.Helper()
	s.must(node, "sh", "-c", fmt.Sprintf("echo %d >%s.new && mv %s.new %s", int64(time.Until(now).Seconds()), skewFile, skewFile, skewFile))
}

// TestClocks: nodes of three centuries' worth of clocks are one cluster, and a jump of ten years disturbs nothing.
func TestClocks(t *testing.T) {
	together(t)
	s := startLabOf(t, 3, trust.NewSecret().Token(), buildSkewed(t))
	s.awaitReady(3)
	const year = 365 * 24 * time.Hour
	boot := time.Unix(1000, 0) // a Pi without a network has no other idea of the time
	// The agents start with wrong clocks and join again.
	for node, now := range map[string]time.Time{"pi1": boot, "pi2": time.Now().Add(10 * year)} {
		s.setClock(node, now)
		s.must(node, "pkill", "-9", "-f", "piswarm agent")
	}
	s.eventually(30*time.Second, "the agents answer", func() bool {
		return s.on("pi1", "piswarm", "status").code == 0 && s.on("pi2", "piswarm", "status").code == 0
	})
	s.awaitReady(3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 3 greeter")
	s.answering(20*time.Second, "1970, 2036 and now", pis(3), 9000, 3)
	for _, task := range s.seen("pi3", "greeters") {
		// Otherwise this test shows nothing.
		if task.Node == "pi1" && task.Since.Year() != 1970 || task.Node == "pi2" && task.Since.Before(time.Now().Add(9*year)) {
			t.Fatalf("%s says that its task began at %s: its clock is not wrong", task.Node, task.Since)
		}
	}
	pids := s.allPIDs()
	k := s.knock("pi1:9000", "pi2:9000", "pi3:9000")
	for range rounds(1, 10) {
		for _, jump := range []struct {
			node string
			to   time.Time
		}{
			{"pi1", time.Now()}, {"pi2", time.Now().Add(-10 * year)}, {"pi3", time.Now().Add(10 * year)}, {"pi1", boot},
		} {
			s.setClock(jump.node, jump.to)
			s.piswarm(jump.node, "scale greeters 4")
			s.eventually(20*time.Second, "four tasks", func() bool { return s.exactly("pi2", "greeters", 4) })
			s.piswarm("pi1", "scale greeters 3")
			s.eventually(20*time.Second, "three tasks", func() bool { return s.exactly("pi3", "greeters", 3) })
		}
		for _, n := range s.status("pi2").Nodes {
			if n.State != "ready" {
				t.Errorf("after the jumps %s is %s", n.Name, n.State)
			}
		}
	}
	k.wantNone("jumps of ten years")
	if after := s.allPIDs(); strings.Join(after, " ") != strings.Join(pids, " ") {
		t.Errorf("processes of containers before the jumps %v, after them %v", pids, after)
	}
	// A node that comes back thinks that it is 1970 again.
	s.powerOff("pi3")
	s.powerOn("pi3")
	s.setClock("pi3", boot)
	s.awaitReady(3)
	s.eventually(60*time.Second, "exactly three tasks", func() bool { return s.exactly("pi3", "greeters", 3) })
	s.answering(20*time.Second, "after a power cut", pis(3), 9000, 3)
	s.alike(10*time.Second, "in the end", pis(3))
}
