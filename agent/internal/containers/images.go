package containers

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Images lists what this node holds, sorted by name. An image whose tag was given to another one since is listed
// with its digest in place of the tag.
func (r *Runtime) Images(ctx context.Context) ([]cluster.Image, error) {
	list, err := r.images(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return list, nil
}

func (r *Runtime) images(ctx context.Context) ([]cluster.Image, error) {
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return nil, err
	}
	defer cancel()
	stored, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	tagged := map[string]bool{}
	for _, image := range stored {
		if ref, err := parseRef(image.Name); err == nil && !isPinned(image.Name) {
			tagged[ref.pinned(image.Target.Digest)] = true
		}
	}
	var list []cluster.Image
	for _, image := range stored {
		if !tagged[image.Name] {
			list = append(list, cluster.Image{
				Name: image.Name, Digest: image.Target.Digest.String(), SizeBytes: r.imageSize(ctx, image),
			})
		}
	}
	r.forgetSizes(stored)
	slices.SortFunc(list, func(a, b cluster.Image) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// imageSize is what an image's parts for this node take in the content store. That follows from its digest, so it
// is asked for once.
func (r *Runtime) imageSize(ctx context.Context, image images.Image) int64 {
	key := image.Target.Digest.String()
	r.mu.Lock()
	size, ok := r.sizes[key]
	r.mu.Unlock()
	if ok {
		return size
	}
	size, err := client.NewImage(r.client, image).Size(ctx)
	if err != nil {
		// It has nothing for this platform: what it takes here is for others to fetch.
		if size, err = client.NewImage(r.client, image).Usage(ctx); err != nil {
			return 0
		}
	}
	r.mu.Lock()
	r.sizes[key] = size
	r.mu.Unlock()
	return size
}

func (r *Runtime) forgetSizes(stored []images.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.sizes {
		if !slices.ContainsFunc(stored, func(i images.Image) bool { return i.Target.Digest.String() == key }) {
			delete(r.sizes, key)
		}
	}
}

// Has tells whether the image of that digest is here with all that this node needs to run it.
func (r *Runtime) Has(ctx context.Context, digest string) bool {
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return false
	}
	defer cancel()
	_, err = r.imageByDigest(ctx, digest)
	return err == nil
}

// imageByDigest finds a complete image. Content without a name does not count: containerd may remove it at any
// time.
func (r *Runtime) imageByDigest(ctx context.Context, digest string) (client.Image, error) {
	stored, err := r.client.ImageService().List(ctx, fmt.Sprintf("target.digest==%s", digest))
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 {
		return nil, kindError{ErrImageUnknown, fmt.Errorf("image %s is not on this node: pull it first", digest)}
	}
	image := client.NewImage(r.client, stored[0])
	if err := r.checkRunnable(ctx, image); err != nil {
		return nil, err
	}
	return image, nil
}

// checkRunnable refuses an image that is not for this platform with an ErrRejected, and one whose parts are not
// all here with an ErrImageUnknown.
func (r *Runtime) checkRunnable(ctx context.Context, image client.Image) error {
	store := r.client.ContentStore()
	available, _, _, missing, err := images.Check(ctx, store, image.Target(), image.Platform())
	switch {
	case errdefs.IsNotFound(err):
		return rejectf("image %s has nothing for %s", image.Name(), r.platformName())
	case err != nil:
		return err
	case !available || len(missing) > 0:
		return kindError{ErrImageUnknown, fmt.Errorf("image %s is not complete on this node: pull it again", image.Name())}
	}
	// An index was searched for the platform. Of an image without one, only its configuration tells.
	config, err := image.Config(ctx)
	if err != nil {
		return err
	}
	platform, err := images.ConfigPlatform(ctx, store, config)
	if err != nil {
		return err
	}
	if platform.Architecture != "" && !image.Platform().Match(platform) {
		return rejectf("image %s is for %s, and this node is %s", image.Name(), platformOf(platform), r.platformName())
	}
	return nil
}

// unpackedImage returns an image that is ready to make containers from, and the snapshotter it is ready in.
func (r *Runtime) unpackedImage(ctx context.Context, c cluster.Container) (client.Image, string, error) {
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return nil, "", err
	}
	image, err := r.imageByDigest(ctx, c.Digest)
	if err != nil {
		return nil, "", err
	}
	unpacked, err := image.IsUnpacked(ctx, snapshotter)
	if err == nil && !unpacked {
		err = image.Unpack(ctx, snapshotter)
	}
	if err != nil {
		return nil, "", fmt.Errorf("unpack image %s: %w", c.Image, err)
	}
	return image, snapshotter, nil
}

