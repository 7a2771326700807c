package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/moby/sys/signal"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// runtimeName is the shim that every containerd has.
const runtimeName = "io.containerd.runc.v2"

// killLimit is how long a container may take to be gone after SIGKILL. A process that hangs in the kernel, on a
// dead SD card say, takes longer, and then somebody should hear of it.
const killLimit = 20 * time.Second

// Start starts a container that was created. One that runs is left running; one that ended is not started again.
func (r *Runtime) Start(ctx context.Context, id string) error {
	if err := r.start(ctx, id); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return err
	}
	defer cancel()
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return r.explain(ctx, err)
	}
	labels, err := container.Labels(ctx)
	if err != nil {
		return r.explain(ctx, err)
	}
	task, err := container.Task(ctx, nil)
	switch {
	case err == nil:
		status, err := task.Status(ctx)
		if err != nil {
			return r.explain(ctx, err)
		}
		switch status.Status {
		case client.Created: // the agent ended between the two steps
		case client.Stopped:
			return errors.New("it has ended: remove it and create it again")
		default:
			return nil
		}
	case errdefs.IsNotFound(err):
		if r.wasStarted(id) {
			return errors.New("it was lost: remove it and create it again")
		}
		if task, err = r.newTask(ctx, container, labels[labelGroup]); err != nil {
			return runcError(r.explain(ctx, err))
		}
	default:
		return r.explain(ctx, err)
	}
	if err := task.Start(ctx); err != nil {
		return runcError(r.explain(ctx, err))
	}
	return nil
}

func (r *Runtime) newTask(ctx context.Context, container client.Container, group string) (client.Task, error) {
	life := r.groups.life(group)
	life.Lock()
	defer life.Unlock()
	return container.NewTask(ctx, cio.LogFile(r.logPath(container.ID())))
}

// runcError takes from an error of runc the words that tell a user something. All of them are about what the
// service asks for, so starting the same again changes nothing.
func runcError(err error) error {
	const start = "unable to start container process: "
	text := err.Error()
	i := strings.LastIndex(text, start)
	if i < 0 || errors.Is(err, ErrUnavailable) {
		return err
	}
	return rejectf("%s", strings.TrimSuffix(text[i+len(start):], ": unknown"))
}

// Stop asks a container to end with a signal, and kills it if it has not ended after the grace period. The
// signal is SIGTERM, TERM or 15; if empty, the one that the service or its image asked for, else SIGTERM. It
// returns when the container has ended, at once for one that does not run.
func (r *Runtime) Stop(ctx context.Context, id, signal string, grace time.Duration) error {
	if err := r.stop(ctx, id, signal, grace); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// Kill ends a container at once and returns when it has ended.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	if err := r.stop(ctx, id, "SIGKILL", 0); err != nil {
		return fmt.Errorf("kill container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) stop(ctx context.Context, id, signalName string, grace time.Duration) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx, cancel, err := r.begin(ctx, grace+killLimit+quickLimit)
	if err != nil {
		return err
	}
	defer cancel()
	container, err := r.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	} else if err != nil {
		return r.explain(ctx, err)
	}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil
	} else if err != nil {
		return r.explain(ctx, err)
	}
	labels, err := container.Labels(ctx)
	if err != nil {
		return r.explain(ctx, err)
	}
	sig, err := stopSignal(signalName, labels[labelStopSignal])
	if err != nil {
		return rejection{err}
	}
	ended, err := r.end(ctx, task, sig, grace)
	if err != nil || ended {
		return r.explain(ctx, err)
	}
	if ended, err = r.end(ctx, task, syscall.SIGKILL, killLimit); err != nil || ended {
		return r.explain(ctx, err)
	}
	return fmt.Errorf("it does not end: killed %s ago", killLimit)
}

// stopSignal is the one that is asked for, or else the container's own, which may be an image's: nobody has checked that.
func stopSignal(asked, own string) (syscall.Signal, error) {
	if asked != "" {
		return signal.ParseSignal(asked)
	}
	if name, err := cluster.NormalizeSignal(own); err == nil {
		return signal.ParseSignal(name)
	}
	return syscall.SIGTERM, nil
}

// end sends a signal and waits up to limit for the container's end.
func (r *Runtime) end(ctx context.Context, task client.Task, sig syscall.Signal, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exits, err := task.Wait(ctx)
	if err != nil {
		return false, err
	}
	if err := task.Kill(ctx, sig); errdefs.IsNotFound(err) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case exit := <-exits:
		if err := exit.Error(); err != nil && !errdefs.IsNotFound(err) {
			return false, err
		}
		return true, nil
	case <-timer.C:
		return false, nil
	}
}

// Remove kills a container if it runs and removes all of it, with its output. One that is not there, or of which
// a crash left only a part, is no error.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := r.remove(ctx, id); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return err
	}
	defer cancel()
	container, err := r.client.LoadContainer(ctx, id)
	if err == nil {
		if err := r.removeTask(ctx, container); err != nil {
			return r.explain(ctx, err)
		}
		err = container.Delete(ctx)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return r.explain(ctx, err)
	}
	// Of a container whose shim was killed, processes may be left.
	return r.explain(ctx, errors.Join(r.endLeftover(ctx, id), r.discard(ctx, id)))
}

func (r *Runtime) removeTask(ctx context.Context, container client.Container) error {
	task, err := container.Task(ctx, nil)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err == nil {
		// The process is gone before the group is locked: others of the group may start meanwhile.
		if ended, err := r.end(ctx, task, syscall.SIGKILL, killLimit); err != nil {
			return err
		} else if !ended {
			return fmt.Errorf("it does not end: killed %s ago", killLimit)
		}
	}
	labels, err := container.Labels(ctx)
	if err != nil {
		return err
	}
	// Also one that is not found is deleted: containerd says so of a task whose shim died, refuses to make another
	// one by its ID, and takes a moment to clean up by itself. Until then it can do neither.
	for deadline := time.Now().Add(killLimit); ; {
		err := r.deleteTask(ctx, container.ID(), labels[labelGroup])
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *Runtime) deleteTask(ctx context.Context, id, group string) error {
	life := r.groups.life(group)
	life.Lock()
	defer life.Unlock()
	_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// discard removes what there is of a container beside its record: its snapshot and its files.
func (r *Runtime) discard(ctx context.Context, id string) error {
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return err
	}
	if err := r.client.SnapshotService(snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove its snapshot: %w", err)
	}
	if err := os.Remove(r.logPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(r.filesPath(id))
}

// Signal sends a signal to a container's own program and waits for nothing. It is SIGKILL, KILL or 9; that the container
// does not run is an error.
func (r *Runtime) Signal(ctx context.Context, id, name string) error {
	if err := r.signal(ctx, id, name); err != nil {
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) signal(ctx context.Context, id, name string) error {
	if err := checkID(id); err != nil {
		return err
	}
	sig, err := signal.ParseSignal(name)
	if err != nil {
		return rejection{err}
	}
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig)})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return rejectf("it does not run")
	}
	return r.explain(ctx, err)
}
