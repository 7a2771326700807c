package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestNodeAdd: a Pi of which the card carries no token waits, members see it, and a person who may log in to it
// admits it.
func TestNodeAdd(t *testing.T) {
	together(t)
	s := startLab(t, 4, "")
	s.powerOff("pi3")
	s.piswarm("pi1", "init")
	s.feed([]byte(s.piswarm("pi1", "token")), "pi2", "piswarm", "join", "--token-file", "-")
	s.piswarm("pi4", "init --name other")
	s.awaitReady(2)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --mode global --publish 9000:5000 greeter")

	s.powerOn("pi3")
	began := time.Now()
	for _, n := range pis(2) {
		s.eventually(10*time.Second, n+" sees that pi3 waits, and nobody else", func() bool { return s.waiting(n) == "pi3 192.168.77.13 linux\n" })
	}
	t.Logf("pi1 and pi2 list pi3 as waiting %.1f s after its agent answered", time.Since(began).Seconds())
	if hint := s.on("pi2", "piswarm", "node", "ls").err; !strings.Contains(hint, "piswarm node add pi@192.168.77.13") {
		t.Errorf("node ls does not say how to admit it: %q", hint)
	}
	s.stranger(2)
	before, use := s.agentUse("pi1"), s.agentUse("pi3")
	time.Sleep(5 * time.Second)
	s.stranger(2)
	if after := s.agentUse("pi1"); after.written != before.written {
		t.Errorf("pi1 wrote %d bytes because of a node that waits", after.written-before.written)
	}
	after := s.agentUse("pi3")
	t.Logf("while it waits, the agent of pi3 uses %.2f %% of a core", float64(after.ticks-use.ticks)/5)
	if after.written != use.written || after.ticks-use.ticks > 20 {
		t.Errorf("pi3 waits and wrote %d bytes, used %d ticks in 5 s", after.written-use.written, after.ticks-use.ticks)
	}

	// pi3 has an agent that runs, and no program any more that could be called.
	s.must("pi3", "umount", "-l", "/usr/local/bin/piswarm")
	s.must("pi3", "rm", "/usr/local/bin/piswarm")
	deb := s.packageOf(binary)
	key := s.person("pi1")
	hostKeys := map[string]string{"pi3": s.sshd("pi3"), "pi4": s.sshd("pi4")}
	refuse := func(want string, args ...string) {
		t.Helper()
		r := s.on("pi1", append([]string{"piswarm", "node", "add"}, args...)...)
		lines := strings.Split(strings.TrimSpace(r.err), "\n")
		if last := lines[len(lines)-1]; r.code != 1 || r.out != "" || !strings.Contains(last, want) || strings.Count(r.err, "piswarm: ") != 1 {
			t.Errorf("node add %q: exit %d, %q, want %q", args, r.code, r.err, want)
		} else {
			t.Log(last)
		}
		s.stranger(2)
	}
	refuse("192.168.77.99", "root@192.168.77.99") // nobody has that address
	refuse("its host key is not known here", "root@pi3")
	for host, line := range hostKeys {
		s.must("pi1", "sh", "-c", fmt.Sprintf("echo '%s %s' >>/root/.ssh/known_hosts", host, line))
	}
	refuse("ssh was not let in", "root@pi3")
	for host := range hostKeys {
		s.feed([]byte(key), host, "sh", "-c", "cat >/root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys")
	}
	refuse("it is in another cluster", "root@pi4")
	refuse("its package sources have none", "root@pi3")

	began = time.Now()
	r := s.on("pi1", "piswarm", "node", "add", "--package", deb, "root@pi3")
	if r.code != 0 || !strings.Contains(r.out, "pi3    192.168.77.13   Ready") {
		t.Fatalf("node add: exit %d\n%s%s", r.code, r.out, r.err)
	}
	t.Logf("node add took %.1f s:\n%s%s", time.Since(began).Seconds(), r.err, r.out)
	s.awaitReady(3)
	for _, n := range pis(2) {
		if got := s.waiting(n); got != "" {
			t.Errorf("%s still lists %q as waiting", n, got)
		}
	}
	s.eventually(30*time.Second, "a task on pi3", func() bool { return slices.Contains(nodesOf(s.tasks("pi1", "greeters")), "pi3") })
	r = s.on("pi2", "piswarm", "node", "ls", "-q")
	if n := strings.Count(r.out, "\n"); n != 3 {
		t.Errorf("%d nodes, want 3:\n%s", n, r.out)
	}
	// Once more: a success that says so.
	if r := s.on("pi1", "piswarm", "node", "add", "root@pi3"); r.code != 0 || !strings.Contains(r.err, "it is in this cluster already") {
		t.Errorf("node add again: exit %d\n%s%s", r.code, r.out, r.err)
	}
	// The same login carries every command to the node.
	for _, line := range []string{"node ls", "ps", "service ls --format json"} {
		there := s.must("pi3", append([]string{"piswarm"}, strings.Fields(line)...)...)
		if here := s.piswarm("pi1", "-H ssh://root@pi3 "+line); !sameLines(here, there) {
			t.Errorf("%s over ssh:\n%s\nthere:\n%s", line, here, there)
		}
	}
	if got := s.piswarm("pi1", "-H ssh://root@pi3 version --format {{.Agent.Node}}"); got != "pi3\n" {
		t.Errorf("%q answers, not pi3", got)
	}
	began = time.Now()
	tar, err := os.ReadFile(greeterTar)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.feed(tar, "pi1", "piswarm", "-H", "ssh://root@pi3", "image", "load"); r.code != 0 {
		t.Errorf("image load over ssh: %s", r.err)
	}
	s.piswarm("pi1", "-H ssh://root@pi3 create --name more --replicas 2 greeter")
	s.piswarm("pi1", "-H ssh://root@pi3 rm more")
	t.Logf("an image, a service created and removed over ssh: %.1f s", time.Since(began).Seconds())
	// Nothing is left of the connections.
	if r := s.on("pi1", "sh", "-c", "pgrep -x ssh; ls -d /tmp/piswarm-*"); r.out != "" {
		t.Errorf("left behind on pi1: %s", r.out)
	}
}

