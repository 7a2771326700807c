package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// script plays a cluster: after a write, the tasks of greeters go through these steps, each only when the one before
// it has been read.
func (f *fakeAgent) script(t *testing.T, replicas int, steps ...[]client.Task) {
	f.onWrite = func(string) {
		f.change(func() {
			if len(f.services) == 0 {
				s := client.Service{}
				s.ID = "svc1id"
				s.Spec = cluster.Spec{Name: "greeters", Mode: cluster.Replicated}
				f.services = append(f.services, s)
			}
			f.services[0].Spec.Replicas = replicas
		})
		go func() {
			for _, tasks := range steps {
				f.change(func() { f.tasks = tasks })
				f.awaitRead(t)
			}
		}()
	}
}

// awaitRead waits until the tasks are asked for once more, and tells whether they were.
func (f *fakeAgent) awaitRead(t *testing.T) bool {
	count := func() (n int) {
		for _, r := range f.all() {
			if strings.HasPrefix(r, "GET /v1/tasks") {
				n++
			}
		}
		return n
	}
	before := count()
	deadline := time.Now().Add(10 * time.Second)
	for count() <= before {
		if time.Now().After(deadline) || t.Context().Err() != nil {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

func greeter(slot int, node string, state cluster.State, problem string) client.Task {
	return client.Task{ID: fmt.Sprintf("t%d%s", slot, node), Service: "greeters", Slot: slot, Node: node, Desired: cluster.Running, State: state, Error: problem}
}

func TestCreateShowsItsWayToRunning(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 2,
		[]client.Task{greeter(1, "pi1", cluster.Preparing, ""), greeter(2, "", cluster.Pending, "no node fits yet")},
		[]client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "pi2", cluster.Starting, "")},
		[]client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "pi2", cluster.Running, "")},
	)
	f.written.Warning = "held by 1 of 3 nodes"
	r := run(t, f, "", "create", "--name", "greeters", "--publish", "9000:5000", "--replicas", "2", "greeter")
	want := `svc1id
greeters.1 preparing on pi1
greeters.2 pending: no node fits yet
greeters.1 running on pi1
greeters.2 starting on pi2
greeters.2 running on pi2
greeters: 2/2 running
`
	if r.stdout != want || r.stderr != "warning: held by 1 of 3 nodes\n" || r.code != 0 {
		t.Errorf("got %d %q\n%s\nwant\n%s", r.code, r.stderr, r.stdout, want)
	}
	wantWrite := `POST /v1/services {"name":"greeters","mode":"replicated","replicas":2,"container":{"image":"docker.io/library/greeter:latest","digest":"","stopGracePeriod":10000000000},"resources":{"limits":{},"reservations":{}},"placement":{"strategy":"spread"},"ports":[{"published":9000,"target":5000,"protocol":"tcp","mode":"ingress"}],"onPartition":"run",` +
		`"restart":{"condition":"any"},"update":{"parallelism":1,"monitor":5000000000,"failureAction":"pause"},"rollback":{"parallelism":1,"monitor":5000000000,"failureAction":"pause"}}`
	if got := f.writes(); len(got) != 1 || got[0] != wantWrite {
		t.Errorf("wrote %s\nwant  %s", got, wantWrite)
	}
}

func TestScaleTellsOnlyWhatChanges(t *testing.T) {
	f := shelf(t)
	running := []client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "pi2", cluster.Running, "")}
	f.tasks = running
	f.script(t, 3,
		append(running[:2:2], greeter(3, "pi3", cluster.Starting, "")),
		append(running[:2:2], greeter(3, "pi3", cluster.Running, "")),
	)
	r := run(t, f, "", "scale", "greeters", "3")
	want := `greeters scaled to 3
greeters.3 starting on pi3
greeters.3 running on pi3
greeters: 3/3 running
`
	if r.stdout != want || r.stderr != "" || r.code != 0 {
		t.Errorf("got %+v\nwant\n%s", r, want)
	}
}

func TestCreateThatFitsNowhere(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 2, []client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "", cluster.Pending, "no node fits: 3 nodes have port 80 taken")})
	r := run(t, f, "", "create", "--name", "greeters", "greeter")
	if r.code != 2 || r.stderr != "piswarm: greeters: 1/2 running; greeters.2 pending: no node fits: 3 nodes have port 80 taken\n" {
		t.Errorf("got %+v", r)
	}
}

