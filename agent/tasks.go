package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/client"
)

// tasks reaches the containers of this node's tasks, for the API.
type tasks struct{ s *session }

// Lines passes on the lines of a task's output.
func (t tasks) Lines(ctx context.Context, id string, q api.LinesQuery, each func(api.Line) error) error {
	return t.s.agent.runtime.Lines(ctx, id, containers.LinesQuery(q), func(l containers.Line) error { return each(api.Line(l)) })
}

// Run runs a command in a task's container.
func (t tasks) Run(ctx context.Context, id string, spec client.ExecSpec, streams api.ExecIO) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sizes := make(chan [2]uint16)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case size := <-streams.Resize:
				select {
				case sizes <- [2]uint16{size.Height, size.Width}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	code, err := t.s.agent.runtime.Run(ctx, id, containers.Command{
		Args: spec.Args, TTY: spec.TTY, Env: spec.Env, User: spec.User, Dir: spec.Dir, Height: spec.Size.Height, Width: spec.Size.Width,
		Stdin: streams.Stdin, Stdout: streams.Stdout, Stderr: streams.Stderr, Resize: sizes, Started: streams.Started,
	})
	return code, refusedFor(err)
}

// Stop ends a task's container.
func (t tasks) Stop(ctx context.Context, id, signal string, grace time.Duration) error {
	return refusedFor(t.s.agent.runtime.Stop(ctx, id, signal, grace))
}

// Signal sends a signal to a task's container.
func (t tasks) Signal(ctx context.Context, id, signal string) error {
	return refusedFor(t.s.agent.runtime.Signal(ctx, id, signal))
}

// Usage reads what a task uses.
func (t tasks) Usage(id string) (client.TaskStats, error) {
	u, err := t.s.agent.runtime.Usage(id)
	return client.TaskStats{CPUNanos: u.CPUNanos, MemoryBytes: u.MemoryBytes, MemoryLimit: u.MemoryLimit, Pids: u.Pids}, err
}

// NodeUsage reads what this node uses.
func (t tasks) NodeUsage() client.NodeStats { return t.s.machine.usage() }

// refusedFor is the API's error for one that only a change of what was asked for cures.
func refusedFor(err error) error {
	if errors.Is(err, containers.ErrRejected) {
		return fmt.Errorf("%w%w", silent{api.ErrRefused}, err)
	}
	return err
}

// silent is an error that is known and not read.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }
