package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestSecrets: a secret gets from one person's keyboard into the containers that use it, on every node, and nowhere else.
func TestSecrets(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	const first, second, config = "the-first-value-31415926535", "the-second-value-27182818284", "color = green\n"
	create := func(node, kind, name, value string) {
		t.Helper()
		if r := s.feed([]byte(value), node, "piswarm", kind, "create", name, "-"); r.code != 0 || r.out == "" {
			t.Fatalf("%s create %s: exit %d, %s%s", kind, name, r.code, r.out, r.err)
		}
	}
	create("pi1", "secret", "db", first)
	create("pi2", "config", "app.conf", config)
	if r := s.feed([]byte("x"), "pi3", "piswarm", "secret", "create", "db", "-"); r.code != 1 || !strings.Contains(r.err, "secret db exists already") {
		t.Errorf("a second one by that name: exit %d, %s", r.code, r.err)
	}
	if r := s.on("pi3", "piswarm", "create", "-d", "--name", "web", "--secret", "none", "greeter"); r.code != 1 || !strings.Contains(r.err, "no secret named none") {
		t.Errorf("a service with a secret that is not there: exit %d, %s", r.code, r.err)
	}
	s.piswarm("pi3", "create --name web --replicas 3 --user 1000:1001 --publish 9000:5000 --secret source=db,uid=1000,gid=1001 --config source=app.conf,target=etc/app.conf greeter")
	s.holds("web", "1000:1001 400 "+first, "0:0 444 "+config)
	s.hidden(first, 3)
	if r := s.on("pi2", "piswarm", "secret", "rm", "db"); r.code != 1 || !strings.Contains(r.err, "secret db is in use by service web") {
		t.Errorf("rm of a secret in use: exit %d, %s", r.code, r.err)
	}

	create("pi2", "secret", "db2", second)
	s.piswarm("pi3", "update --secret-rm db --secret-add source=db2,target=db,uid=1000,gid=1001 web")
	s.holds("web", "1000:1001 400 "+second, "0:0 444 "+config)
	s.piswarm("pi1", "secret rm db")
	if r := s.on("pi1", "piswarm", "rollback", "web"); r.code != 1 || !strings.Contains(r.err, "was removed") {
		t.Errorf("rollback to a secret that is gone: exit %d, %s", r.code, r.err)
	}
	s.hidden(first, 0)
	s.hidden(second, 3)

	// The memory of all nodes is gone, and with it every open secret, and the token that they were sealed with before.
	token, _ := s.rotate("pi2")
	s.goBy(token, pis(3)...)
	for _, n := range pis(3) {
		s.powerOff(n)
	}
	for _, n := range pis(3) {
		s.powerOn(n)
	}
	s.awaitReady(3)
	s.eventually(time.Minute, "all three tasks run again", func() bool {
		running := 0
		for _, task := range s.tasks("pi1", "web") {
			if task.State == cluster.Running && task.Desired == cluster.Running {
				running++
			}
		}
		return running == 3
	})
	s.holds("web", "1000:1001 400 "+second, "0:0 444 "+config)
	s.hidden(second, 3)

	// Who leaves takes nothing along.
	s.piswarm("pi3", "leave")
	if left := s.must("pi3", "ls", "-A", "/run/piswarm/containers"); left != "" {
		t.Errorf("pi3 has left, and still has %s", left)
	}
	s.piswarm("pi2", "rm web")
	s.eventually(30*time.Second, "no file of a container is left", func() bool { return s.opened(second) == 0 })
	s.hidden(second, 0)
	s.piswarm("pi1", "secret rm db2")
	s.piswarm("pi2", "config rm app.conf")
}

