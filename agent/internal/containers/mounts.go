package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// setMounts adds to the kernel's file systems of the default spec the container's own group of cgroups, the
// files of piswarm, and what the service asks for.
func (r *Runtime) setMounts(ctx context.Context, cl *client.Client, c *containers.Container, spec *specs.Spec, cs cluster.Container, files map[string]string) error {
	// containerd mounts a tmpfs on /run, docker does not, and images are made for docker.
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/run" })
	// Java, Go and others read their limits there.
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"},
	})
	if cs.Init {
		spec.Mounts = append(spec.Mounts, specs.Mount{
			Destination: initPath, Type: "bind", Source: r.cfg.Init, Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev"},
		})
	}
	var own []specs.Mount
	for target, source := range files {
		own = append(own, specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", "ro"}})
	}
	for _, m := range cs.Mounts {
		sm, err := r.mountOf(ctx, cl, c, m)
		if err != nil {
			return err
		}
		own = slices.DeleteFunc(own, func(o specs.Mount) bool { return o.Destination == sm.Destination })
		own = append(own, sm)
	}
	// A mount below another one's target must come after it.
	slices.SortStableFunc(own, func(a, b specs.Mount) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")), cmp.Compare(a.Destination, b.Destination))
	})
	spec.Mounts = append(spec.Mounts, own...)
	return nil
}

func (r *Runtime) mountOf(ctx context.Context, cl *client.Client, c *containers.Container, m cluster.Mount) (specs.Mount, error) {
	access := "rw"
	if m.ReadOnly {
		access = "ro"
	}
	out := specs.Mount{Destination: path.Clean(m.Target), Type: "bind", Options: []string{"rbind", "rprivate", access}}
	switch m.Type {
	case cluster.MountBind:
		out.Source = filepath.Clean(m.Source)
		if _, err := os.Stat(out.Source); errors.Is(err, fs.ErrNotExist) {
			return out, rejectf("the source %s of the mount on %s does not exist on this node: make it, or use type=volume", m.Source, m.Target)
		} else if err != nil {
			return out, rejectf("the source of the mount on %s: %w", m.Target, err)
		}
	case cluster.MountVolume:
		out.Source = filepath.Join(r.cfg.VolumesDir, m.Source)
		if err := r.prepareVolume(ctx, cl, c, out); err != nil {
			return out, fmt.Errorf("volume %s: %w", m.Source, err)
		}
	case cluster.MountTmpfs:
		out.Type, out.Source = "tmpfs", "tmpfs"
		out.Options = []string{"noexec", "nosuid", "nodev", "mode=1777", access}
		if m.SizeBytes > 0 {
			out.Options = append(out.Options, fmt.Sprintf("size=%d", m.SizeBytes))
		}
	default:
		return out, rejectf("unknown type %q of the mount on %s", m.Type, m.Target)
	}
	return out, nil
}

// prepareVolume makes the directory of a volume that does not exist. As in docker, it begins as a copy of what
// the image has at the place, owner included, so that a program that is not root can write to its volume.
func (r *Runtime) prepareVolume(ctx context.Context, cl *client.Client, c *containers.Container, m specs.Mount) error {
	if _, err := os.Stat(m.Source); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.Source), 0o711); err != nil {
		return err
	}
	// The volume appears complete or not at all: half a copy would look like the user's data for ever after.
	draft, err := os.MkdirTemp(filepath.Dir(m.Source), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(draft)
	if err := os.Chmod(draft, 0o755); err != nil {
		return err
	}
	mounts, err := cl.SnapshotService(c.Snapshotter).Mounts(ctx, c.SnapshotKey)
	if err != nil {
		return err
	}
	err = mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		place, err := continuity.RootPath(root, m.Destination)
		if err != nil {
			return err
		}
		if info, err := os.Stat(place); err != nil || !info.IsDir() {
			return nil // the image has nothing there to begin with
		}
		return continuity.CopyDir(draft, place)
	})
	if err != nil {
		return fmt.Errorf("copy what the image has at %s: %w", m.Destination, err)
	}
	if err := os.Rename(draft, m.Source); err != nil && !errors.Is(err, fs.ErrExist) {
		// Another container that is being made here may have been first.
		if _, statErr := os.Stat(m.Source); statErr != nil {
			return err
		}
	}
	return nil
}
