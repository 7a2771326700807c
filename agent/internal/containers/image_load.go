package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// loadLimit bounds an import: gigabytes, from a slow network, onto a slow SD card.
	loadLimit = time.Hour
	// dropLimit bounds how long unfinished parts may resist their removal.
	dropLimit = 5 * time.Second
)

// Load imports an archive as docker save or an OCI tool makes it, gzipped or not. All platforms in it are kept,
// so that nodes of other kinds can fetch theirs from here. If the archive is no good, nothing of it stays.
func (r *Runtime) Load(ctx context.Context, archive io.Reader) ([]cluster.Image, error) {
	loaded, err := r.load(ctx, archive)
	if err != nil {
		return nil, fmt.Errorf("load image: %w", err)
	}
	return loaded, nil
}

func (r *Runtime) load(ctx context.Context, archive io.Reader) (_ []cluster.Image, err error) {
	ctx, cancel, err := r.begin(ctx, loadLimit)
	if err != nil {
		return nil, err
	}
	defer cancel()
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	// The lease keeps what is imported until it has a name. Ending it removes the rest, and so all of an archive
	// that turns out bad.
	lease, err := r.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(loadLimit))
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	ctx = leases.WithLease(ctx, lease.ID)
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowLimit)
		defer cancel()
		err = errors.Join(err, r.dropIngests(clean), r.client.LeasesService().Delete(clean, lease, leases.SynchronousDelete))
	}()
	// Unfinished parts of an import that a crash ended would be taken for the beginning of this one's.
	if err := r.dropIngests(ctx); err != nil {
		return nil, r.explain(ctx, err)
	}
	found, err := r.importArchive(ctx, archive)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	var loaded []cluster.Image
	for _, f := range found {
		if err := r.unpackLoaded(ctx, f); err != nil {
			return nil, r.explain(ctx, err)
		}
	}
	for _, f := range found {
		image := images.Image{Target: f.target}
		if err := r.name(ctx, f.ref, image, true); err != nil {
			return nil, r.explain(ctx, err)
		}
		image.Name = f.ref.name()
		loaded = append(loaded, cluster.Image{Name: image.Name, Digest: f.target.Digest.String(), SizeBytes: r.imageSize(ctx, image)})
	}
	return loaded, nil
}

// dropIngests removes the unfinished parts of imports, which only exist while one runs. containerd may still be
// closing one of which the transfer just broke off, and cannot remove it until then.
func (r *Runtime) dropIngests(ctx context.Context) error {
	for deadline := time.Now().Add(dropLimit); ; {
		err := r.tryDropIngests(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *Runtime) tryDropIngests(ctx context.Context) error {
	store := r.client.ContentStore()
	unfinished, err := store.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, s := range unfinished {
		if strings.HasPrefix(s.Ref, "tar-") {
			if err := store.Abort(ctx, s.Ref); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// archived is an image that an archive holds.
type archived struct {
	ref    imageRef
	target ocispec.Descriptor
}

// importArchive reads an archive into the content store and returns the images in it.
func (r *Runtime) importArchive(ctx context.Context, in io.Reader) ([]archived, error) {
	room := int64(math.MaxInt64)
	if disk, err := r.Disk(ctx); err == nil {
		room = disk.Free - spareRoom
	}
	store, found, err := readArchive(ctx, r.client.ContentStore(), in, room)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if err := keepChildren(ctx, store, f); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// badArchive makes one clear error of what the importer says about an archive that is none.
func badArchive(err error) error {
	if errdefs.IsUnavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("the archive is cut short: save it again, for example docker save -o greeter.tar greeter")
	}
	return fmt.Errorf("this is not an image archive: make one with docker save -o greeter.tar greeter (%w)", err)
}

// namedImages are the images that an archive's index names.
func namedImages(index ocispec.Index) ([]archived, error) {
	var found []archived
	for _, m := range index.Manifests {
		// docker writes the whole reference into the first; other tools know only the second.
		name := cmp.Or(m.Annotations[images.AnnotationImageName], m.Annotations[ocispec.AnnotationRefName])
		if name == "" {
			continue
		}
		ref, err := parseRef(name)
		if err != nil {
			return nil, fmt.Errorf("the archive names an image %q: want for example greeter:1", name)
		}
		ref.digest = ""
		if ref.tag == "" {
			ref.tag = "latest"
		}
		if i := slices.IndexFunc(found, func(f archived) bool { return f.ref == ref }); i < 0 {
			found = append(found, archived{ref, m})
		} else if found[i].target.Digest != m.Digest {
			return nil, fmt.Errorf("the archive has two images by the name %s: save each by a name of its own", ref.name())
		}
	}
	if len(found) == 0 {
		return nil, errors.New("the archive names no image: save it by its name, for example docker save -o greeter.tar greeter:latest")
	}
	return found, nil
}

// keepChildren ties all parts of an image to it, so that containerd keeps them as long as the image has a name.
// Platforms that the archive leaves out are no fault; an image without a single complete platform is.
func keepChildren(ctx context.Context, store content.Store, f archived) error {
	children := images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := images.Children(ctx, store, desc)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return children, err
	})
	if err := images.Walk(ctx, images.SetChildrenLabels(store, children), f.target); err != nil {
		return badArchive(err)
	}
	list, err := images.Platforms(ctx, store, f.target)
	if err != nil {
		return badArchive(err)
	}
	for _, p := range list {
		if _, _, _, missing, err := images.Check(ctx, store, f.target, platforms.OnlyStrict(p)); err == nil && len(missing) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the archive lacks parts of image %s: save it again", f.ref.name())
}

// unpackLoaded prepares an image for this node's containers, if it has something for this node.
func (r *Runtime) unpackLoaded(ctx context.Context, f archived) error {
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return err
	}
	image := client.NewImage(r.client, images.Image{Name: f.ref.name(), Target: f.target})
	if err := r.checkRunnable(ctx, image); errors.Is(err, ErrRejected) || errors.Is(err, ErrImageUnknown) {
		return nil
	} else if err != nil {
		return err
	}
	if err := image.Unpack(ctx, snapshotter); err != nil {
		if r.reach(ctx) != nil {
			return err
		}
		return badArchive(err)
	}
	return nil
}
