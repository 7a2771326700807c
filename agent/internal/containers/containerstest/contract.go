// Package containerstest is for tests of what uses containers: a [Fake] runtime in memory, and the contract that
// the fake and the real runtime both keep, as a suite of tests. It starts no process and needs no containerd.
package containerstest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// Runtime is what carries out a node's tasks.
type Runtime interface {
	Create(ctx context.Context, spec containers.Spec) error
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id, signal string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	List(ctx context.Context) ([]containers.Container, error)
	Events(ctx context.Context) <-chan containers.Event
	Pull(ctx context.Context, request containers.PullRequest) error
	Has(ctx context.Context, digest string) bool
	Exec(ctx context.Context, id string, argv []string, limit time.Duration) (containers.Ended, error)
	ImageHealth(ctx context.Context, digest string) (cluster.Health, error)
}

// Subject is a runtime under test, empty but for one image. The program of its images does what its arguments
// say: "sleep" until SIGTERM and then end with 0, be "stubborn" and ignore SIGTERM, "exit" with the next argument,
// "print" the next two, "read" the file that the next one names. In a container it is /program.
type Subject struct {
	Runtime
	// Up tells whether the program of a container that runs has come as far as to heed signals.
	Up      func(id string) bool
	Digest  string                 // of the image that is here
	Health  cluster.Health         // that it brings
	Offered containers.PullRequest // brings another image
	Nowhere containers.PullRequest // is for an image that nobody has
}

// patience bounds the wait for something that must happen. It is generous, for a busy machine.
const patience = 20 * time.Second

// Run holds a runtime to the contract. open makes a new one for each test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *contract)
	}{
		{"life of a container", testLife},
		{"every call may be repeated", testRepeat},
		{"exit codes are told", testExitCode},
		{"grace ends with a kill", testStubborn},
		{"what is not there", testMissing},
		{"another version by the same ID", testOtherVersion},
		{"a container runs once", testRunsOnce},
		{"pull", testPull},
		{"events end with their context", testEventsEnd},
		{"commands in a container", testExec},
		{"commands that do not end", testExecEnds},
		{"health check of an image", testHealth},
		{"files", testFiles},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
			defer cancel()
			subject := open(t)
			events := subject.Events(ctx)
			c := &contract{t: t, ctx: ctx, Subject: subject, events: events}
			c.await(containers.Event{Type: containers.EventResync})
			test.run(t, c)
		})
	}
}

type contract struct {
	Subject
	t      *testing.T
	ctx    context.Context
	events <-chan containers.Event
}

func (c *contract) spec(id string, args ...string) containers.Spec {
	return containers.Spec{
		ID:        id,
		Task:      containers.Task{Service: "web", ServiceID: "s1", Slot: 3, SpecVersion: 7},
		Container: cluster.Container{Image: "docker.io/library/program:latest", Digest: c.Digest, Args: args},
	}
}

func (c *contract) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *contract) start(id string, args ...string) {
	c.t.Helper()
	c.ok(c.Create(c.ctx, c.spec(id, args...)))
	c.ok(c.Start(c.ctx, id))
}

// startUp starts a container whose program heeds signals.
func (c *contract) startUp(id string, args ...string) {
	c.t.Helper()
	c.start(id, args...)
	c.up(id)
}

func (c *contract) up(id string) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !c.Up(id); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the program of container %s does not come up", id)
		}
	}
}

// await reads events until the wanted one.
func (c *contract) await(want containers.Event) {
	c.t.Helper()
	timeout := time.After(patience)
	var seen []containers.Event
	for {
		select {
		case e, ok := <-c.events:
			if !ok {
				c.t.Fatalf("events ended before %+v, after %+v", want, seen)
			}
			if e == want {
				return
			}
			seen = append(seen, e)
		case <-timeout:
			c.t.Fatalf("no event %+v, only %+v", want, seen)
		}
	}
}

// one returns the only container there is.
func (c *contract) one() containers.Container {
	c.t.Helper()
	list, err := c.List(c.ctx)
	c.ok(err)
	if len(list) != 1 {
		c.t.Fatalf("there are %d containers, want 1: %+v", len(list), list)
	}
	return list[0]
}

func (c *contract) none() {
	c.t.Helper()
	list, err := c.List(c.ctx)
	c.ok(err)
	if len(list) != 0 {
		c.t.Fatalf("there still are containers: %+v", list)
	}
}

