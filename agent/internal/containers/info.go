package containers

import (
	"context"
	"fmt"

	"github.com/containerd/platforms"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Info is what containerd and this machine are.
type Info struct {
	Version     string // of containerd
	Snapshotter string // that keeps the containers' file systems
	Platform    cluster.Platform
	// MemoryLimit tells whether the kernel can limit the memory of a container.
	MemoryLimit bool
}

// Info asks containerd what it is.
func (r *Runtime) Info(ctx context.Context) (Info, error) {
	info, err := r.info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("containerd: %w", err)
	}
	return info, nil
}

func (r *Runtime) info(ctx context.Context) (Info, error) {
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return Info{}, err
	}
	defer cancel()
	version, err := r.client.Version(ctx)
	if err != nil {
		return Info{}, r.explain(ctx, err)
	}
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return Info{}, r.explain(ctx, err)
	}
	return Info{
		Version: version.Version, Snapshotter: snapshotter, Platform: Platform(),
		MemoryLimit: readCgroups(cgroupRoot).memory,
	}, nil
}

// Platform is this machine's, also while containerd does not answer.
func Platform() cluster.Platform { return platformOf(platforms.DefaultSpec()) }

// platformOf puts a platform in the cluster's words.
func platformOf(p platforms.Platform) cluster.Platform {
	p = platforms.Normalize(p)
	return cluster.Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
}

// snapshotterName is the best of the snapshotters that work here. overlayfs does not on every file system: not
// on top of another overlay, for one.
func (r *Runtime) snapshotterName(ctx context.Context) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snapshotter != "" {
		return r.snapshotter, nil
	}
	plugins, err := r.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"overlayfs", "native"} {
		for _, p := range plugins.Plugins {
			if p.ID == name && p.InitErr == nil {
				r.snapshotter = name
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("containerd has neither an overlayfs nor a native snapshotter that works: see its log")
}
