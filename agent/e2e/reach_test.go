package e2e

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

// tools gives a container without any the programs of its machine.
const tools = " --mount type=bind,source=/usr,target=/usr,readonly --mount type=bind,source=/lib,target=/lib,readonly --mount type=bind,source=/lib64,target=/lib64,readonly"

// running is a command whose output is looked at while it runs.
type running struct {
	mu   sync.Mutex
	text bytes.Buffer
	end  context.CancelFunc
	done chan struct{}
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *running) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// begin runs a command on a host until stop.
func (s *shelf) begin(host string, argv ...string) *running {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r := &running{end: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_, _ = s.lab.Exec(ctx, host, argv, lab.Stdio{Out: r, Err: r}) // its end is asked for
	}()
	s.t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.end()
	<-r.done
}

// TestReach: any node shows and enters any task, and a compose file becomes services.
func TestReach(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi1")
	t.Run("logs follow a task to another node", s.logsFollow)
	t.Run("exec on another node", s.execElsewhere)
	t.Run("stack", s.stackOfTwo)
}

func (s *shelf) logsFollow(t *testing.T) {
	s = &shelf{t, s.lab}
	s.must("pi1", append(strings.Fields("piswarm create --name tick --constraint node.hostname!=pi1"+tools+" --entrypoint /usr/bin/sh greeter"),
		"-c", "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done")...)
	first := s.tasks("pi1", "tick")[0]
	follow := s.begin("pi1", "piswarm", "logs", "-f", "--tail", "5", "tick")
	events := s.begin("pi1", "piswarm", "events", "--filter", "kind=task")
	heard := func(node string) bool {
		return regexp.MustCompile(`(?m)^tick\.1\.\w{12}@` + node + ` +\| tick \d+$`).MatchString(follow.String())
	}
	s.eventually(10*time.Second, "lines of "+first.Node, func() bool { return heard(first.Node) })
	// The same, seen once and for all.
	if out := s.piswarm("pi1", "logs --raw --tail 2 tick.1"); len(strings.Split(out, "\n")) != 3 {
		t.Errorf("two lines: %q", out)
	}
	s.powerOff(first.Node)
	other := map[string]string{"pi2": "pi3", "pi3": "pi2"}[first.Node]
	s.eventually(30*time.Second, "lines of "+other, func() bool { return heard(other) })
	text := follow.String()
	if i := strings.Index(text, "@"+other); !strings.Contains(text[i:], "| tick 1\n") {
		t.Errorf("the beginning of the new task is missing:\n%s", text)
	}
	s.eventually(10*time.Second, "the event", func() bool { return strings.Contains(events.String(), "task running tick.1 on "+other) })
	if r := s.on("pi1", "piswarm", "logs", "t"); r.code != 1 || !strings.Contains(r.err, "no service and no task named t") {
		t.Errorf("%+v", r)
	}
	s.powerOn(first.Node)
	s.awaitReady(3)
	s.piswarm("pi3", "rm tick")
	select {
	case <-follow.done:
	case <-time.After(20 * time.Second):
		t.Error("the service is removed, and its output is followed on")
	}
}

func (s *shelf) execElsewhere(t *testing.T) {
	s = &shelf{t, s.lab}
	s.piswarm("pi1", "create --name box --constraint node.hostname==pi3"+tools+" greeter")
	// A terminal of the kernel's on pi1, for a shell on pi3.
	r := s.feed([]byte("stty size; hostname; exit 5\n"), "pi1", "script", "-qec", "piswarm exec -it -e A=b box.1 /usr/bin/sh", "/dev/null")
	if r.code != 5 || !strings.Contains(r.out, "24 80") {
		t.Errorf("a shell with a terminal: exit %d, %s%s", r.code, r.out, r.err)
	}
	r = s.feed([]byte("one\ntwo\n"), "pi2", "piswarm", "exec", "-i", "-u", "1000:1000", "-w", "/usr", "box", "/usr/bin/sh", "-c", "cat; id -u; pwd; echo oh >&2; exit 3")
	if r.code != 3 || r.out != "one\ntwo\n1000\n/usr\n" || r.err != "oh\n" {
		t.Errorf("without: exit %d, %q, %q", r.code, r.out, r.err)
	}
	if r := s.on("pi1", "piswarm", "exec", "box", "nothing-of-that-name"); r.code != 127 || strings.Count(r.err, "\n") != 1 {
		t.Errorf("no such program: exit %d, %s", r.code, r.err)
	}
	sleeper := s.begin("pi1", "piswarm", "exec", "box", "/usr/bin/sleep", "12345")
	inBox := func(want bool) func() bool {
		return func() bool { return (s.on("pi3", "pgrep", "-f", "sleep 12345").code == 0) == want }
	}
	s.eventually(20*time.Second, "it sleeps on pi3", inBox(true))
	sleeper.stop()
	s.eventually(20*time.Second, "what was run ends with who ran it", inBox(false))
	if out := s.piswarm("pi1", "top --no-stream"); !strings.Contains(out, "box.1") || !strings.Contains(out, "pi2") {
		t.Errorf("top: %s", out)
	}
	s.piswarm("pi1", "rm box")
}

const twoServices = `services:
  web:
    image: greeter
    ports: ["9000:5000"]
    networks: [front]
    deploy: {replicas: 2}
  caller:
    image: greeter
    networks: [front]
    secrets: [pw]
    configs: [motd]
    volumes: ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"]
networks: {front: {}}
secrets: {pw: {environment: PASSWORD}}
configs: {motd: {content: "hello, $WHO"}}
`

func (s *shelf) stackOfTwo(t *testing.T) {
	s = &shelf{t, s.lab}
	deploy := func(node, who string) result {
		t.Helper()
		return s.feed([]byte(twoServices), node, "env", "WHO="+who, "PASSWORD=s3cret", "piswarm", "stack", "deploy", "-c", "-", "shop")
	}
	if r := deploy("pi2", "shelf"); r.code != 0 {
		t.Fatalf("stack deploy: exit %d, %s%s", r.code, r.out, r.err)
	}
	if out := s.piswarm("pi1", "stack ls"); !regexp.MustCompile(`(?m)^shop +2$`).MatchString(out) {
		t.Errorf("stack ls: %s", out)
	}
	if out := s.piswarm("pi3", "exec shop_caller /usr/bin/cat /run/secrets/pw /motd"); out != "s3cret"+"hello, shelf" {
		t.Errorf("the service has the files %q", out)
	}
	if out := s.piswarm("pi1", "exec shop_caller /greeter get 2 http://web:5000/"); len(count(out)) != 2 {
		t.Errorf("web answers %q", out)
	}
	s.wantEven("the published port", s.fetch("laptop", "http://pi3:9000/", 4), 2, 2)
	if r := deploy("pi3", "shelf"); r.code != 0 || !strings.Contains(r.out, "updated service shop_web") {
		t.Errorf("deployed again: exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := deploy("pi3", "other"); r.code != 1 || !strings.Contains(r.err, "config shop_motd has another value") {
		t.Errorf("another config by that name: exit %d, %s", r.code, r.err)
	}
	out := s.piswarm("pi1", "stack rm shop")
	for _, gone := range []string{"service shop_caller", "service shop_web", "secret shop_pw", "config shop_motd", "network shop_front"} {
		if !strings.Contains(out, "removed "+gone+"\n") {
			t.Errorf("%s is not removed: %s", gone, out)
		}
	}
	if out := s.piswarm("pi2", "stack ls -q") + s.piswarm("pi2", "secret ls -q"); out != "" {
		t.Errorf("left: %s", out)
	}
}
