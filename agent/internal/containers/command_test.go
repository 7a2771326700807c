package containers_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// heard is output that a test waits for words in.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newHeard() *heard { return &heard{more: make(chan struct{}, 1)} }

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(p)
	select {
	case h.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.ReplaceAll(h.text.String(), "\r\n", "\n")
}

// talk runs the program "talk" in a container.
type talk struct {
	*heard
	errors *heard
	input  *io.PipeWriter
	sizes  chan [2]uint16
	end    func() // of its caller
	ended  chan error
	code   int
}

// await waits for words in what it says.
func (k *talk) await(t *testing.T, words string) {
	t.Helper()
	for limit := time.After(patience); !strings.Contains(k.String(), words); {
		select {
		case <-k.more:
		case err := <-k.ended:
			t.Fatalf("it ended with code %d, %v, and has said %q, not %q", k.code, err, k, words)
		case <-limit:
			t.Fatalf("it has said %q, not %q", k, words)
		}
	}
}

func startTalk(t *testing.T, n *node, c containers.Command) *talk {
	t.Helper()
	ctx, cancel := context.WithCancel(n.ctx)
	stdin, input := io.Pipe()
	k := &talk{heard: newHeard(), errors: newHeard(), input: input, sizes: make(chan [2]uint16), end: cancel, ended: make(chan error, 1)}
	t.Cleanup(cancel)
	c.Args, c.Stdin, c.Stdout, c.Stderr, c.Resize = []string{"/program", "talk"}, stdin, k.heard, k.errors, k.sizes
	go func() {
		var err error
		k.code, err = n.Run(ctx, "t1", c)
		stdin.Close()
		k.ended <- err
	}()
	return k
}

func (k *talk) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(k.input, text); err != nil {
		t.Fatal(err)
	}
}

func TestCommandWithATerminal(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	k := startTalk(t, n, containers.Command{TTY: true, Height: 33, Width: 77, User: "user", Dir: "/tmp", Env: []string{"FROM=caller"}})
	k.await(t, "1234 1235 /tmp caller xterm 33x77\n")
	k.sizes <- [2]uint16{20, 50}
	k.await(t, "resized 20x50\n")
	k.say(t, "hello\n")
	k.await(t, "said hello\n")
	k.await(t, "heard hello\n")
	k.say(t, "exit\n")
	if err := <-k.ended; err != nil || k.code != 3 {
		t.Errorf("code %d, %v", k.code, err)
	}
	nothingLeft(t, n)
}

func TestCommandWithoutATerminal(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	k := startTalk(t, n, containers.Command{User: "4321:77"})
	k.await(t, "4321 77 /tmp image  no terminal\n")
	k.say(t, "hello\n")
	k.input.Close()
	if err := <-k.ended; err != nil || k.code != 7 {
		t.Errorf("code %d, %v", k.code, err)
	}
	if out, errs := k.String(), k.errors.String(); !strings.HasSuffix(out, "said hello\n") || errs != "heard hello\n" {
		t.Errorf("%q, %q", out, errs)
	}
	nothingLeft(t, n)
	// All that is written arrives, also at someone who is slow.
	slow := &slowly{}
	if code, err := n.Run(n.ctx, "t1", containers.Command{Args: []string{"/program", "talk"}, Stdin: strings.NewReader("pour\n"), Stdout: slow}); err != nil || code != 5 {
		t.Errorf("code %d, %v", code, err)
	}
	if !strings.HasSuffix(slow.text.String(), "the end\n") {
		t.Errorf("the end of %d bytes of output is missing", slow.text.Len())
	}
	for want, c := range map[string]containers.Command{
		"/missing": {Args: []string{"/missing"}}, "nobody-here": {Args: []string{"/program", "exit", "0"}, User: "nobody-here"},
	} {
		if _, err := n.Run(n.ctx, "t1", c); !errors.Is(err, containers.ErrRejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := n.Run(n.ctx, "gone", containers.Command{Args: []string{"/program"}}); !errors.Is(err, containers.ErrRejected) {
		t.Errorf("in a container that is not there: %v", err)
	}
	nothingLeft(t, n)
}

// slowly takes output with pauses that are longer than any of the runtime's own.
type slowly struct {
	text   strings.Builder
	pauses int
}

func (s *slowly) Write(p []byte) (int, error) {
	if s.text.Len() >= s.pauses*400_000 {
		s.pauses++
		time.Sleep(700 * time.Millisecond)
	}
	return s.text.Write(p)
}

// TestCommandEndsWithItsCaller, and with it what it has started.
func TestCommandEndsWithItsCaller(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	for _, tty := range []bool{false, true} {
		k := startTalk(t, n, containers.Command{TTY: tty})
		k.say(t, "child\n")
		k.await(t, "started")
		if got := n.processes("t1"); got != 3 {
			t.Errorf("%d processes run, want the container's own, the command and its child", got)
		}
		k.end()
		if err := <-k.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		nothingLeft(t, n)
	}
	// A container that ends takes its commands along.
	k := startTalk(t, n, containers.Command{})
	k.await(t, "no terminal")
	if err := n.Kill(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	if err := <-k.ended; err != nil || k.code != 137 {
		t.Errorf("code %d, %v", k.code, err)
	}
}

func nothingLeft(t *testing.T, n *node) {
	t.Helper()
	for deadline := time.Now().Add(patience); n.processes("t1") != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d processes are in the container, want its own alone", n.processes("t1"))
			break
		}
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.FilesDir, "t1", "command-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCommandsOfAKilledAgent are ended by the next one, and its own are not.
func TestCommandsOfAKilledAgent(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	cl, err := client.New(n.cfg.Socket, client.WithDefaultNamespace(n.cfg.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	container, err := cl.LoadContainer(n.ctx, "t1")
	if err != nil {
		t.Fatal(err)
	}
	task, err := container.Task(n.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := container.Spec(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	spec.Process.Args = []string{"/program", "stubborn"}
	left, err := task.Exec(n.ctx, "command-left", spec.Process, cio.NewCreator(cio.WithStreams(nil, io.Discard, io.Discard),
		cio.WithFIFODir(filepath.Join(n.cfg.FilesDir, "t1", "command-left"))))
	if err == nil {
		err = left.Start(n.ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := startTalk(t, n, containers.Command{})
	k.await(t, "no terminal")
	if err := n.EndCommands(n.ctx); err != nil {
		t.Fatal(err)
	}
	if got := n.processes("t1"); got != 2 {
		t.Errorf("%d processes run, want the container's own and the command of this agent", got)
	}
	k.say(t, "exit\n")
	if err := <-k.ended; err != nil || k.code != 3 {
		t.Errorf("code %d, %v", k.code, err)
	}
	nothingLeft(t, n)
}

func TestSignalAndUsage(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	u, err := n.Usage("t1")
	if err != nil || u.CPUNanos == 0 || u.Pids == 0 || u.MemoryBytes == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := n.Signal(n.ctx, "t1", "SIGNONE"); !errors.Is(err, containers.ErrRejected) {
		t.Errorf("no such signal: %v", err)
	}
	if err := n.Signal(n.ctx, "t1", "KILL"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		list, err := n.List(n.ctx)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", list, err)
		}
		if list[0].State == containers.Stopped {
			break
		}
	}
	if err := n.Signal(n.ctx, "t1", "KILL"); !errors.Is(err, containers.ErrRejected) {
		t.Errorf("one that does not run: %v", err)
	}
}
