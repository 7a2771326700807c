package containers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// labelForService marks an image that no person asked for: it was fetched because a service runs it.
const labelForService = labelPrefix + "for-service"

// PruneImages removes images, oldest first, until that much of the disk is free or no more may go. It returns their
// names. Only images that were fetched for a service go: one that a person loaded, pulled or tagged stays until that
// person removes it. One whose digest is to be kept, or that a container is made from, stays too.
func (r *Runtime) PruneImages(ctx context.Context, keep map[string]bool, free int64) ([]string, error) {
	removed, err := r.pruneImages(ctx, keep, free)
	if err != nil {
		return removed, fmt.Errorf("remove unused images: %w", err)
	}
	return removed, nil
}

func (r *Runtime) pruneImages(ctx context.Context, keep map[string]bool, free int64) (removed []string, err error) {
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return nil, err
	}
	defer cancel()
	stored, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	used := map[string]bool{}
	if err := r.eachRecord(ctx, "", func(c *containersapi.Container) { used[c.Labels[labelDigest]] = true }); err != nil {
		return nil, r.explain(ctx, err)
	}
	for _, names := range unused(stored, func(digest string) bool { return keep[digest] || used[digest] }) {
		if disk, err := r.Disk(ctx); err != nil || disk.Free >= free {
			return removed, err
		}
		if err := r.removeNames(ctx, names); err != nil {
			return removed, r.explain(ctx, err)
		}
		removed = append(removed, names[0])
	}
	return removed, nil
}

// unused are the images that may be removed, each with all its names, the oldest first.
func unused(stored []images.Image, kept func(digest string) bool) (all [][]string) {
	stored = slices.Clone(stored)
	slices.SortFunc(stored, func(a, b images.Image) int { return a.CreatedAt.Compare(b.CreatedAt) })
	names, byPerson := map[string][]string{}, map[string]bool{}
	var order []string
	for _, image := range stored {
		digest := image.Target.Digest.String()
		if len(names[digest]) == 0 {
			order = append(order, digest)
		}
		names[digest] = append(names[digest], image.Name)
		byPerson[digest] = byPerson[digest] || image.Labels[labelForService] == ""
	}
	for _, digest := range order {
		if !byPerson[digest] && !kept(digest) {
			all = append(all, names[digest])
		}
	}
	return all
}

// removeNames removes names of images. With the last, containerd removes at once what no other image has in common.
func (r *Runtime) removeNames(ctx context.Context, names []string) error {
	var errs []error
	for i, name := range names {
		var opts []images.DeleteOpt
		if i == len(names)-1 {
			opts = append(opts, images.SynchronousDelete()) // whoever removes an image wants the space
		}
		if err := r.client.ImageService().Delete(ctx, name, opts...); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
