package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

// result is what one run of the command line left.
type result struct {
	stdout, stderr string
	code           int
}

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testPace is that of a hasty user, for tests that wait for real.
var testPace = pace{
	settle: 30 * time.Millisecond,
	stuck:  300 * time.Millisecond,
	stall:  time.Minute,
	poll:   20 * time.Millisecond,
	gap:    time.Millisecond,
	lost:   300 * time.Millisecond,
}

// run runs one command line against the agent, or against none.
func run(t *testing.T, f *fakeAgent, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return runContext(ctx, f, stdin, args...)
}

func runContext(ctx context.Context, f *fakeAgent, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	a := newApp(strings.NewReader(stdin), &stdout, &stderr)
	a.now = func() time.Time { return testNow }
	if len(args) > 0 && slices.Contains([]string{"create", "scale", "update", "rollback"}, args[0]) {
		a.now = time.Now // these wait
	}
	a.pace = testPace
	if f != nil {
		args = append([]string{"--host", f.host}, args...)
	}
	code := a.execute(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

// session runs each line of a file that begins with "$ " and compares what it prints with the lines that follow. What
// is printed on stderr is marked with "! ", an exit code other than 0 with "[n]".
func session(t *testing.T, file string, f *fakeAgent, check func(t *testing.T, args []string, r result)) {
	t.Helper()
	path := filepath.Join("testdata", file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" && got.Len() == 0 {
			got.WriteString(line)
			continue
		}
		command, ok := strings.CutPrefix(line, "$ piswarm")
		if !ok {
			continue
		}
		args, err := splitWords(command)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		r := run(t, f, "", args...)
		if check != nil {
			check(t, args, r)
		}
		got.WriteString(line)
		got.WriteString(r.stdout)
		for line := range strings.Lines(r.stderr) {
			got.WriteString("! " + line)
		}
		if r.code != 0 {
			fmt.Fprintf(&got, "[%d]\n", r.code)
		}
		got.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(data); got.String() != want {
		t.Errorf("%s: run with -update and see the difference.\ngot:\n%s\nwant:\n%s", path, got.String(), want)
	}
}

// shelf is a fake agent of a cluster with three nodes and two services.
func shelf(t *testing.T) *fakeAgent {
	f := newFakeAgent(t)
	node := func(i int, variant, arch string, labels map[string]string) client.Node {
		n := client.Node{Role: cluster.Manager, Labels: labels}
		n.ID = fmt.Sprintf("node%d-0123456789abcdef", i)
		n.Name = fmt.Sprintf("pi%d", i)
		n.Address = fmt.Sprintf("192.168.1.%d", 20+i)
		n.State, n.Availability = cluster.Ready, cluster.Active
		n.OS, n.Arch, n.Variant = "linux", arch, variant
		n.Leader = i == 1
		n.Tasks = 1
		return n
	}
	f.nodes = []client.Node{
		node(1, "v6", "arm", map[string]string{"room": "kitchen"}),
		node(2, "v7", "arm", map[string]string{"room": "hall"}),
		node(3, "", "arm64", nil),
	}
	f.nodes[0].Warnings = []string{"the kernel cannot limit memory: add cgroup_enable=memory to the line in /boot/firmware/cmdline.txt and restart"}
	f.nodes[2].State, f.nodes[2].Availability, f.nodes[2].Role, f.nodes[2].Tasks = cluster.Down, cluster.Drain, cluster.Worker, 0

	greeters := client.Service{}
	greeters.ID = "greeters-0123456789abcdef"
	greeters.SpecVersion = 1
	greeters.Version = "7@node1"
	greeters.VirtualIP = netip.MustParseAddr("10.77.255.1")
	greeters.Spec = cluster.Spec{
		Name: "greeters", Labels: map[string]string{"team": "door", "beta": ""}, Mode: cluster.Replicated, Replicas: 2,
		Container: cluster.Container{Image: "docker.io/library/greeter:latest", Digest: "sha256:" + strings.Repeat("ab", 32)},
		Ports: []cluster.Port{
			{Published: 9000, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress},
			{Published: 9001, Target: 5001, Protocol: cluster.UDP, Mode: cluster.PortIngress},
		},
	}
	lamp := client.Service{}
	lamp.ID = "lamp-0123456789abcdef"
	lamp.Spec = cluster.Spec{Name: "lamp", Mode: cluster.Global, Container: cluster.Container{Image: "registry.local:5000/lamp:1.2"}}
	f.services = []client.Service{greeters, lamp}
	f.tasks = []client.Task{
		{ID: "task1-0123456789abcdef", Service: "greeters", Slot: 1, Node: "pi1", Image: "docker.io/library/greeter:latest", Desired: cluster.Running, State: cluster.Running, Address: "10.77.3.2", Since: testNow.Add(-3 * time.Minute)},
		{ID: "task2-0123456789abcdef", Service: "greeters", Slot: 2, Image: "docker.io/library/greeter:latest", Desired: cluster.Running, State: cluster.Pending, Error: "no node fits: pi2 has too little memory free (64 MB of 128 MB), pi3 is down"},
		{ID: "task3-0123456789abcdef", Service: "lamp", Node: "pi1", Image: "registry.local:5000/lamp:1.2", Desired: cluster.Running, State: cluster.Failed, Since: testNow.Add(-5 * time.Second), Error: "exit code 3:\n\x1b[31mno lamp\x1b[0m"},
		{ID: "task4-0123456789abcdef", Service: "lamp", Node: "pi2", Image: "registry.local:5000/lamp:1.2", Desired: cluster.Running, State: cluster.Running, Since: time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)},
	}
	f.images = []client.Image{
		{Name: "docker.io/library/greeter:latest", Digest: "sha256:" + strings.Repeat("ab", 32), SizeBytes: 4_321_000, Nodes: []string{"pi1", "pi2"}},
		{Name: "registry.local:5000/lamp:1.2", Digest: "sha256:" + strings.Repeat("cd", 32), SizeBytes: 12_000_000},
	}
	file := func(name string, age time.Duration, services ...string) client.File {
		return client.File{Head: cluster.Head{ID: name + "-0123456789abcdef", Name: name, CreatedAt: testNow.Add(-age)}, Services: services}
	}
	f.secrets = []client.File{file("db-password", 3*time.Hour, "greeters"), file("tls.key", 30*time.Second)}
	f.secrets[1].Labels = map[string]string{"team": "door", "beta": ""}
	f.configs = []client.Config{{File: file("nginx.conf", 40*time.Hour, "greeters", "lamp"), Data: []byte("user nginx;\n")}}
	return f
}

func TestLists(t *testing.T) { session(t, "lists.txt", shelf(t), nil) }

func TestTemplatesAndFilters(t *testing.T) { session(t, "templates.txt", shelf(t), nil) }

func TestInspect(t *testing.T) { session(t, "inspect.txt", shelf(t), nil) }

// TestChanges holds what is told of updates, jobs and tasks of the past.
func TestChanges(t *testing.T) {
	f := shelf(t)
	f.services[0].Status.Update = client.UpdateStatus{State: cluster.UpdatePaused, Message: "task greeters.2 failed: exit code 1"}
	f.services[1].Status.Update = client.UpdateStatus{State: cluster.Updating}
	job := client.Service{}
	job.ID, job.Spec.Name, job.Spec.Mode, job.Spec.Replicas = "backup-0123456789abcdef", "backup", cluster.ReplicatedJob, 3
	job.Status.Replicas.Completed = 1
	f.services = append(f.services, job)
	task := func(id, service string, slot int, desired, state cluster.State, minutes int, problem string) client.Task {
		return client.Task{ID: id, Service: service, Slot: slot, Node: "pi2", Desired: desired, State: state, Since: testNow.Add(-time.Duration(minutes) * time.Minute), Error: problem}
	}
	f.tasks = append(slices.Insert(f.tasks, 1, task("task1-moves", "greeters", 1, cluster.Running, cluster.Starting, 0, "")),
		task("job1", "backup", 1, cluster.Complete, cluster.Complete, 9, ""),
		task("job2", "backup", 2, client.Shutdown, cluster.Failed, 8, "exit code 1"),
		task("job3", "backup", 3, cluster.Running, cluster.Running, 2, ""),
	)
	f.past = []client.Task{
		task("task1-before", "greeters", 1, client.Shutdown, cluster.Failed, 4, "exit code 2"),
		task("task1-first", "greeters", 1, client.Shutdown, cluster.Complete, 5, ""),
		task("job3", "backup", 3, client.Shutdown, cluster.Failed, 3, "exit code 1"),
	}
	session(t, "changes.txt", f, nil)
}

func TestStatus(t *testing.T) {
	session(t, "status.txt", shelf(t), func(t *testing.T, args []string, r result) {
		if strings.Contains(strings.Join(args, " "), "format") {
			return
		}
		for line := range strings.Lines(r.stdout) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
				t.Errorf("a line of status is %d wide, wider than a terminal: %s", n, line)
			}
		}
	})
}

// TestEmpty holds that a cluster without anything gives lists, never null, also when the agent says null.
func TestEmpty(t *testing.T) { session(t, "empty.txt", newFakeAgent(t), nil) }

// TestMistakes holds that bad input is one line on stderr, exit code 1, and reaches no agent.
func TestMistakes(t *testing.T) {
	f := shelf(t)
	session(t, "mistakes.txt", f, func(t *testing.T, args []string, r result) {
		if r.code != 1 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "piswarm: ") {
			t.Errorf("%q: want one line on stderr and exit code 1, got %+v", args, r)
		}
		if got := f.all(); len(got) > 0 {
			t.Errorf("%q reached the agent: %q", args, got)
		}
	})
}

// TestRefused holds that what the agent must be asked about first changes nothing either.
func TestRefused(t *testing.T) {
	f := shelf(t)
	session(t, "refused.txt", f, func(t *testing.T, args []string, r result) {
		if r.code != 1 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%q: want one line on stderr and exit code 1, got %+v", args, r)
		}
		if got := f.writes(); len(got) > 0 {
			t.Errorf("%q wrote: %q", args, got)
		}
	})
}
