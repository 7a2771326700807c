package containers

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Disk is how full a disk is.
type Disk struct {
	Total int64 // bytes that there are for data
	Free  int64 // bytes of them that are left
}

// Disk looks at the disk that the images are on. containerd is asked once where that is.
func (r *Runtime) Disk(ctx context.Context) (Disk, error) {
	root, err := r.contentRoot(ctx)
	if err != nil {
		return Disk{}, fmt.Errorf("where containerd keeps images: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return Disk{}, fmt.Errorf("disk of %s: %w", root, err)
	}
	// What is set aside for root counts as used: containerd is root, but the rest of the system should not starve.
	used := st.Blocks - st.Bfree
	block := int64(st.Bsize) // 32 bits on ARM
	return Disk{Total: int64(used+st.Bavail) * block, Free: int64(st.Bavail) * block}, nil
}

// contentRoot is the directory of containerd's content store.
func (r *Runtime) contentRoot(ctx context.Context) (string, error) {
	r.mu.Lock()
	root := r.root
	r.mu.Unlock()
	if root != "" {
		return root, nil
	}
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return "", err
	}
	defer cancel()
	answer, err := r.client.IntrospectionService().Plugins(ctx, "type==io.containerd.content.v1")
	if err != nil {
		return "", r.explain(ctx, err)
	}
	for _, p := range answer.Plugins {
		if root = p.Exports["root"]; root != "" {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.root = root
			return root, nil
		}
	}
	return "", fmt.Errorf("containerd does not say")
}