// Tag gives a reference to the image of that digest, which is here, as docker tag does.
func (r *Runtime) Tag(ctx context.Context, name, to string) error {
	ref, err := parseRef(name)
	if err != nil {
		return err
	}
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return err
	}
	defer cancel()
	image, err := r.imageByDigest(ctx, to)
	if err == nil {
		err = r.name(ctx, ref, images.Image{Target: image.Target()}, true)
	}
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, r.explain(ctx, err))
	}
	return nil
}

// name keeps an image under its digest, for the services that run it, and under its tag. A tag that names another
// image moves only if asked to.
func (r *Runtime) name(ctx context.Context, ref imageRef, image images.Image, move bool) error {
	names := []string{ref.pinned(image.Target.Digest)}
	if ref.tag != "" {
		names = append(names, ref.name())
	}
	for _, name := range names {
		image.Name = name
		_, err := r.client.ImageService().Create(ctx, image)
		if errdefs.IsAlreadyExists(err) && move {
			// With its target goes the mark: whoever moves a name is a person.
			_, err = r.client.ImageService().Update(ctx, image, "target", "labels")
		}
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

// RemoveImage removes an image by reference; with a tag, also what only that tag kept. One that a container here
// runs stays, and the error is ErrImageInUse. One that is not here is ErrImageUnknown.
func (r *Runtime) RemoveImage(ctx context.Context, name string) error {
	if err := r.removeImage(ctx, name); err != nil {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	return nil
}

func (r *Runtime) removeImage(ctx context.Context, name string) error {
	ref, err := parseRef(name)
	if err != nil {
		return err
	}
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return err
	}
	defer cancel()
	store := r.client.ImageService()
	if ref.digest != "" {
		ref.tag = ""
	}
	image, err := store.Get(ctx, ref.name())
	if errdefs.IsNotFound(err) {
		return kindError{ErrImageUnknown, fmt.Errorf("it is not on this node: see piswarm image ls")}
	} else if err != nil {
		return r.explain(ctx, err)
	}
	users, err := r.imageUsers(ctx, image.Target.Digest)
	if err != nil {
		return r.explain(ctx, err)
	}
	others, err := store.List(ctx, fmt.Sprintf("target.digest==%s", image.Target.Digest))
	if err != nil {
		return r.explain(ctx, err)
	}
	// The pinned name goes with the last tag of its repository, and not before.
	remove := []string{image.Name}
	pinned := ref.pinned(image.Target.Digest)
	others = slices.DeleteFunc(others, func(o images.Image) bool { return o.Name == image.Name })
	if !slices.ContainsFunc(others, func(o images.Image) bool {
		other, err := parseRef(o.Name)
		return err == nil && o.Name != pinned && other.repository == ref.repository
	}) {
		remove = append(remove, pinned)
		others = slices.DeleteFunc(others, func(o images.Image) bool { return o.Name == pinned })
	}
	if len(users) > 0 && len(others) == 0 {
		return kindError{ErrImageInUse, fmt.Errorf("service %s runs it on this node: remove the service first", users[0])}
	}
	return r.explain(ctx, r.removeNames(ctx, remove))
}

// imageUsers names the services of the containers made from an image.
func (r *Runtime) imageUsers(ctx context.Context, d digest.Digest) (services []string, err error) {
	err = r.eachRecord(ctx, fmt.Sprintf("labels.%q==%q", labelDigest, d.String()), func(c *containersapi.Container) {
		services = append(services, c.Labels[labelService])
	})
	return services, err
}