func TestScaleOfSeveralServices(t *testing.T) {
	f := shelf(t)
	web := f.services[0]
	web.ID, web.Spec.Name = "web-id", "web"
	f.services = append(f.services, web)
	f.tasks = []client.Task{greeter(1, "pi1", cluster.Running, "")}
	f.onWrite = func(string) { f.change(func() { f.services[0].Spec.Replicas, f.services[2].Spec.Replicas = 1, 1 }) }
	r := run(t, f, "", "scale", "greeters=1", "web-id=1")
	want := []string{`POST /v1/services/greeters/scale {"replicas":1}`, `POST /v1/services/web/scale {"replicas":1}`}
	if got := f.writes(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if r.code != 2 || r.stderr != "piswarm: web: 0/1 running; 1 task not placed: see the leader in piswarm status\n" {
		t.Errorf("got %+v", r)
	}
}

func TestDetachAndQuiet(t *testing.T) {
	for _, test := range []struct {
		flags    []string
		stdout   string
		followed bool
	}{
		{[]string{"create", "-d", "--name", "greeters", "greeter"}, "svc1id\n", false},
		{[]string{"create", "-q", "--name", "greeters", "greeter"}, "svc1id\n", true},
		{[]string{"create", "-d", "-q", "--name", "greeters", "greeter"}, "svc1id\n", false},
		{[]string{"scale", "-d", "greeters", "1"}, "greeters scaled to 1\n", false},
		{[]string{"scale", "-q", "greeters", "1"}, "", true},
	} {
		t.Run(strings.Join(test.flags[:2], " "), func(t *testing.T) {
			f := shelf(t)
			f.script(t, 1, []client.Task{greeter(1, "pi1", cluster.Running, "")})
			r := run(t, f, "", test.flags...)
			if r.stdout != test.stdout || r.code != 0 || r.stderr != "" {
				t.Errorf("got %+v, want %q", r, test.stdout)
			}
			if followed := strings.Contains(strings.Join(f.all(), "\n"), "GET /v1/tasks"); followed != test.followed {
				t.Errorf("waited: %v, want %v", followed, test.followed)
			}
		})
	}
}

func TestInterruptLeavesItGoing(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 2, []client.Task{greeter(1, "pi1", cluster.Preparing, "")})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f.awaitRead(t)
		cancel()
	}()
	r := runContext(ctx, f, "", "create", "--name", "greeters", "greeter")
	if r.code != 1 || r.stderr != "piswarm: stopped waiting: greeters goes on in the background, see piswarm ps greeters\n" {
		t.Errorf("got %+v", r)
	}
}

func TestRemovedMeanwhile(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 2, []client.Task{greeter(1, "pi1", cluster.Preparing, "")})
	go func() {
		f.awaitRead(t)
		f.change(func() { f.services = nil })
	}()
	r := run(t, f, "", "create", "--name", "greeters", "greeter")
	if r.code != 1 || r.stderr != "piswarm: greeters was removed meanwhile\n" {
		t.Errorf("got %+v", r)
	}
}

// TestNoEvents holds that the slow poll carries a wait on its own, as while the agent restarts.
func TestNoEvents(t *testing.T) {
	f := newFakeAgent(t)
	f.events = false
	f.script(t, 1, []client.Task{greeter(1, "pi1", cluster.Starting, "")}, []client.Task{greeter(1, "pi1", cluster.Running, "")})
	if r := run(t, f, "", "create", "--name", "greeters", "greeter"); r.code != 0 || !strings.HasSuffix(r.stdout, "greeters: 1/1 running\n") {
		t.Errorf("got %+v", r)
	}
}

// TestFollowsEvents holds that the wait follows events and does not ask all the time.
func TestFollowsEvents(t *testing.T) {
	f := newFakeAgent(t)
	c, err := client.New(f.host)
	if err != nil {
		t.Fatal(err)
	}
	f.script(t, 1, []client.Task{greeter(1, "pi1", cluster.Preparing, "")})
	f.onWrite("")
	follow := &follower{client: c, service: "greeters", now: time.Now, pace: defaultPace, show: quietDisplay{}, changed: make(chan struct{}, 1)}
	follow.pace.poll = time.Hour
	follow.pace.settle = 0
	ended := make(chan error)
	go func() { ended <- follow.run(t.Context()) }()
	for _, when := range []string{"at the start", "when the stream of events was open"} {
		if !f.awaitRead(t) {
			t.Fatalf("not read %s", when)
		}
	}
	f.change(func() { f.tasks = []client.Task{greeter(1, "pi1", cluster.Starting, "")} })
	f.awaitRead(t)
	f.change(func() { f.tasks = []client.Task{greeter(1, "pi1", cluster.Running, "")} })
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("an event did not wake the wait")
	}
	reads := 0
	for _, r := range f.all() {
		if strings.HasPrefix(r, "GET /v1/tasks") {
			reads++
		}
	}
	if reads > 6 {
		t.Errorf("asked %d times for five changes", reads)
	}
}

