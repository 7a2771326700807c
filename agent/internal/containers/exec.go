package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/uuid"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrTimeout is the kind of the error of a command that ran for longer than it may.
var ErrTimeout = errors.New("it did not end in time")

// Ended is how a command ended that ran in a container.
type Ended struct {
	Code   int
	Output string // the beginning of what it wrote
}

const (
	// execID names the one process that runs beside a container's own. By a fixed name, a restarted agent finds and ends
	// what the one before began.
	execID = "health"
	// maxOutput is how much of a command's output is kept, as docker does.
	maxOutput = 4096
	// drainLimit is how long output may take to arrive after its end. A child that it leaves behind may keep it open for ever.
	drainLimit = 500 * time.Millisecond
	// noCommand is the exit code, as of a shell, of a command that could not be started.
	noCommand = 127
)

// Exec runs a command in a running container, as the container's own program is run: its user, its environment, its
// limits. The command is killed when it has run for limit, which gives an ErrTimeout with what it wrote, or when ctx
// ends. Its output goes through memory and files on a tmpfs, so that a command run for ever and ever wears out no SD card.
// There is one at a time of each container.
func (r *Runtime) Exec(ctx context.Context, id string, argv []string, limit time.Duration) (Ended, error) {
	ended, err := r.exec(ctx, id, argv, limit)
	if err != nil {
		return ended, fmt.Errorf("run a command in container %s: %w", id, err)
	}
	return ended, nil
}

func (r *Runtime) exec(ctx context.Context, id string, argv []string, limit time.Duration) (Ended, error) {
	if err := checkID(id); err != nil {
		return Ended{}, err
	}
	// The time that containerd takes is not the command's.
	ctx, cancel, err := r.begin(ctx, limit+2*quickLimit)
	if err != nil {
		return Ended{}, err
	}
	defer cancel()
	task, _, process, err := r.commandOf(ctx, id, argv)
	if err != nil {
		return Ended{}, r.explain(ctx, err)
	}
	ended, started, err := r.runCommand(ctx, task, execID, process, limit)
	if err != nil && !started && !errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
		// A runc that was killed in the middle, as it is with containerd, leaves a file by that name which it then trips
		// over for as long as the container runs.
		ended, _, err = r.runCommand(ctx, task, execID+"-"+uuid.NewString(), process, limit)
	}
	return ended, err
}

// runCommand runs a process by that name beside the container's own, and tells whether it came to run.
func (r *Runtime) runCommand(ctx context.Context, task client.Task, name string, process *specs.Process, limit time.Duration) (ended Ended, started bool, err error) {
	dir := filepath.Join(r.filesPath(task.ID()), execID)
	output := &head{}
	create := cio.NewCreator(cio.WithStreams(nil, output, output), cio.WithFIFODir(dir))
	command, err := task.Exec(ctx, name, process, create)
	if errdefs.IsAlreadyExists(err) { // an agent that was killed left it
		if err = errors.Join(endCommand(ctx, task, name), os.RemoveAll(dir)); err == nil {
			command, err = task.Exec(ctx, name, process, create)
		}
	}
	if err != nil {
		return Ended{}, false, r.explain(ctx, err)
	}
	// Neither a start that is under way nor the end is cut short: both would leave something behind.
	whole, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), quickLimit, r.unavailable())
	defer cancel()
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickLimit)
		defer cancel()
		if err := endCommand(clean, task, name); err != nil {
			r.cfg.Log.Debug("a command in a container is left", "container", task.ID(), "error", err)
		}
	}()
	defer command.IO().Close()
	exits, err := command.Wait(ctx)
	if err != nil {
		return Ended{}, false, r.explain(ctx, err)
	}
	if err := command.Start(whole); err != nil {
		err = runcError(r.explain(whole, err))
		if errors.Is(err, ErrRejected) { // there is no such program, say: the command's failure, not piswarm's
			return Ended{Code: noCommand, Output: err.Error()}, false, nil
		}
		return Ended{}, false, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case exit := <-exits:
		if err := exit.Error(); err != nil {
			return Ended{}, true, r.explain(ctx, err)
		}
		drain(command.IO())
		return Ended{int(exit.ExitCode()), output.String()}, true, nil
	case <-timer.C:
		return Ended{Output: output.String()}, true, fmt.Errorf("%w: killed after %s", ErrTimeout, limit)
	}
}

// commandOf returns the container's task, what is known of the container, and how a command runs in it.
func (r *Runtime) commandOf(ctx context.Context, id string, argv []string) (task client.Task, info containers.Container, p *specs.Process, err error) {
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return nil, info, nil, err
	}
	if task, err = container.Task(ctx, nil); err != nil {
		return nil, info, nil, err
	}
	if info, err = container.Info(ctx, client.WithoutRefreshedMetadata); err != nil {
		return nil, info, nil, err
	}
	var spec specs.Spec
	if err := typeurl.UnmarshalTo(info.Spec, &spec); err != nil {
		return nil, info, nil, err
	}
	spec.Process.Args, spec.Process.Terminal = argv, false
	return task, info, spec.Process, nil
}

// endCommand kills a process that runs beside the container's own and removes it. That there is none is no error.
func endCommand(ctx context.Context, task client.Task, name string) error {
	command, err := task.LoadProcess(ctx, name, nil)
	for deadline := time.Now().Add(killLimit); err == nil; {
		// Its exit status is known a moment after its end.
		if _, err = command.Delete(ctx); !errdefs.IsFailedPrecondition(err) || time.Now().After(deadline) {
			break
		}
		if err = command.Kill(ctx, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
			err = nil
		}
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// drain waits until all output has arrived.
func drain(output cio.IO) {
	timer := time.AfterFunc(drainLimit, output.Cancel)
	defer timer.Stop()
	output.Wait()
}

// head keeps the beginning of what is written to it.
type head struct {
	mu   sync.Mutex
	text []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p[:min(len(p), maxOutput-len(h.text))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.ToValidUTF8(string(h.text), "")
}
