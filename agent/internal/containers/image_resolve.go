package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Held is an image that other members report to hold.
type Held struct {
	Name   string
	Digest string
	Peers  []Peer
}

// Resolved is what a reference means.
type Resolved struct {
	Name      string // normalised, for example docker.io/library/greeter:latest
	Digest    string
	Platforms []cluster.Platform // none if the image does not say
}

const (
	resolveLimit = 45 * time.Second
	// maxManifest bounds what is read into memory, maxPlatforms how often, to learn an image's platforms.
	maxManifest  = 4 << 20
	maxPlatforms = 64
)

// Resolve finds out which image a reference means: the one that this node holds by that name, else the one that
// other members do (the first of held that matches), else what its registry says. An image that is nowhere gives
// an ErrImageUnknown.
func (r *Runtime) Resolve(ctx context.Context, name string, held []Held) (Resolved, error) {
	ref, err := parseRef(name)
	if err != nil {
		return Resolved{}, err
	}
	ctx, cancel, err := r.begin(ctx, resolveLimit)
	if err != nil {
		return Resolved{}, fmt.Errorf("resolve image %s: %w", name, err)
	}
	defer cancel()
	for _, resolve := range []func(context.Context, imageRef, []Held) (Resolved, error){r.resolveHere, r.resolveAtMembers, r.resolveAtRegistry} {
		var found Resolved
		if found, err = resolve(ctx, ref, held); err == nil {
			return found, nil
		}
		if !errors.Is(err, ErrImageUnknown) {
			return Resolved{}, fmt.Errorf("resolve image %s: %w", name, r.explain(ctx, err))
		}
	}
	return Resolved{}, err
}

// ResolveRegistry asks only the registry, for a pull that shall bring what is newest.
func (r *Runtime) ResolveRegistry(ctx context.Context, name string) (Resolved, error) {
	ref, err := parseRef(name)
	if err != nil {
		return Resolved{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, resolveLimit, errStalled)
	defer cancel()
	return r.resolveAtRegistry(ctx, ref, nil)
}

func unknownImage(ref imageRef, format string, args ...any) error {
	return kindError{ErrImageUnknown, fmt.Errorf("image %s "+format, append([]any{ref.name()}, args...)...)}
}

func (r *Runtime) resolveHere(ctx context.Context, ref imageRef, _ []Held) (Resolved, error) {
	filter := fmt.Sprintf("name==%s", ref.name())
	if ref.digest != "" {
		filter = fmt.Sprintf("target.digest==%s", ref.digest)
	}
	stored, err := r.client.ImageService().List(ctx, filter)
	if err != nil {
		return Resolved{}, err
	}
	if len(stored) == 0 {
		return Resolved{}, unknownImage(ref, "is not on this node")
	}
	read := func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
		return content.ReadBlob(ctx, r.client.ContentStore(), desc)
	}
	return resolved(ctx, ref, stored[0].Target, read)
}

func (r *Runtime) resolveAtMembers(ctx context.Context, ref imageRef, held []Held) (Resolved, error) {
	for _, h := range held {
		if ref.digest != "" && h.Digest != ref.digest.String() || ref.digest == "" && h.Name != ref.name() {
			continue
		}
		resolver, err := r.resolver(h.Peers, false)
		if err != nil {
			return Resolved{}, err
		}
		found, err := resolveRemote(ctx, resolver, ref, ref.pinned(digest.Digest(h.Digest)))
		if err == nil {
			return found, nil
		}
		r.cfg.Log.Info("members do not give an image that they report", "image", h.Name, "digest", h.Digest, "error", err)
	}
	return Resolved{}, unknownImage(ref, "is on no member")
}

func (r *Runtime) resolveAtRegistry(ctx context.Context, ref imageRef, _ []Held) (Resolved, error) {
	resolver, err := r.resolver(nil, true)
	if err != nil {
		return Resolved{}, err
	}
	object := ref.name()
	if ref.digest != "" {
		object = ref.pinned(ref.digest)
	}
	found, err := resolveRemote(ctx, resolver, ref, object)
	switch {
	case err == nil:
		return found, nil
	case errdefs.IsNotFound(err):
		return Resolved{}, unknownImage(ref, "is on no node and its registry has none by that name: check the name, or load it with piswarm image load")
	}
	// A registry that cannot be reached is an image that cannot be found, as far as anybody here can help it.
	return Resolved{}, unknownImage(ref, "is on no node and its registry does not give it: load it with piswarm image load, or see whether the registry can be reached (%w)", err)
}

func resolveRemote(ctx context.Context, resolver remotes.Resolver, ref imageRef, object string) (Resolved, error) {
	name, target, err := resolver.Resolve(ctx, object)
	if err != nil {
		return Resolved{}, err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return Resolved{}, err
	}
	return resolved(ctx, ref, target, func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
		body, err := fetcher.Fetch(ctx, desc)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		return readAll(body, desc)
	})
}

// resolved reads the platforms of an image, for which it needs the index, or the configuration of an image
// without one.
func resolved(ctx context.Context, ref imageRef, target ocispec.Descriptor, read func(context.Context, ocispec.Descriptor) ([]byte, error)) (Resolved, error) {
	out := Resolved{Name: ref.name(), Digest: target.Digest.String()}
	todo := []ocispec.Descriptor{target}
	for n := 0; len(todo) > 0 && n < maxPlatforms; n++ {
		desc := todo[0]
		todo = todo[1:]
		if desc.Platform != nil && desc.Platform.Architecture != "" {
			// Attestations about an image are of the platform unknown.
			if p := platformOf(*desc.Platform); desc.Platform.OS != "unknown" && !slices.Contains(out.Platforms, p) {
				out.Platforms = append(out.Platforms, p)
			}
			continue
		}
		raw, err := read(ctx, desc)
		if err != nil {
			return Resolved{}, fmt.Errorf("read %s: %w", desc.Digest, err)
		}
		var body struct {
			Manifests []ocispec.Descriptor `json:"manifests"`
			Config    *ocispec.Descriptor  `json:"config"`
		}
		if images.IsConfigType(desc.MediaType) {
			// Its own member config is the process, not a descriptor.
			var config ocispec.Image
			if err := json.Unmarshal(raw, &config); err != nil {
				return Resolved{}, fmt.Errorf("read %s: %w", desc.Digest, err)
			}
			if config.Architecture != "" {
				todo = append(todo, ocispec.Descriptor{Platform: &config.Platform})
			}
			continue
		}
		if err := json.Unmarshal(raw, &body); err != nil {
			return Resolved{}, fmt.Errorf("read %s: %w", desc.Digest, err)
		}
		todo = append(todo, body.Manifests...)
		if body.Config != nil {
			todo = append(todo, *body.Config)
		}
	}
	return out, nil
}

// readAll reads a small blob and checks that it is the one asked for.
func readAll(body io.Reader, desc ocispec.Descriptor) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxManifest))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != desc.Digest {
		return nil, fmt.Errorf("wrong content: its digest is %s", got)
	}
	return raw, nil
}
