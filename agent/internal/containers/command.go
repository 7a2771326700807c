package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Command is a program that somebody wants to run in a container and to talk to, as with docker exec.
type Command struct {
	Args   []string
	TTY    bool     // it gets a terminal; all its output then goes to Stdout
	Env    []string // over the container's
	User   string   // NAME or number, [:GROUP]; empty: the container's
	Dir    string   // empty: the container's
	Height uint16   // of the terminal at first; 0: not known
	Width  uint16

	Stdin          io.Reader // nil: it is empty
	Stdout, Stderr io.Writer
	Resize         <-chan [2]uint16 // heights and widths; nil: never
	// Started is called when the program runs.
	Started func() error
}

// commandPrefix begins the name of each, by which one is known that an agent left behind which was killed.
const commandPrefix = "command-"

// maxCommands bounds how many run at a time on the node.
const maxCommands = 32

// Run runs a program in a running container until it ends, and returns its exit code. It is killed, with what it has
// started, when ctx ends or nobody takes its output. That there is no such program, or no such user, is an ErrRejected.
func (r *Runtime) Run(ctx context.Context, id string, c Command) (code int, err error) {
	if err := checkID(id); err != nil {
		return 0, err
	}
	code, err = r.run(ctx, id, c)
	if err != nil {
		return code, fmt.Errorf("run %s in container %s: %w", c.Args[0], id, err)
	}
	return code, nil
}

func (r *Runtime) run(ctx context.Context, id string, c Command) (int, error) {
	name, done, err := r.nameCommand(id)
	if err != nil {
		return 0, err
	}
	defer done()
	if err := r.reach(ctx); err != nil {
		return 0, err
	}
	// The command itself may run as long as it likes.
	ctx, cancel := context.WithCancelCause(r.inNamespace(ctx))
	defer cancel(nil)
	brief, cancelBrief := context.WithTimeoutCause(ctx, quickLimit, r.unavailable())
	defer cancelBrief()
	task, info, process, err := r.commandOf(brief, id, c.Args)
	if errdefs.IsNotFound(err) {
		return 0, rejectf("it does not run")
	} else if err != nil {
		return 0, r.explain(brief, err)
	}
	if err := r.setCommand(brief, process, &info, c); err != nil {
		return 0, err
	}
	stdin, input := io.Pipe()
	defer stdin.Close() // ends whoever reads from it and writes to it
	streams := &taken{fail: cancel}
	options := []cio.Opt{cio.WithStreams(nil, streams.writer(c.Stdout), streams.writer(c.Stderr))}
	if c.Stdin != nil {
		options = []cio.Opt{cio.WithStreams(stdin, streams.writer(c.Stdout), streams.writer(c.Stderr))}
	}
	if c.TTY {
		options = append(options, cio.WithTerminal)
	}
	dir := filepath.Join(r.filesPath(id), name)
	defer os.RemoveAll(dir)
	command, err := task.Exec(brief, name, process, cio.NewCreator(append(options, cio.WithFIFODir(dir))...))
	if err != nil {
		return 0, r.explain(brief, err)
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickLimit)
		defer cancel()
		if err := endCommand(clean, task, name); err != nil {
			r.cfg.Log.Debug("a command in a container is left", "container", id, "error", err)
		}
	}()
	defer command.IO().Close()
	exits, err := command.Wait(ctx)
	if err == nil {
		// A start that is under way is not cut short: that would leave something behind.
		whole, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), quickLimit, r.unavailable())
		err = r.explain(whole, command.Start(whole))
		cancel()
	}
	if err != nil {
		return 0, runcError(err)
	}
	pid := int(command.Pid())
	if c.Started != nil {
		if err := c.Started(); err != nil {
			killSession(pid)
			return 0, err
		}
	}
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cancel(nil)
	if c.Resize != nil {
		feeding.Go(func() { follow(ctx, command, c.Resize) })
	}
	if c.Stdin != nil {
		// Not waited for: its caller ends a read that hangs, by the end of what calls Run.
		go func() {
			_, err := io.Copy(input, c.Stdin)
			input.CloseWithError(err)
			if err == nil && ctx.Err() == nil {
				_ = command.CloseIO(ctx, client.WithStdinCloser) // a command that is gone needs no end of its input
			}
		}()
	}
	select {
	case exit := <-exits:
		if err := exit.Error(); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
				killSession(pid)
			}
			return 0, r.explain(ctx, err)
		}
		streams.drain(ctx, command.IO())
		return int(exit.ExitCode()), context.Cause(ctx)
	case <-ctx.Done():
		killSession(pid)
		return 0, context.Cause(ctx)
	}
}

// nameCommand gives a command a name that no other has, until done.
func (r *Runtime) nameCommand(id string) (name string, done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.commands) >= maxCommands {
		return "", nil, fmt.Errorf("%d commands run on this node already: end one first", maxCommands)
	}
	name = commandPrefix + uuid.NewString()
	key := filepath.Join(id, name)
	r.commands[key] = true
	return name, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.commands, key)
	}, nil
}

