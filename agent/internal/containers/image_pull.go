package containers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PullRequest says what to fetch and where it may be.
type PullRequest struct {
	Ref    string
	Digest string
	// Sources hold the image, as far as is known. They are asked in this order.
	Sources []Peer
	// Registry allows to ask the registry that Ref names if no source has it.
	Registry bool
	// ForService says that no person asked for the image: PruneImages may remove it.
	ForService bool
	// Progress, if not nil, is told from time to time how many bytes are here, of how many. It must not block.
	Progress func(done, total int64)
}

const (
	pullLimit = 2 * time.Hour
	// maxSources bounds how many peers one pull tries.
	maxSources = 5
	// downloads is how many parts of an image come at once.
	downloads = 3
)

// Pull fetches the image of a digest for this node's platform and prepares it for [Runtime.Create]. An image that
// is here is not fetched; calls for the same digest share one transfer.
func (r *Runtime) Pull(ctx context.Context, req PullRequest) error {
	ref, err := parseRef(req.Ref)
	if err != nil {
		return err
	}
	if ref.digest = digest.Digest(req.Digest); ref.digest.Validate() != nil {
		return fmt.Errorf("pull %s: bad digest %q", req.Ref, req.Digest)
	}
	if err := r.pulls.share(ctx, req.Digest, req.Progress, func(ctx context.Context, progress func(done, total int64)) error {
		return r.pull(ctx, ref, req, progress)
	}); err != nil {
		return fmt.Errorf("pull %s: %w", req.Ref, err)
	}
	return nil
}

func (r *Runtime) pull(ctx context.Context, ref imageRef, req PullRequest, progress func(done, total int64)) error {
	ctx, cancel, err := r.begin(ctx, pullLimit)
	if err != nil {
		return err
	}
	defer cancel()
	if image, err := r.imageByDigest(ctx, req.Digest); err == nil {
		return r.explain(ctx, r.name(ctx, ref, req.named(image.Target()), false))
	} else if !errors.Is(err, ErrImageUnknown) {
		return r.explain(ctx, err)
	}
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return r.explain(ctx, err)
	}
	sources := req.Sources[:min(len(req.Sources), maxSources)]
	// A source may be gone, which the transfer itself goes around, or have a bad disk and give wrong bytes, which
	// is only known when they are all here. Then the next attempt leaves it out.
	for {
		meter := newMeter(progress)
		image, err := r.fetch(ctx, ref, req, sources, snapshotter, meter)
		if err == nil {
			meter.finish()
			return r.explain(ctx, r.name(ctx, ref, req.named(image.Target()), false))
		}
		if reachErr := r.reach(ctx); reachErr != nil {
			return reachErr
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isNoSpace(err) {
			return r.explain(ctx, errors.Join(err, r.dropParts(ctx, meter.layers())))
		}
		if strings.Contains(err.Error(), "no match for platform") {
			return rejectf("the image has nothing for %s", r.platformName())
		}
		if err := r.dropSpoiled(ctx); err != nil {
			return r.explain(ctx, err)
		}
		if len(sources) == 0 || len(sources) == 1 && !req.Registry {
			return r.pullError(req, err)
		}
		r.cfg.Log.Info("pull goes on without a member", "image", req.Ref, "member", sources[0].Name, "error", err)
		sources = sources[1:]
	}
}

// labels mark what the request brings.
func (q PullRequest) labels() map[string]string {
	if q.ForService {
		return map[string]string{labelForService: "yes"}
	}
	return nil
}

// named is what the request calls an image.
func (q PullRequest) named(target ocispec.Descriptor) images.Image {
	return images.Image{Target: target, Labels: q.labels()}
}

// fetch does one transfer.
func (r *Runtime) fetch(ctx context.Context, ref imageRef, req PullRequest, sources []Peer, snapshotter string, m *meter) (client.Image, error) {
	resolver, err := r.resolver(sources, req.Registry)
	if err != nil {
		return nil, err
	}
	return r.client.Pull(ctx, ref.pinned(ref.digest),
		client.WithResolver(meteredResolver{resolver, m}),
		client.WithPullUnpack,
		client.WithPullLabels(req.labels()),
		client.WithPullSnapshotter(snapshotter),
		client.WithMaxConcurrentDownloads(downloads),
		client.WithImageHandlerWrapper(m.expect(r.client.ContentStore())))
}

// dropSpoiled removes the parts of transfers that are complete and were still not taken: their bytes are wrong,
// and would be taken for the beginning of the next attempt.
func (r *Runtime) dropSpoiled(ctx context.Context) error {
	store := r.client.ContentStore()
	unfinished, err := store.ListStatuses(ctx)
	if err != nil {
		return err
	}
	for _, s := range unfinished {
		if s.Total > 0 && s.Offset >= s.Total {
			if err := store.Abort(ctx, s.Ref); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// dropParts removes what a transfer has brought of layers that are not complete. It would be the beginning of the next
// attempt, but on a full disk others need the space.
func (r *Runtime) dropParts(ctx context.Context, layers []ocispec.Descriptor) error {
	for _, layer := range layers {
		err := r.client.ContentStore().Abort(ctx, remotes.MakeRefKey(ctx, layer))
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (r *Runtime) pullError(req PullRequest, err error) error {
	if !errdefs.IsNotFound(err) {
		return err
	}
	where := "no member that was asked has it"
	if req.Registry {
		where += ", nor has its registry"
	}
	return kindError{ErrImageUnknown, fmt.Errorf("%s: load it with piswarm image load (%w)", where, err)}
}

func (r *Runtime) platformName() string { return platformOf(platforms.DefaultSpec()).String() }