// holds checks what each task of a service finds in its files: owner, mode and content of its secret, and of its config.
func (s *shelf) holds(service, secret, config string) {
	s.t.Helper()
	tasks := s.tasks("pi1", service)
	nodes := map[string]bool{}
	for _, task := range tasks {
		if task.Desired != cluster.Running || task.State != cluster.Running {
			continue
		}
		nodes[task.Node] = true
		for path, want := range map[string]string{"/run/secrets/db": secret, "/etc/app.conf": config} {
			got := s.inside(task, `stat -Lc "%u:%g %a " "$root`+path+`" | tr -d "\n" && cat "$root`+path+`"`)
			if got != want {
				s.t.Errorf("task %s.%d on %s finds %q in %s, want %q", service, task.Slot, task.Node, got, path, want)
			}
		}
		// No word of it in what the process or runc was given.
		for _, hidden := range []string{"environ", "cmdline"} {
			if value := secret[strings.LastIndex(secret, " ")+1:]; strings.Contains(s.inside(task, "cat /proc/$pid/"+hidden), value) {
				s.t.Errorf("task %s.%d has the secret in its %s", service, task.Slot, hidden)
			}
		}
	}
	if len(nodes) < 2 {
		s.t.Errorf("the tasks run on %d nodes, want at least 2: %+v", len(nodes), tasks)
	}
}

// inside runs a script on the node of a task, in which $root is what its container sees, and $pid its process.
func (s *shelf) inside(task client.Task, script string) string {
	s.t.Helper()
	return s.must(task.Node, "sh", "-c", fmt.Sprintf(
		`pid=$(ctr -n piswarm tasks ls | awk '$1 == "%s" { print $2 }') && root=/proc/$pid/root && %s`, task.ID, script))
}

// opened is how many files hold the value in clear where they may: in the memory of a node, for a container.
func (s *shelf) opened(value string) int {
	s.t.Helper()
	n := 0
	for _, pi := range pis(3) {
		n += len(strings.Fields(s.on(pi, "grep", "-rlaF", "-D", "skip", value, "/run/piswarm/containers").out))
	}
	return n
}

// hidden checks that the value is open in so many files, in memory, and else in none that a node has, as it is or in base64,
// nor in anything that piswarm or containerd tells.
func (s *shelf) hidden(value string, open int) {
	s.t.Helper()
	if n := s.opened(value); n != open {
		s.t.Errorf("%s is in the memory of the nodes in %d files, want %d", value, n, open)
	}
	// Base64 of a part, for the whole may begin anywhere in a longer text.
	encoded := base64.RawStdEncoding.EncodeToString([]byte(value)[:len(value)/3*3])
	for _, n := range pis(3) {
		found := s.on(n, "grep", "-rlaF", "-D", "skip", "-e", value, "-e", encoded, "/var/lib/piswarm", "/var/lib/containerd", "/etc/piswarm", "/tmp", "/run").out
		for path := range strings.Lines(found) {
			if !strings.HasPrefix(path, "/run/piswarm/containers/") {
				s.t.Errorf("%s is in %s on %s", value, strings.TrimSpace(path), n)
			}
		}
		if fs := strings.TrimSpace(s.must(n, "stat", "-fc", "%T", "/run/piswarm/containers")); fs != "tmpfs" {
			s.t.Errorf("what is open lies on %s on %s", fs, n)
		}
		script := `for c in $(ctr -n piswarm containers ls -q); do ctr -n piswarm containers info $c; done
			piswarm secret ls --format json; piswarm secret inspect $(piswarm secret ls -q) 2>&1; piswarm status --format json
			piswarm inspect $(piswarm ls -q) 2>&1; piswarm ps --all --format json`
		if told := s.must(n, "sh", "-c", script+"; true"); strings.Contains(told, value) || strings.Contains(told, encoded) {
			s.t.Errorf("%s is told on %s: %s", value, n, told)
		}
		log, err := s.lab.LogFile(n, "agent")
		if err != nil {
			s.t.Fatal(err)
		}
		if raw, err := os.ReadFile(log); err != nil || strings.Contains(string(raw), value) || strings.Contains(string(raw), encoded) {
			s.t.Errorf("the agent's log on %s: %v, or tells the secret", n, err)
		}
	}
}
