package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/floating"
	"github.com/piswarm/piswarm/agent/internal/network"
)

// Cleanup removes everything that an agent sets up on this machine, with no memory of what was done: containers,
// network, packet filter. What is on disk stays. The agent must not run.
func Cleanup(ctx context.Context, paths Paths, log *slog.Logger) error {
	unlock, err := lock(paths.Run)
	if err != nil {
		return err
	}
	defer unlock()
	n, err := network.New(network.Config{Bridge: bridgeName, Namespaces: filepath.Join(paths.Run, "netns")})
	if err != nil {
		return err
	}
	defer n.Close()
	r, err := containers.Open(ctx, containers.Config{
		LogDir: filepath.Join(paths.Run, "logs"), FilesDir: filepath.Join(paths.Run, "containers"), Log: log,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	return errors.Join(floating.Cleanup(vipNote(paths)), clean(ctx, r, n))
}

const (
	cleanLimit  = 2 * time.Minute
	cleanGrace  = 10 * time.Second // for a container to end by itself
	cleanAtOnce = 8
)

// clean removes containers, then their network, then the rules; each is tried whatever became of the others.
func clean(ctx context.Context, r *containers.Runtime, n *network.Network) error {
	ctx, cancel := context.WithTimeout(ctx, cleanLimit)
	defer cancel()
	found, err := r.List(ctx)
	if errors.Is(err, containers.ErrUnavailable) {
		err = fmt.Errorf("containers stay as they are: %w", err)
	}
	errs := make([]error, len(found))
	var group errgroup.Group
	group.SetLimit(cleanAtOnce)
	for i, c := range found {
		group.Go(func() error {
			if err := r.Stop(ctx, c.ID, "", cleanGrace); err != nil {
				errs[i] = err
				return nil
			}
			errs[i] = r.Remove(ctx, c.ID)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	if err == nil {
		err = r.DropFiles(ctx)
	}
	return errors.Join(err, errors.Join(errs...), n.Cleanup(ctx), firewall.Cleanup(ctx))
}