// EndCommands ends what an agent that was killed left of commands.
func (r *Runtime) EndCommands(ctx context.Context) error {
	left, err := filepath.Glob(filepath.Join(r.cfg.FilesDir, "*", commandPrefix+"*"))
	if err != nil || len(left) == 0 {
		return err
	}
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return fmt.Errorf("end commands that were left: %w", err)
	}
	defer cancel()
	var errs []error
	for _, dir := range left {
		id, name := filepath.Base(filepath.Dir(dir)), filepath.Base(dir)
		r.mu.Lock()
		runs := r.commands[filepath.Join(id, name)]
		r.mu.Unlock()
		if runs {
			continue
		}
		err := r.endCommandLeft(ctx, id, name)
		if err == nil || errdefs.IsNotFound(err) { // its container may be gone
			err = os.RemoveAll(dir)
		}
		errs = append(errs, r.explain(ctx, err))
	}
	return errors.Join(errs...)
}

func (r *Runtime) endCommandLeft(ctx context.Context, id, name string) error {
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return err
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return err
	}
	if command, err := task.LoadProcess(ctx, name, nil); err == nil {
		killSession(int(command.Pid()))
	}
	return endCommand(ctx, task, name)
}

// setCommand makes of the container's own process the one that is wanted.
func (r *Runtime) setCommand(ctx context.Context, p *specs.Process, of *containers.Container, c Command) error {
	p.Terminal = c.TTY
	if c.TTY {
		p.Env = mergeEnv([]string{"TERM=xterm"}, p.Env)
		if c.Height > 0 && c.Width > 0 {
			p.ConsoleSize = &specs.Box{Height: uint(c.Height), Width: uint(c.Width)}
		}
	}
	p.Env = mergeEnv(p.Env, c.Env)
	if c.Dir != "" {
		p.Cwd = c.Dir
	}
	if c.User == "" {
		return nil
	}
	// By the container's own files, which may be others now than its image's. The way by /proc/PID/root would be open only to an
	// agent with all the rights that the container has.
	spec := &specs.Spec{Process: p, Linux: &specs.Linux{}}
	if err := oci.WithUser(c.User)(ctx, r.client, of, spec); err != nil {
		return rejectf("user %s: %w", c.User, err)
	}
	if strings.Contains(c.User, ":") {
		return nil // a group that is named stands alone
	}
	if err := oci.WithAdditionalGIDs(c.User)(ctx, r.client, of, spec); err != nil {
		return rejectf("groups of user %s: %w", c.User, err)
	}
	return nil
}

// follow gives a command's terminal the sizes that come.
func follow(ctx context.Context, command client.Process, sizes <-chan [2]uint16) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_ = command.Resize(ctx, uint32(size[1]), uint32(size[0])) // one that is just ending has no terminal any more
		}
	}
}

// taken passes a command's output on and knows whether it still comes.
type taken struct {
	fail context.CancelCauseFunc

	mu     sync.Mutex
	writes int // that have begun or ended
	busy   int
}

type takenWriter struct {
	t *taken
	w io.Writer
}

func (t *taken) writer(w io.Writer) io.Writer {
	if w == nil {
		w = io.Discard
	}
	return takenWriter{t, w}
}

func (w takenWriter) Write(p []byte) (int, error) {
	w.t.count(1)
	n, err := w.w.Write(p)
	w.t.count(-1)
	if err != nil {
		w.t.fail(err)
	}
	return n, err
}

func (t *taken) count(busy int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes++
	t.busy += busy
}

// drain waits until all output has been passed on. What a child that was left behind may write later is not waited for.
func (t *taken) drain(ctx context.Context, output cio.IO) {
	done := make(chan struct{})
	go func() {
		output.Wait()
		close(done)
	}()
	tick := time.NewTicker(drainLimit)
	defer tick.Stop()
	for last := -1; ; {
		select {
		case <-done:
			return
		case <-ctx.Done():
			output.Cancel()
			return
		case <-tick.C:
		}
		t.mu.Lock()
		now, busy := t.writes, t.busy > 0
		t.mu.Unlock()
		if now == last && !busy {
			output.Cancel()
			<-done
			return
		}
		last = now
	}
}

// killSession kills a process that leads a session, which runc makes of each command, and all others of the session.
func killSession(pid int) {
	if pid <= 1 {
		return
	}
	for range 3 { // what it starts meanwhile
		members := sessionMembers(pid)
		if len(members) == 0 {
			return
		}
		for _, member := range members {
			_ = syscall.Kill(member, syscall.SIGKILL)
		}
	}
}

func sessionMembers(session int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// PID (NAME) STATE PPID PGRP SESSION …, and a name may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 4 || fields[0] == "Z" || fields[3] != strconv.Itoa(session) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