func testLife(t *testing.T, c *contract) {
	c.none()
	c.ok(c.Create(c.ctx, c.spec("t1", "sleep")))
	got := c.one()
	if got.State != containers.Created || !got.StartedAt.IsZero() || got.PID != 0 {
		t.Fatalf("after Create: %+v", got)
	}
	if want := c.spec("t1").Task; got.ID != "t1" || got.Task != want || got.Digest != c.Digest {
		t.Fatalf("container says %s %+v %s, want t1 %+v %s", got.ID, got.Task, got.Digest, want, c.Digest)
	}
	c.ok(c.Start(c.ctx, "t1"))
	c.await(containers.Event{Type: containers.EventStarted, ID: "t1"})
	if got = c.one(); got.State != containers.Running || got.PID == 0 || got.StartedAt.IsZero() {
		t.Fatalf("after Start: %+v", got)
	}
	c.up("t1")
	c.ok(c.Stop(c.ctx, "t1", "SIGTERM", patience))
	c.await(containers.Event{Type: containers.EventExited, ID: "t1"})
	if got = c.one(); got.State != containers.Stopped || got.PID != 0 || got.ExitCode != 0 || got.ExitedAt.IsZero() || got.OOMKilled {
		t.Fatalf("after Stop: %+v", got)
	}
	c.ok(c.Remove(c.ctx, "t1"))
	c.await(containers.Event{Type: containers.EventRemoved, ID: "t1"})
	c.none()
}

func testRepeat(t *testing.T, c *contract) {
	c.start("t1", "sleep")
	before := c.one()
	c.start("t1", "sleep")
	if after := c.one(); after != before {
		t.Fatalf("a second Create and Start changed %+v to %+v", before, after)
	}
	for range 2 {
		c.ok(c.Stop(c.ctx, "t1", "", patience))
	}
	for range 2 {
		c.ok(c.Remove(c.ctx, "t1"))
	}
	c.none()
	// The ID is free again, and a running container can be removed.
	c.start("t1", "sleep")
	c.ok(c.Remove(c.ctx, "t1"))
	c.none()
	// So can one that was never started.
	c.ok(c.Create(c.ctx, c.spec("t1", "sleep")))
	c.ok(c.Remove(c.ctx, "t1"))
	c.none()
}

func testExitCode(t *testing.T, c *contract) {
	c.start("t1", "exit", "3")
	c.await(containers.Event{Type: containers.EventExited, ID: "t1", ExitCode: 3})
	if got := c.one(); got.State != containers.Stopped || got.ExitCode != 3 {
		t.Fatalf("after its end: %+v", got)
	}
}

func testStubborn(t *testing.T, c *contract) {
	c.startUp("t1", "stubborn")
	begun := time.Now()
	const grace = 300 * time.Millisecond
	c.ok(c.Stop(c.ctx, "t1", "SIGTERM", grace))
	if took := time.Since(begun); took < grace {
		t.Errorf("it was killed after %s, before its grace period of %s", took, grace)
	}
	if got := c.one(); got.State != containers.Stopped || got.ExitCode != 137 {
		t.Fatalf("after its kill: %+v", got)
	}
}

func testMissing(t *testing.T, c *contract) {
	c.ok(c.Stop(c.ctx, "nobody", "", 0))
	c.ok(c.Remove(c.ctx, "nobody"))
	if err := c.Start(c.ctx, "nobody"); err == nil {
		t.Error("Start of a container that does not exist gives no error")
	}
	absent := c.spec("t1", "sleep")
	absent.Container.Digest = c.Nowhere.Digest
	if err := c.Create(c.ctx, absent); !errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("Create from an image that is not here gives %v, want ErrImageUnknown", err)
	}
	c.none()
}

func testOtherVersion(t *testing.T, c *contract) {
	c.start("t1", "sleep")
	other := c.spec("t1", "sleep")
	other.SpecVersion++
	if err := c.Create(c.ctx, other); err == nil {
		t.Error("Create of another version by the ID of one that runs gives no error")
	}
	if got := c.one(); got.State != containers.Running || got.SpecVersion != 7 {
		t.Errorf("the first one is now %+v", got)
	}
}

func testRunsOnce(t *testing.T, c *contract) {
	c.start("t1", "exit", "0")
	c.await(containers.Event{Type: containers.EventExited, ID: "t1"})
	if err := c.Start(c.ctx, "t1"); err == nil {
		t.Error("Start of a container that ended gives no error")
	}
}

func testPull(t *testing.T, c *contract) {
	if !c.Has(c.ctx, c.Digest) || c.Has(c.ctx, c.Offered.Digest) {
		t.Fatal("want the first image to be here, and the offered one not to be")
	}
	c.ok(c.Pull(c.ctx, c.Offered))
	if !c.Has(c.ctx, c.Offered.Digest) {
		t.Fatal("the offered image is not here after Pull")
	}
	spec := c.spec("t1", "sleep")
	spec.Container.Digest = c.Offered.Digest
	c.ok(c.Create(c.ctx, spec))
	c.ok(c.Start(c.ctx, "t1"))
	if err := c.Pull(c.ctx, c.Nowhere); !errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("Pull of what nobody has gives %v, want ErrImageUnknown", err)
	}
	if c.Has(c.ctx, c.Nowhere.Digest) {
		t.Error("an image that nobody has is here")
	}
}

func testEventsEnd(t *testing.T, c *contract) {
	ctx, cancel := context.WithCancel(c.ctx)
	events := c.Events(ctx)
	<-events
	cancel()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-time.After(patience):
			t.Fatal("the channel is open although the context is done")
		}
	}
}

