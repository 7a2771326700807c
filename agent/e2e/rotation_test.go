package e2e

import (
	"encoding/base32"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestRotation: the cluster's secret is changed while it is asked, and nobody notices but who is to.
func TestRotation(t *testing.T) {
	together(t)
	s := startLab(t, 4, "")
	s.piswarm("pi1", "init")
	first := s.token("pi1")
	for _, n := range []string{"pi2", "pi3"} {
		s.join(n, first)
	}
	s.awaitReady(3)
	s.load("pi1")
	t.Run("under load", func(t *testing.T) { s.of(t).rotateUnderLoad(first) })
	t.Run("a node off", func(t *testing.T) { s.of(t).rotateWithoutOne() })
	t.Run("driver killed", func(t *testing.T) { s.of(t).killDriver() })
	t.Run("removed node", func(t *testing.T) { s.of(t).removeForGood() })
}

// of is the same shelf for another test.
func (s *shelf) of(t *testing.T) *shelf { return &shelf{t: t, lab: s.lab} }

func (s *shelf) token(node string) string {
	s.t.Helper()
	return strings.TrimSpace(s.piswarm(node, "token"))
}

// enter runs piswarm join with a token that no list of processes shows.
func (s *shelf) enter(node, token string, addresses ...string) result {
	s.t.Helper()
	return s.feed([]byte(token+"\n"), node, append([]string{"piswarm", "join", "--token-file", "-"}, addresses...)...)
}

func (s *shelf) join(node, token string) {
	s.t.Helper()
	if r := s.enter(node, token); r.code != 0 {
		s.t.Fatalf("%s does not join: %s", node, r.err)
	}
}

// rotate changes the token, with a node as the driver, and returns the new one and what else was said.
func (s *shelf) rotate(driver string) (token, said string) {
	s.t.Helper()
	r := s.on(driver, "piswarm", "token", "rotate")
	if r.code != 0 {
		s.t.Fatalf("token rotate on %s: exit %d\n%s", driver, r.code, r.err)
	}
	return strings.TrimSpace(r.out), r.err
}

// goBy checks that those nodes go by the token, and hold no other.
func (s *shelf) goBy(token string, nodes ...string) {
	s.t.Helper()
	for _, n := range nodes {
		s.eventually(20*time.Second, n+" goes by the new token alone", func() bool {
			held := s.must(n, "cat", "/var/lib/piswarm/cluster.json")
			return s.token(n) == token && strings.Contains(held, token) && !strings.Contains(held, `"other"`)
		})
	}
}

func (s *shelf) rotateUnderLoad(first string) {
	t := s.t
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 6 greeter")
	s.answering(20*time.Second, "before", pis(3), 9000, 6)
	before := s.allPIDs()
	if r := s.feed([]byte("sealed with the first token"), "pi1", "piswarm", "secret", "create", "db", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	capture := "/tmp/rotation.pcap"
	s.must("pi2", "sh", "-c", "tcpdump -q -i any -s 0 -w "+capture+" not port 9000 >/tmp/tcpdump.log 2>&1 & echo $! >/tmp/tcpdump.pid; sleep 1")
	var token string
	s.under("rotation", func() {
		began := time.Now()
		var said string
		token, said = s.rotate("pi2")
		t.Logf("token rotate: %.1f s\n%s", time.Since(began).Seconds(), said)
		for _, n := range pis(3) {
			if !strings.Contains(said, n) {
				t.Errorf("%s is not named", n)
			}
		}
		for range 10 { // nobody loses sight of anybody
			for _, n := range pis(3) {
				for _, seen := range s.status(n).Nodes {
					if seen.State != cluster.Ready {
						t.Errorf("%s sees %s %s", n, seen.Name, seen.State)
					}
				}
			}
		}
	})
	if token == first {
		t.Error("the token is as before")
	}
	s.goBy(token, pis(3)...)
	if after := s.allPIDs(); !slices.Equal(before, after) {
		t.Errorf("containers were %v and are %v", before, after)
	}
	s.piswarm("pi3", "create --name sealed --mode global --secret db greeter") // what was sealed before is open to all
	s.piswarm("pi3", "rm sealed")
	s.must("pi2", "sh", "-c", "kill $(cat /tmp/tcpdump.pid); sleep 1; test -s "+capture)
	for _, secret := range []string{first, token} {
		s.unheard(secret, "pi2", capture)
		s.untold(secret)
	}

	// An old token in a node's configuration, as the SD card has it, keeps nobody from starting.
	s.must("pi3", "sh", "-c", fmt.Sprintf("umask 077; mkdir -p /etc/piswarm; echo 'token = \"%s\"' >/etc/piswarm/piswarm.toml", first))
	s.must("pi3", "sh", "-c", "kill -9 $(pgrep -o -f '^piswarm agent|/piswarm agent')")
	s.eventually(20*time.Second, "pi3 is up again", func() bool { return s.on("pi3", "piswarm", "status").code == 0 })
	s.must("pi3", "rm", "/etc/piswarm/piswarm.toml")
	s.awaitReady(3)

	wantOneLine(t, "the old token", s.enter("pi4", first), "was changed since")
	wantOneLine(t, "the old token, by address", s.enter("pi4", first, "192.168.77.11"), "another cluster")
	s.join("pi4", token)
	s.awaitReady(4)
}

// unheard checks that a capture of all that a node sent and received has a secret neither as people write it nor as it is.
func (s *shelf) unheard(token, node, capture string) {
	s.t.Helper()
	root, err := s.lab.Root(node)
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, capture))
	if err != nil {
		s.t.Fatal(err)
	}
	text := token[strings.LastIndex(token, "-")+1:]
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(text))
	if err != nil || len(secret) != 32 {
		s.t.Fatalf("%d bytes, %v", len(secret), err)
	}
	if strings.Contains(strings.ToLower(string(raw)), text) || strings.Contains(string(raw), string(secret)) {
		s.t.Error("a secret went over the wire in clear")
	}
	s.t.Logf("%s was heard: %d bytes", node, len(raw))
}

