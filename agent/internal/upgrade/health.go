package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// awaitHealth waits until an agent of that version has done its work for a while, one and the same process. The former
// process, or one of another version, is told to end, so that who looks after it starts what is there now.
func (k Keeper) awaitHealth(ctx context.Context, version string, tasks []string, former int) error {
	ctx, cancel := context.WithTimeout(ctx, k.limits.health)
	defer cancel()
	began := time.Now()
	answered, told := false, false
	var well time.Time
	var last error
	var process int
	for {
		pid, err := k.agent.process()
		switch {
		case err != nil:
			err = fmt.Errorf("%w: %w", errSilent, err)
		case pid == former:
			err = fmt.Errorf("%w: the former agent", errOther)
		default:
			err = k.health(ctx, version, tasks)
			answered = answered || err == nil || !errors.Is(err, errSilent)
		}
		if ctx.Err() == nil {
			last = err // not one that comes of the end of the wait
		}
		if err != nil || pid != process {
			well, process = time.Now(), pid
		}
		switch {
		case err == nil && time.Since(well) >= k.limits.steady:
			return nil
		case errors.Is(err, errOther) && !told:
			told = true
			if err := k.agent.restart(ctx, pid, k.limits.restart, k.limits.look); err != nil {
				return err
			}
		case !answered && time.Since(began) > k.limits.answer:
			return fmt.Errorf("the agent does not answer within %s: %w", k.limits.answer, err)
		}
		select {
		case <-ctx.Done():
			if last == nil {
				last = errors.New("it starts again and again")
			}
			return fmt.Errorf("the agent is not well within %s: %w", k.limits.health, last)
		case <-time.After(k.limits.look):
		}
	}
}

var (
	errSilent = errors.New("no answer")
	errOther  = errors.New("another version answers")
)

// health says what is wrong with the agent, nil if nothing is.
func (k Keeper) health(ctx context.Context, version string, tasks []string) error {
	v, err := k.version(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	if v.Version != version {
		return fmt.Errorf("%w: %s, and not %s", errOther, v.Version, version)
	}
	if v.ClusterID == "" {
		return nil
	}
	c, err := k.client()
	if err != nil {
		return err
	}
	defer c.Close()
	node, err := c.Node(ctx, v.NodeID)
	if err != nil {
		return err
	}
	if node.State != cluster.Ready {
		return fmt.Errorf("the node is %s", node.State)
	}
	all, err := c.Tasks(ctx, "")
	if err != nil {
		return err
	}
	for _, t := range all {
		if slices.Contains(tasks, t.ID) && t.Node == node.Name && t.Desired == cluster.Running && t.State != cluster.Running {
			return fmt.Errorf("task %s.%d ran before and is %s: %s", t.Service, t.Slot, t.State, t.Error)
		}
	}
	return nil
}

func (k Keeper) client() (*client.Client, error) { return client.New("unix://" + k.Socket) }

func (k Keeper) version(ctx context.Context) (client.Version, error) {
	c, err := k.client()
	if err != nil {
		return client.Version{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return c.Version(ctx)
}
