package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// List returns piswarm's containers, sorted by ID.
func (r *Runtime) List(ctx context.Context) ([]Container, error) {
	list, err := r.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return list, nil
}

func (r *Runtime) list(ctx context.Context) ([]Container, error) {
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return nil, err
	}
	defer cancel()
	// Tasks are asked for last: a container that starts between the two calls is then seen running, and one that
	// is removed is seen as ended, which it is.
	var list []Container
	err = r.eachRecord(ctx, fmt.Sprintf("labels.%q", labelTask), func(c *containersapi.Container) {
		list = append(list, Container{
			ID: c.ID, Task: taskOf(c.Labels), Digest: c.Labels[labelDigest], StartedAt: c.CreatedAt.AsTime(),
		})
	})
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	answer, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, r.explain(ctx, errgrpc.ToNative(err))
	}
	processes := map[string]*tasktypes.Process{}
	for _, p := range answer.Tasks {
		processes[p.ID] = p
	}
	for i := range list {
		r.addState(&list[i], processes[list[i].ID])
	}
	slices.SortFunc(list, func(a, b Container) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// addState fills in what the process of a container does; it is nil if containerd knows of none.
func (r *Runtime) addState(c *Container, p *tasktypes.Process) {
	switch {
	case p == nil && !r.wasStarted(c.ID), p != nil && p.Status == tasktypes.Status_CREATED:
		c.State = Created
	case p == nil:
		c.State, c.ExitCode = Stopped, lostExitCode
	case p.Status == tasktypes.Status_STOPPED:
		c.State, c.ExitCode = Stopped, int(p.ExitStatus)
		if p.ExitedAt != nil {
			c.ExitedAt = p.ExitedAt.AsTime()
		}
		c.OOMKilled = oomKilled(cgroupRoot, r.cgroup(c.ID))
	default:
		c.State, c.PID = Running, int(p.Pid)
	}
	if c.State == Created {
		c.StartedAt = time.Time{}
	}
}

// wasStarted tells of a container without a process whether it once had one. The files of a container live on a
// tmpfs: those that are mounted into it are made with it, its log is made when it starts, and a reboot takes both.
func (r *Runtime) wasStarted(id string) bool {
	_, err := os.Stat(r.logPath(id))
	if err == nil {
		return true
	}
	_, err = os.Stat(r.filesPath(id))
	return errors.Is(err, fs.ErrNotExist)
}

// eachRecord calls f for each container of the namespace that passes the filter. containerd sends each with its
// whole OCI spec, 20 kB of it; streaming drops one before the next comes.
func (r *Runtime) eachRecord(ctx context.Context, filter string, f func(*containersapi.Container)) error {
	stream, err := containersapi.NewContainersClient(r.conn).ListStream(ctx, &containersapi.ListContainersRequest{Filters: []string{filter}})
	for err == nil {
		var answer *containersapi.ListContainerMessage
		if answer, err = stream.Recv(); err == nil {
			f(answer.Container)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errgrpc.ToNative(err)
}