// untold checks that a node tells the secret to nobody but who asks for the token, and that its files are its own.
func (s *shelf) untold(token string) {
	s.t.Helper()
	text := token[strings.LastIndex(token, "-")+1:]
	for _, n := range pis(3) {
		script := `piswarm status; piswarm status --format json; piswarm node ls --format json; piswarm node inspect $(piswarm node ls -q)
			piswarm inspect greeters; piswarm ps --format json; piswarm doctor 2>&1; piswarm version
			cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n'`
		if told := s.must(n, "sh", "-c", script+"; true"); strings.Contains(strings.ToLower(told), text) {
			s.t.Errorf("%s tells the secret", n)
		}
		path, err := s.lab.LogFile(n, "agent")
		if err != nil {
			s.t.Fatal(err)
		}
		if raw, err := os.ReadFile(path); err != nil || strings.Contains(strings.ToLower(string(raw)), text) {
			s.t.Errorf("the log of %s: %v, or it tells the secret", n, err)
		}
		for path := range strings.Lines(s.must(n, "sh", "-c", "grep -rlaiF -D skip "+text+" /var/lib/piswarm /run /etc /tmp /var/log || true")) {
			if strings.TrimSpace(path) != "/var/lib/piswarm/cluster.json" {
				s.t.Errorf("the secret is in %s on %s", strings.TrimSpace(path), n)
			}
		}
		if open := s.must(n, "find", "/var/lib/piswarm", "-path", "*/volumes", "-prune", "-o", "-type", "f", "-perm", "/077", "-print"); open != "" {
			s.t.Errorf("others may read, on %s: %s", n, open)
		}
	}
}