func TestNoAgent(t *testing.T) {
	var f fakeAgent
	f.host = "unix:///nonexistent/piswarm.sock"
	r := run(t, &f, "", "ls")
	if r.code != 1 || r.stderr != "piswarm: no piswarm agent answers on /nonexistent/piswarm.sock: is it running? systemctl status piswarm\n" {
		t.Errorf("got %+v", r)
	}
	if r := run(t, &f, "", "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "piswarm ") || !strings.HasPrefix(r.stderr, "warning: no piswarm agent") {
		t.Errorf("version: got %+v", r)
	}
	if r := run(t, &f, "", "rm", "a", "b"); r.code != 1 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("rm of two services: got %+v", r)
	}
}

func TestHostOfTheEnvironment(t *testing.T) {
	t.Setenv("PISWARM_HOST", "tcp://pi1")
	if r := run(t, nil, "", "ls"); r.code != 1 || !strings.Contains(r.stderr, `"tcp://pi1"`) {
		t.Errorf("got %+v", r)
	}
	if r := run(t, shelf(t), "", "ls", "-q"); r.code != 0 {
		t.Errorf("--host does not win over PISWARM_HOST: %+v", r)
	}
}

func TestRefusalIsOneLine(t *testing.T) {
	f := shelf(t)
	f.refuse["POST /v1/services"] = "service web: port 9000/tcp is published\nby greeters\x1b[2J"
	r := run(t, f, "", "create", "--name", "web", "-p", "9000:80", "nginx")
	if r.code != 1 || r.stderr != "piswarm: service web: port 9000/tcp is published by greeters [2J\n" || r.stdout != "" {
		t.Errorf("got %+v", r)
	}
}

func TestRemoveGoesOnPastARefusal(t *testing.T) {
	f := shelf(t)
	f.refuse["DELETE /v1/services/greeters"] = "no"
	r := run(t, f, "", "rm", "greeters", "lamp")
	if r.code != 1 || r.stdout != "lamp\n" || r.stderr != "piswarm: no\n" {
		t.Errorf("got %+v", r)
	}
}

func TestExitCodeOfSeveralErrors(t *testing.T) {
	a := newApp(nil, nil, new(strings.Builder))
	not := &notConvergedError{"a", "b"}
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{not, 2},
		{errors.Join(not, nil), 2},
		{errors.Join(not, errors.New("x")), 1},
		{errors.Join(errors.New("x"), not), 1},
	} {
		if got := a.report(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}

func TestRandomNames(t *testing.T) {
	form := regexp.MustCompile(`^green-house-[a-z0-9]{5}$`)
	seen := map[string]bool{}
	for range 20 {
		image, err := normalise("registry.local:5000/team/green.house:1.2")
		if err != nil {
			t.Fatal(err)
		}
		name := randomName(image)
		if !form.MatchString(name) || seen[name] {
			t.Errorf("got %q", name)
		}
		seen[name] = true
	}
	long, err := normalise(strings.Repeat("a", 39) + "-" + strings.Repeat("b", 60))
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.ValidateServiceName(randomName(long)); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	file := t.TempDir() + "/env"
	if err := os.WriteFile(file, []byte("# rooms\n\nROOM=hall way\n  LAMP=\"on\"\nHERE\nROOM=attic\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) (string, bool) { return "from here", name == "HERE" }
	got, err := environment([]string{file}, []string{"LAMP=off", "NEW=a=b"}, lookup)
	want := []string{"ROOM=attic", "LAMP=off", "HERE=from here", "NEW=a=b"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := os.WriteFile(file, []byte("A=1\n=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := environment([]string{file}, nil, lookup); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a bad line: got %v", err)
	}
	if err := os.WriteFile(file, []byte("A="+strings.Repeat("x", maxEnvFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := environment([]string{file}, nil, lookup); err == nil {
		t.Error("a file too large is read")
	}
}

func TestSplitWords(t *testing.T) {
	for in, want := range map[string][]string{
		"":                   nil,
		"  sh   -c ":         {"sh", "-c"},
		`sh -c 'echo "$x"'`:  {"sh", "-c", `echo "$x"`},
		`a "b \" \n c" d\ e`: {"a", `b " \n c`, "d e"},
		`'' ""`:              {"", ""},
		`x'y'"z"`:            {"xyz"},
		"tab\tnew\nline":     {"tab", "new", "line"},
	} {
		if got, err := splitWords(in); err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`'a`, `"a`, `a\`} {
		if got, err := splitWords(in); err == nil {
			t.Errorf("%q: got %q, want an error", in, got)
		}
	}
}
