package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestUpgrade: all nodes get another piswarm while they are asked, and nobody notices; one that is no good does no harm.
func TestUpgrade(t *testing.T) {
	t.Run("all", upgradeAll)
	if soak() {
		t.Run("an older one", upgradeFromOlder)
	}
}

func upgradeAll(t *testing.T) {
	s := startLabOf(t, 3, "", exchangeable(t))
	s.piswarm("pi1", "init")
	token := s.token("pi1")
	s.join("pi2", token)
	s.join("pi3", token)
	s.awaitReady(3)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 5 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 5)
	t.Run("under load", func(t *testing.T) { s.of(t).upgradeUnderLoad() })
	t.Run("no program", func(t *testing.T) { s.of(t).upgradeToNothing() })
	if soak() {
		t.Run("an agent that dies", func(t *testing.T) { s.of(t).upgradeToDeath() })
		t.Run("power cut", func(t *testing.T) { s.of(t).upgradeAndCut() })
	}
}

// exchangeable is a program for hosts on which the agent's file may be exchanged: each has a copy of its own, where the lab
// itself gives all of them one.
func exchangeable(t *testing.T) string { return exchangeableFrom(t, binary) }

func exchangeableFrom(t *testing.T, program string) string {
	t.Helper()
	script := strings.NewReplacer("LAB", binary, "REAL", program).Replace(`#!/bin/sh
[ "$1" != lab ] || exec LAB "$@"
own=/opt/piswarm/piswarm
[ "$1" != agent ] || [ -x $own ] || { mkdir -p /opt/piswarm; cp REAL $own.part; mv $own.part $own; }
[ ! -x $own ] || exec $own "$@"
exec REAL "$@"
`)
	path := filepath.Join(dir, "piswarm-exchangeable")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// release makes a directory that the hosts see with one program in it, as it would be released for this machine.
func release(t *testing.T, fill func(path string)) string {
	t.Helper()
	at, err := os.MkdirTemp(dir, "release-")
	if err != nil {
		t.Fatal(err)
	}
	fill(filepath.Join(at, "piswarm-linux-"+runtime.GOARCH))
	return at
}

// build makes this piswarm under another version.
func build(t *testing.T, version string) func(path string) {
	return func(path string) {
		t.Helper()
		flags := "-s -w -X github.com/piswarm/piswarm/agent.Version=" + version
		if err := goTool("build", "-trimpath", "-ldflags", flags, "-o", path, "../cmd/piswarm"); err != nil {
			t.Fatal(err)
		}
	}
}

// script makes a program of shell.
func script(t *testing.T, text string) func(path string) {
	return func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// versions are those of the agents of all nodes, as one of them sees it.
func (s *shelf) versions(on string) (all []string) {
	s.t.Helper()
	for _, n := range pis(3) {
		all = append(all, strings.TrimSpace(s.piswarm(on, "node inspect --format {{.Description.Version}} "+n)))
	}
	return all
}

func (s *shelf) upgradeUnderLoad() {
	t := s.t
	from := release(t, build(t, "2.0.0"))
	before := s.allPIDs()
	s.under("upgrade", func() {
		began := time.Now()
		said := s.piswarm("pi2", "upgrade --from "+from)
		t.Logf("upgrade of three nodes: %.1f s\n%s", time.Since(began).Seconds(), said)
		var order []string
		for line := range strings.Lines(said) {
			if name, _, ok := strings.Cut(line, ": upgraded from "); ok {
				order = append(order, name)
			}
		}
		if want := []string{"pi1", "pi3", "pi2"}; !slices.Equal(order, want) {
			t.Errorf("upgraded in the order %v, want %v", order, want)
		}
	})
	if after := s.allPIDs(); !slices.Equal(before, after) {
		t.Errorf("containers were %v and are %v", before, after)
	}
	if got := s.versions("pi1"); !slices.Equal(got, []string{"2.0.0", "2.0.0", "2.0.0"}) {
		t.Errorf("versions are %v", got)
	}
	if said := s.piswarm("pi1", "upgrade --from "+from); strings.Count(said, "has it already") != 3 {
		t.Errorf("a second time: %s", said)
	}
	for _, n := range pis(3) {
		if left := strings.Fields(s.must(n, "ls", "/var/lib/piswarm/upgrade")); !slices.Equal(left, []string{"lock", "state.json"}) {
			t.Errorf("%s keeps %v", n, left)
		}
	}
}

// upgradeToNothing: what does not run here is not even tried in the agent's place.
func (s *shelf) upgradeToNothing() {
	s.t.Helper()
	agent := s.must("pi1", "pgrep", "-f", "piswarm agent$")
	said := s.ended(2, "pi2", "upgrade --from "+release(s.t, script(s.t, "echo Exec format error >&2; exit 126\n")))
	for _, want := range []string{"pi1: it is back at 2.0.0", "does not run on this machine", "not touched: pi3, pi2"} {
		if !strings.Contains(said, want) {
			s.t.Errorf("it says %q, without %q", said, want)
		}
	}
	if now := s.must("pi1", "pgrep", "-f", "piswarm agent$"); now != agent {
		s.t.Errorf("the agent was %s and is %s", agent, now)
	}
}

// upgradeToDeath: an agent that does not live is taken back.
func (s *shelf) upgradeToDeath() {
	t := s.t
	said := s.ended(2, "pi2", "upgrade --from "+release(t, script(t, `case "$1" in version) echo '{"client":{"version":"3.0.0"}}';; *) exit 1;; esac`+"\n")))
	t.Log(said)
	for _, want := range []string{"pi1: it is back at 2.0.0", "does not answer", "not touched: pi3, pi2"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says %q, without %q", said, want)
		}
	}
	s.awaitReady(3)
	if got := s.versions("pi3"); !slices.Equal(got, []string{"2.0.0", "2.0.0", "2.0.0"}) {
		t.Errorf("versions are %v", got)
	}
	s.answering(20*time.Second, "after it", pis(3), 9000, 5)
}

// upgradeAndCut: the power goes at whatever moment of the exchange, and it is finished when the power is back.
func (s *shelf) upgradeAndCut() {
	t := s.t
	for round := range 6 {
		version := fmt.Sprintf("4.%d.0", round)
		from := release(t, build(t, version))
		done := make(chan string, 1)
		other := s.of(t)
		go func() { done <- other.late("pi2", "piswarm", "upgrade", "--from", from) }()
		s.eventually(20*time.Second, "the node has its order", func() bool {
			return s.on("pi1", "test", "-e", "/var/lib/piswarm/upgrade/order.json").code == 0
		})
		time.Sleep(time.Duration(round) * 700 * time.Millisecond)
		s.powerOff("pi1")
		s.powerOn("pi1")
		if said := <-done; !strings.Contains(said, "exit 0") {
			t.Errorf("round %d: %s", round, said)
		}
		s.awaitReady(3)
		if got := s.versions("pi3"); !slices.Equal(got, []string{version, version, version}) {
			t.Errorf("versions are %v, want %s", got, version)
		}
	}
	s.answering(60*time.Second, "after it", pis(3), 9000, 5)
}

// late runs a command that may take long and fail, and returns all that it says.
func (s *shelf) late(host string, argv ...string) string {
	var out strings.Builder
	code, err := s.lab.Exec(s.t.Context(), host, argv, lab.Stdio{Out: &out, Err: &out})
	return fmt.Sprint(out.String(), "exit ", code, " ", err)
}

// upgradeFromOlder: nodes of an older piswarm and of this one are one cluster, and those of the older one become this one with
// what they have on disk. The older one is built from the commit that oldest names, out of the history of the sources, which
// not every copy of them has.
func upgradeFromOlder(t *testing.T) {
	old := os.Getenv("PISWARM_OLD") // a program, to try another one
	if old == "" {
		old = buildCommit(t, oldest)
	}
	s := startLabOf(t, 3, "", exchangeableFrom(t, old))
	s.piswarm("pi1", "init")
	token := s.token("pi1")
	s.join("pi2", token)
	s.join("pi3", token)
	s.awaitReady(3)
	s.load("pi1")
	s.piswarm("pi1", "create --name older --publish 9000:5000 --replicas 6 greeter")
	s.answering(20*time.Second, "all old", pis(3), 9000, 6)
	s.replaceProgram("pi2", binary)
	s.awaitReady(3)
	s.piswarm("pi2", "create --name newer --publish 9001:5000 --replicas 6 greeter")
	s.answering(20*time.Second, "mixed", pis(3), 9000, 6)
	s.answering(20*time.Second, "mixed", pis(3), 9001, 6)
	s.piswarm("pi2", "scale older 4")
	s.piswarm("pi3", "scale newer 5")
	s.answering(30*time.Second, "scaled by the other", pis(3), 9000, 4)
	s.answering(30*time.Second, "scaled by the other", pis(3), 9001, 5)
	s.alike(20*time.Second, "the state is the same on all", pis(3))
	before := s.allPIDs()
	var after []string
	s.under("upgrade by hand", func() {
		for _, n := range []string{"pi1", "pi3"} {
			s.replaceProgram(n, binary)
			time.Sleep(5 * time.Second)
		}
		after = s.allPIDs() // later, when the nodes have been back for a while, one may get a task of another
	})
	if !slices.Equal(before, after) {
		t.Errorf("containers were %v and are %v", before, after)
	}
	s.answering(20*time.Second, "all new", pis(3), 9000, 4)
	s.piswarm("pi3", "rm older newer")
}

// oldest is the commit whose nodes still understand those of today, in either direction: what is changed in what nodes say to one
// another, or keep on disk, is changed so that it stays this one, until a release says otherwise.
const oldest = "22d1c58d8127ad356b028f531c44c09ce09ef7dd"

// buildCommit builds the program of another commit.
func buildCommit(t *testing.T, commit string) string {
	t.Helper()
	from, program := t.TempDir(), filepath.Join(dir, "piswarm-"+commit)
	for _, line := range []string{
		"git -C ../.. archive " + commit + " | tar -x -C " + from,
		"cd " + from + " && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o " + program + " ./agent/cmd/piswarm",
	} {
		if out, err := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	return program
}

// replaceProgram gives a node another program, as a person does by hand.
func (s *shelf) replaceProgram(node, program string) {
	s.t.Helper()
	s.must(node, "sh", "-c", "cp "+program+" /opt/piswarm/next && mv /opt/piswarm/next /opt/piswarm/piswarm && pkill -INT -f 'piswarm agent$'")
	s.eventually(20*time.Second, node+" runs it", func() bool { return s.on(node, "piswarm", "version").code == 0 })
}
