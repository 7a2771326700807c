package containers

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// reportEvery is the pause between two reports of progress.
const reportEvery = 200 * time.Millisecond

// meter counts the bytes of a transfer.
type meter struct {
	report func(done, total int64)

	mu          sync.Mutex
	done, total int64
	last        time.Time
	expected    []ocispec.Descriptor // layers
}

func newMeter(report func(done, total int64)) *meter { return &meter{report: report} }

func (m *meter) add(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += done
	m.total += total
	if now := time.Now(); now.Sub(m.last) >= reportEvery {
		m.last = now
		m.report(m.done, m.total)
	}
}

// finish reports that all is here. Parts that containerd had for somebody else were never counted.
func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report(m.total, m.total)
}

// expect adds up, as soon as a manifest is here, how much its layers are, and how much of that is here already.
func (m *meter) expect(store content.Store) func(images.Handler) images.Handler {
	return func(next images.Handler) images.Handler {
		return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			children, err := next.Handle(ctx, desc)
			if err == nil && images.IsManifestType(desc.MediaType) {
				var done, total int64
				for _, child := range children {
					if !images.IsLayerType(child.MediaType) {
						continue
					}
					total += child.Size
					if _, err := store.Info(ctx, child.Digest); err == nil {
						done += child.Size
					}
				}
				m.add(done, total)
				m.note(children)
			}
			return children, err
		})
	}
}

// note remembers which layers are meant to come.
func (m *meter) note(children []ocispec.Descriptor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, child := range children {
		if images.IsLayerType(child.MediaType) {
			m.expected = append(m.expected, child)
		}
	}
}

// layers are those that were meant to come.
func (m *meter) layers() []ocispec.Descriptor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.expected)
}

// meteredResolver counts what its fetchers deliver of layers.
type meteredResolver struct {
	remotes.Resolver
	meter *meter
}

func (r meteredResolver) Fetcher(ctx context.Context, ref string) (remotes.Fetcher, error) {
	f, err := r.Resolver.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	return remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		body, err := f.Fetch(ctx, desc)
		if err != nil || !images.IsLayerType(desc.MediaType) {
			return body, err
		}
		counted := meteredBody{body, r.meter}
		if s, ok := body.(io.Seeker); ok {
			// Seeking is how containerd goes on with a part that an earlier attempt began.
			return struct {
				meteredBody
				io.Seeker
			}{counted, s}, nil
		}
		return counted, nil
	}), nil
}

type meteredBody struct {
	io.ReadCloser
	meter *meter
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.add(int64(n), 0)
	return n, err
}
