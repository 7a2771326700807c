package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
)

// Create makes a container, which [Runtime.Start] then starts. Its image must be here. A container that exists
// already and is of the same service and version is left as it is.
func (r *Runtime) Create(ctx context.Context, s Spec) error {
	if err := s.validate(); err != nil {
		return err
	}
	if err := r.create(ctx, s); err != nil {
		return fmt.Errorf("create container %s: %w", s.ID, err)
	}
	return nil
}

func (r *Runtime) create(ctx context.Context, s Spec) error {
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return err
	}
	defer cancel()
	existing, err := r.client.ContainerService().Get(ctx, s.ID)
	switch {
	case err == nil:
		if got := taskOf(existing.Labels); got != s.Task {
			return fmt.Errorf("there is one of service %s, version %d, by that ID: remove it first", got.Service, got.SpecVersion)
		}
		return nil
	case !errdefs.IsNotFound(err):
		return r.explain(ctx, err)
	}
	if err := r.assemble(ctx, s); err != nil {
		// Nothing half-made stays. The caller may have gone, so its context does not bound the cleaning.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickLimit)
		defer cancel()
		return errors.Join(r.explain(ctx, err), r.discard(clean, s.ID))
	}
	return nil
}

// assemble makes the parts of a container: its files, its snapshot, its record in containerd.
func (r *Runtime) assemble(ctx context.Context, s Spec) error {
	image, snapshotter, err := r.unpackedImage(ctx, s.Container)
	if err != nil {
		return err
	}
	config, err := image.Spec(ctx)
	if err != nil {
		return fmt.Errorf("read the image's configuration: %w", err)
	}
	// Output is what tells one that was started from one that was not. What is there is of one that was lost.
	if err := os.Remove(r.logPath(s.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	files, err := r.writeFiles(s)
	if err != nil {
		return err
	}
	group, release, err := r.groups.reserve(s.ServiceID, func() (map[string]int, error) {
		return r.groupMembers(ctx, s.ServiceID)
	})
	if err != nil {
		return err
	}
	defer release()
	// A snapshot without a container is what a crash in the middle of this function left.
	if err := r.client.SnapshotService(snapshotter).Remove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove a left-over snapshot: %w", err)
	}
	signal := s.Container.StopSignal
	if signal == "" {
		signal = config.Config.StopSignal
	}
	_, err = r.client.NewContainer(ctx, s.ID,
		client.WithImageName(s.Container.Image),
		client.WithContainerLabels(s.labels(group, signal)),
		client.WithSnapshotter(snapshotter),
		client.WithNewSnapshot(s.ID, image),
		client.WithRuntime(runtimeName, runtimeOptions(readCgroups(cgroupRoot), exec.LookPath)),
		func(ctx context.Context, cl *client.Client, c *containers.Container) error {
			spec, err := r.ociSpec(ctx, cl, c, s, config.Config, files)
			if err != nil {
				return err
			}
			spec.Annotations = map[string]string{groupAnnotation: group}
			c.Spec, err = typeurl.MarshalAny(spec)
			return err
		})
	if errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("it is being made by another call: %w", err)
	}
	return err
}

func (s Spec) hostname() string {
	for _, name := range []string{s.Container.Hostname, s.Hostname} {
		if name != "" {
			return name
		}
	}
	return s.ID
}

func (r *Runtime) filesPath(id string) string { return filepath.Join(r.cfg.FilesDir, id) }

func (r *Runtime) logPath(id string) string { return filepath.Join(r.cfg.LogDir, id+".log") }

// cgroup is the path of a container's group below the root of each cgroup hierarchy.
func (r *Runtime) cgroup(id string) string { return "/" + r.cfg.Namespace + "/" + id }