// sameLines compares two lists, in which a time may have passed between the two.
func sameLines(a, b string) bool {
	about := func(text string) string {
		return regexp.MustCompile(`(\d+|About a|Less than a) (seconds?|minutes?) ago`).ReplaceAllString(text, "ago")
	}
	return strings.Join(strings.Fields(about(a)), " ") == strings.Join(strings.Fields(about(b)), " ")
}

// waiting is what a node lists as waiting, a line a node.
func (s *shelf) waiting(on string) string {
	s.t.Helper()
	out := s.must(on, "piswarm", "node", "ls", "--filter", "state=waiting", "--format", "{{.Name}} {{.Address}} {{.Platform}}")
	var lines strings.Builder
	for line := range strings.Lines(out) {
		platform, _, _ := strings.Cut(line, "/")
		lines.WriteString(platform + "\n")
	}
	return lines.String()
}

// stranger checks that pi3 is no member of the cluster of so many nodes, and has no task of it.
func (s *shelf) stranger(members int) {
	s.t.Helper()
	status := s.status("pi1")
	if len(status.Nodes) != members {
		s.t.Errorf("the cluster has %d nodes, want %d: %+v", len(status.Nodes), members, status.Nodes)
	}
	if nodes := nodesOf(s.tasks("pi1", "greeters")); slices.Contains(nodes, "pi3") || len(nodes) > members {
		s.t.Errorf("tasks are on %v", nodes)
	}
	if r := s.on("pi3", "curl", "-sS", "--unix-socket", "/run/piswarm/piswarm.sock", "http://piswarm/v1/version"); strings.Contains(r.out, "clusterId") || r.code != 0 {
		s.t.Errorf("pi3 says %s%s", r.out, r.err)
	}
}

// person gives the user of a host a key, and nobody whom it knows. It returns the public half.
func (s *shelf) person(host string) string {
	s.t.Helper()
	s.must(host, "sh", "-c", "rm -rf /root/.ssh && mkdir -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519")
	return s.must(host, "cat", "/root/.ssh/id_ed25519.pub")
}

// sshd runs an ssh server on a host, which lets nobody in yet, until the test ends. It returns the public host key.
func (s *shelf) sshd(host string) string {
	s.t.Helper()
	s.must(host, "sh", "-c", "rm -rf /root/.ssh && mkdir -m 700 /root/.ssh && chmod 700 /root && dropbearkey -t ed25519 -f /root/host-key >/dev/null 2>&1")
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() {
		// Without passwords, in the foreground.
		_, err := s.lab.Exec(ctx, host, []string{"dropbear", "-F", "-E", "-s", "-r", "/root/host-key", "-P", "/run/dropbear.pid"}, lab.Stdio{Out: io.Discard, Err: io.Discard})
		done <- err
	}()
	s.t.Cleanup(func() { stop(); <-done })
	s.eventually(10*time.Second, "an ssh server on "+host, func() bool {
		return strings.Contains(s.must(host, "ss", "-Hltn", "sport", "=", ":22"), "LISTEN")
	})
	for line := range strings.Lines(s.must(host, "dropbearkey", "-y", "-f", "/root/host-key")) {
		if strings.HasPrefix(line, "ssh-ed25519 ") {
			return strings.Join(strings.Fields(line)[:2], " ")
		}
	}
	s.t.Fatal("no host key")
	return ""
}

// packageOf makes a Debian package of the program, where the virtual Pis see it.
func (s *shelf) packageOf(program string) string {
	s.t.Helper()
	root := filepath.Join(dir, "package")
	raw, err := os.ReadFile(program)
	if err != nil {
		s.t.Fatal(err)
	}
	arch, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	control := "Package: piswarm\nVersion: 0.0.0\nArchitecture: " + strings.TrimSpace(string(arch)) + "\nMaintainer: nobody <nobody@example.com>\nDescription: for a test\n"
	for path, content := range map[string][]byte{"DEBIAN/control": []byte(control), "usr/bin/piswarm": raw} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	deb := filepath.Join(dir, "piswarm.deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, deb).CombinedOutput(); err != nil {
		s.t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return deb
}