// rotateWithoutOne: who was off learns it, says so, and comes back as who it was.
func (s *shelf) rotateWithoutOne() {
	t := s.t
	id := s.node("pi1", "pi3").ID
	old := s.token("pi1")
	s.powerOff("pi3")
	s.eventually(20*time.Second, "pi3 is down", func() bool { return s.node("pi1", "pi3").ID == "" })
	token, said := s.rotate("pi1")
	if !strings.Contains(said, "in need of the new token (piswarm join on each): pi3\n") {
		t.Errorf("it said %s", said)
	}
	s.goBy(token, "pi1", "pi2", "pi4")
	s.powerOn("pi3")
	s.eventually(40*time.Second, "pi3 says that it needs the new token", func() bool {
		return strings.Contains(s.on("pi3", "piswarm", "status", "--format", "json").out, "the token was changed while this node was off")
	})
	s.eventually(40*time.Second, "pi3 runs containers meanwhile", func() bool { return s.running("pi3", "greeters") > 0 })
	if got := s.token("pi3"); got != old {
		t.Error("pi3 has another token than before")
	}
	if r := s.enter("pi3", trust.NewSecret().Token()); r.code == 0 || !strings.Contains(r.err, "in a cluster already") {
		t.Errorf("a token of another cluster: exit %d, %s", r.code, r.err)
	}
	s.join("pi3", token)
	s.awaitReady(4)
	if got := s.node("pi1", "pi3").ID; got != id {
		t.Errorf("pi3 was %s and is %s", id, got)
	}
	s.goBy(token, "pi3")
	s.eventually(30*time.Second, "pi3 complains no more", func() bool { return len(s.node("pi1", "pi3").Warnings) == 0 })
	s.eventually(60*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", 6) })
}

// killDriver: the agent where the command was typed dies at some moment of it. The cluster goes on, and another node
// finishes.
func (s *shelf) killDriver() {
	t := s.t
	for i := range rounds(2, 20) {
		k := s.knock("pi2:9000", "pi3:9000")
		after := time.Duration((50+i*37)%200) * time.Millisecond
		s.must("pi1", "sh", "-c", fmt.Sprintf(
			"piswarm token rotate >/dev/null 2>&1 & sleep %.3f; kill -9 $(pgrep -o -f '^piswarm agent|/piswarm agent'); wait; true", after.Seconds()))
		s.awaitReady(4)
		k.wantNone(fmt.Sprintf("driver killed after %s", after))
		var held []string
		for _, n := range pis(4) {
			held = append(held, fmt.Sprint(strings.Count(s.must(n, "cat", "/var/lib/piswarm/cluster.json"), "PSWM")))
		}
		t.Logf("killed after %s: secrets held %v", after, held)
		// It had not begun, or was over, or the nodes bring it to its end by themselves, or it is said that it is unfinished.
		s.eventually(time.Minute, "it is said that the change is unfinished", func() bool {
			return strings.Contains(s.on("pi2", "piswarm", "status", "--format", "json").out, "a change of the token is unfinished") ||
				!slices.ContainsFunc(pis(4), func(n string) bool {
					return strings.Contains(s.must(n, "cat", "/var/lib/piswarm/cluster.json"), `"other"`)
				})
		})
		var r result
		s.eventually(time.Minute, "another node changes the token", func() bool {
			r = s.on("pi2", "piswarm", "token", "rotate")
			return r.code == 0
		})
		s.goBy(strings.TrimSpace(r.out), pis(4)...)
	}
	s.answering(20*time.Second, "after it", pis(4), 9000, 6)
}

// removeForGood: a node that is removed while it is on, or cut off, comes back only as another one.
func (s *shelf) removeForGood() {
	t := s.t
	token := s.token("pi1")
	for _, cut := range []bool{false, true} {
		id := s.node("pi1", "pi4").ID
		if cut {
			if err := s.lab.Cut("pi4"); err != nil {
				t.Fatal(err)
			}
		}
		s.piswarm("pi2", "node rm --force pi4")
		for _, n := range pis(3) {
			s.eventually(10*time.Second, n+" has forgotten pi4", func() bool { return len(s.status(n).Nodes) == 3 })
		}
		if cut {
			time.Sleep(5 * time.Second)
			if err := s.lab.Heal("pi4"); err != nil {
				t.Fatal(err)
			}
		}
		s.eventually(60*time.Second, "pi4 learns of it and leaves", func() bool {
			return strings.Contains(s.on("pi4", "piswarm", "status").err, "in no cluster yet")
		})
		s.eventually(30*time.Second, "pi4 has no container left", func() bool {
			return s.must("pi4", "ctr", "-n", "piswarm", "containers", "ls", "-q") == ""
		})
		for range 20 { // it stays away
			time.Sleep(200 * time.Millisecond)
			if got := len(s.status("pi1").Nodes); got != 3 {
				t.Fatalf("%d nodes", got)
			}
		}
		s.join("pi4", token)
		s.awaitReady(4)
		if again := s.node("pi1", "pi4").ID; again == id {
			t.Error("pi4 is who it was")
		}
	}
	// Stolen: removed while it is off, and the token changed. What is on its card opens nothing.
	s.powerOff("pi4")
	s.eventually(20*time.Second, "pi4 is down", func() bool { return s.node("pi1", "pi4").ID == "" })
	s.piswarm("pi1", "node rm pi4")
	fresh, said := s.rotate("pi1")
	if strings.Contains(said, "pi4") {
		t.Errorf("the token's change is about pi4 too: %s", said)
	}
	s.powerOn("pi4")
	s.eventually(30*time.Second, "pi4 is up, alone", func() bool { return s.on("pi4", "piswarm", "status").code == 0 })
	time.Sleep(10 * time.Second)
	for _, n := range pis(3) {
		if got := len(s.status(n).Nodes); got != 3 {
			t.Errorf("%s sees %d nodes", n, got)
		}
	}
	if r := s.enter("pi4", fresh); r.code == 0 || !strings.Contains(r.err, "was removed") {
		t.Errorf("a removed node takes the new token: exit %d, %s", r.code, r.err)
	}
	s.eventually(60*time.Second, "exactly the wanted tasks", func() bool { return s.exactly("pi1", "greeters", 6) })
}
