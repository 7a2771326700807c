package containers_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func TestCommandRunsAsItsContainerDoes(t *testing.T) {
	n := newNode(t)
	s := spec("t1", n.load("program", ""), "sleep")
	s.Container.User, s.Container.Env = "user", []string{"BOTH=service"}
	s.Hosts, s.ResolvConf = "10.77.0.1 bridge", "nameserver 10.77.0.1"
	n.run(s)
	ended, err := n.Exec(n.ctx, "t1", []string{"/program", "facts"}, patience)
	if err != nil {
		t.Fatal(err)
	}
	var facts map[string]any
	if err := json.Unmarshal([]byte(ended.Output), &facts); err != nil {
		t.Fatalf("%v in %q", err, ended.Output)
	}
	expect(t, facts, map[string]any{
		"uid": 1234, "gid": 1235, "cwd": "/tmp", "/etc/hosts": "10.77.0.1 bridge", "NoNewPrivs": 1, "Seccomp": 2, "write /": false,
	})
	if env, _ := json.Marshal(facts["env"]); !strings.Contains(string(env), `"FROM=image","BOTH=service"`) {
		t.Errorf("environment %s", env)
	}
}

func TestCommandIsKilledAtItsLimit(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	ended, err := n.Exec(n.ctx, "t1", []string{"/program", "flood", "3"}, 2*time.Second)
	if !errors.Is(err, containers.ErrTimeout) {
		t.Fatalf("%v, want ErrTimeout", err)
	}
	if !strings.HasPrefix(ended.Output, "line at byte 0\n") || len(ended.Output) != 4096 {
		t.Errorf("%d bytes of output: %.40q …", len(ended.Output), ended.Output)
	}
	if left := n.processes("t1"); left != 1 {
		t.Errorf("%d processes are in the container, want its own alone", left)
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.FilesDir, "t1", "health", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// processes counts those in a container.
func (n *node) processes(id string) int {
	n.t.Helper()
	count := 0
	for _, path := range []string{"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/"} {
		text, err := os.ReadFile(path + n.cfg.Namespace + "/" + id + "/cgroup.procs")
		if err == nil {
			count = strings.Count(string(text), "\n")
			break
		}
	}
	return count
}

// What an agent had begun that was killed is ended by the next one.
func TestCommandOfAKilledAgent(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	cl, err := client.New(n.cfg.Socket, client.WithDefaultNamespace(n.cfg.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := n.ctx
	container, err := cl.LoadContainer(ctx, "t1")
	if err != nil {
		t.Fatal(err)
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, begin := range map[string]func(client.Process) error{
		"made":    func(client.Process) error { return nil },
		"started": func(p client.Process) error { return p.Start(ctx) },
		"ended": func(p client.Process) error {
			exits, err := p.Wait(ctx)
			if err == nil {
				err = errors.Join(p.Start(ctx), p.Kill(ctx, unix.SIGKILL))
				<-exits
			}
			return err
		},
	} {
		spec.Process.Args = []string{"/program", "stubborn"}
		left, err := task.Exec(ctx, "health", spec.Process, cio.NullIO)
		if err == nil {
			err = begin(left)
		}
		if err != nil {
			t.Fatal(err)
		}
		if ended, err := n.Exec(n.ctx, "t1", []string{"/program", "exit", "4"}, patience); err != nil || ended.Code != 4 {
			t.Errorf("after one that was %s: %+v, %v", name, ended, err)
		}
		if left := n.processes("t1"); left != 1 {
			t.Errorf("after one that was %s: %d processes are in the container, want its own alone", name, left)
		}
	}
}

func TestCommandWithoutContainerd(t *testing.T) {
	d, err := startDaemon(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.end(); err != nil {
			t.Error(err)
		}
	})
	n := newNodeOn(t, d)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	result := make(chan error, 1)
	go func() {
		_, err := n.Exec(n.ctx, "t1", []string{"/program", "stubborn"}, 2*patience)
		result <- err
	}()
	eventually(t, "the command runs", func() bool { return n.processes("t1") == 2 })
	if err := d.kill(); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"goes", "is away"} {
		if err := <-result; !errors.Is(err, containers.ErrUnavailable) {
			t.Errorf("when containerd %s: %v, want ErrUnavailable", when, err)
		}
		go func() {
			_, err := n.Exec(n.ctx, "t1", []string{"/program", "exit", "0"}, patience)
			result <- err
		}()
	}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	<-result
	if ended, err := n.Exec(n.ctx, "t1", []string{"/program", "exit", "5"}, patience); err != nil || ended.Code != 5 {
		t.Errorf("after its restart: %+v, %v", ended, err)
	}
}

// A runc that is killed while it starts a command leaves a file that keeps it from starting another one by that name.
func TestCommandAfterAnUnfinishedStart(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	left := filepath.Join(shared.dir, "state/io.containerd.runtime.v2.task", n.cfg.Namespace, "t1/.health.pid")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if ended, err := n.Exec(n.ctx, "t1", []string{"/program", "exit", "6"}, patience); err != nil || ended.Code != 6 {
		t.Errorf("%+v, %v", ended, err)
	}
}

// A check that runs for ever must not write to the SD card for ever.
func TestCommandsWriteNoTemporaryFiles(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, shared.tmp(), unix.IN_CREATE|unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := n.Exec(n.ctx, "t1", []string{"/program", "print", "a", "b"}, patience); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err == nil {
		t.Errorf("%d bytes of events", n)
	}
}