func testExec(t *testing.T, c *contract) {
	c.startUp("t1", "sleep")
	before := c.one()
	for _, test := range []struct {
		argv []string
		want containers.Ended
	}{
		{[]string{"/program", "exit", "0"}, containers.Ended{}},
		{[]string{"/program", "exit", "7"}, containers.Ended{Code: 7}},
		{[]string{"/program", "print", "said", "so"}, containers.Ended{Output: "said\nso\n"}},
	} {
		got, err := c.Exec(c.ctx, "t1", test.argv, patience)
		// Output and errors come by a pipe each, and either may be read first.
		got.Output = strings.Join(slices.Sorted(strings.Lines(got.Output)), "")
		if err != nil || got != test.want {
			t.Errorf("%v: %+v, %v; want %+v", test.argv, got, err, test.want)
		}
	}
	if got, err := c.Exec(c.ctx, "t1", []string{"/nothing"}, patience); err != nil || got.Code != 127 || got.Output == "" {
		t.Errorf("a program that is not there: %+v, %v; want exit code 127 and a reason", got, err)
	}
	if after := c.one(); after != before {
		t.Errorf("the container was %+v and is %+v", before, after)
	}
	for _, id := range []string{"nobody", "t1"} {
		c.ok(c.Stop(c.ctx, "t1", "SIGTERM", patience))
		if got, err := c.Exec(c.ctx, id, []string{"/program", "exit", "0"}, patience); err == nil {
			t.Errorf("in container %s, which does not run: %+v", id, got)
		}
	}
}

func testExecEnds(t *testing.T, c *contract) {
	c.startUp("t1", "sleep")
	stubborn := []string{"/program", "stubborn"}
	const limit = 300 * time.Millisecond
	begun := time.Now()
	if _, err := c.Exec(c.ctx, "t1", stubborn, limit); !errors.Is(err, containers.ErrTimeout) {
		t.Errorf("a command that does not end: %v, want ErrTimeout", err)
	}
	if took := time.Since(begun); took < limit || took > patience {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithTimeout(c.ctx, limit)
	defer cancel()
	if _, err := c.Exec(ctx, "t1", stubborn, 4*patience); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command whose context ends: %v", err)
	}
	// None of them is in the way of the next.
	if got, err := c.Exec(c.ctx, "t1", []string{"/program", "exit", "3"}, patience); err != nil || got.Code != 3 {
		t.Errorf("after them: %+v, %v", got, err)
	}
	if got := c.one(); got.State != containers.Running {
		t.Errorf("the container is %+v", got)
	}
}

func testHealth(t *testing.T, c *contract) {
	if got, err := c.ImageHealth(c.ctx, c.Digest); err != nil || !reflect.DeepEqual(got, c.Health) {
		t.Errorf("%+v, %v; want %+v", got, err, c.Health)
	}
	if _, err := c.ImageHealth(c.ctx, c.Nowhere.Digest); !errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("of an image that is not here: %v, want ErrImageUnknown", err)
	}
}

func testFiles(t *testing.T, c *contract) {
	spec := c.spec("t1", "sleep")
	spec.Files = []containers.File{
		{Target: "/run/secrets/db", Data: []byte("hush\n"), Mode: 0o400},
		{Target: "/etc/app/deep/conf", Data: []byte("a\x00b"), UID: 1234, GID: 1235, Mode: 0o444},
		{Target: "/etc/hosts", Data: []byte("127.0.0.1 mine"), Mode: 0o644},
	}
	c.ok(c.Create(c.ctx, spec))
	c.ok(c.Start(c.ctx, "t1"))
	c.up("t1")
	for path, want := range map[string]containers.Ended{
		"/run/secrets/db":    {Output: "0:0 0400 hush\n"},
		"/etc/app/deep/conf": {Output: "1234:1235 0444 a\x00b"},
		"/etc/hosts":         {Output: "0:0 0644 127.0.0.1 mine"},
		"/run/secrets/none":  {Code: 1},
	} {
		got, err := c.Exec(c.ctx, "t1", []string{"/program", "read", path}, patience)
		if got.Code != 0 {
			got.Output = ""
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, err, want)
		}
	}
	// The next container of the task has what it is given, and nothing of before.
	c.ok(c.Remove(c.ctx, "t1"))
	spec.Files = []containers.File{{Target: "/run/secrets/db", Data: []byte("other"), Mode: 0o400}}
	c.ok(c.Create(c.ctx, spec))
	c.ok(c.Start(c.ctx, "t1"))
	c.up("t1")
	if got, err := c.Exec(c.ctx, "t1", []string{"/program", "read", "/run/secrets/db"}, patience); err != nil || got.Output != "0:0 0400 other" {
		t.Errorf("in the second one: %+v, %v", got, err)
	}
	if got, err := c.Exec(c.ctx, "t1", []string{"/program", "read", "/etc/app/deep/conf"}, patience); err != nil || got.Code != 1 {
		t.Errorf("in the second one, what the first was given: %+v, %v", got, err)
	}
}
