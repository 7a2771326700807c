package containers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of an archive, which may be a few kilobytes that unpack to anything.
const (
	// maxParts is how many files one may have, and maxBetween how many bytes of it may be none of their content: what
	// their names and the lists of them take in memory.
	maxParts   = 10_000
	maxBetween = 32 << 20
	// spareRoom is what stays free on the disk, for the state among others.
	spareRoom = 128 << 20
)

// readArchive reads an archive into the content store, as far as there is room, and returns what its index lists.
func readArchive(ctx context.Context, store content.Store, in io.Reader, room int64) (*archiveStore, []archived, error) {
	plain, err := compression.DecompressStream(in)
	if err != nil {
		return nil, nil, badArchive(err)
	}
	defer plain.Close()
	s := &archiveStore{Store: store, in: plain, room: room}
	index, err := archive.ImportIndex(ctx, s, s)
	if err != nil {
		return nil, nil, badArchive(err)
	}
	raw, err := content.ReadBlob(ctx, s, index)
	if err != nil {
		return nil, nil, err
	}
	var list ocispec.Index
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, nil, badArchive(err)
	}
	found, err := namedImages(list)
	return s, found, err
}

// archiveStore is the content store as an archive is read into it, and the reader of that archive: it counts what goes
// in here and comes out there.
type archiveStore struct {
	content.Store
	in      io.Reader
	room    int64 // bytes that may still be stored
	parts   int
	between int64 // bytes read that were not stored
}

func (s *archiveStore) Read(p []byte) (int, error) {
	if s.between > maxBetween {
		return 0, fmt.Errorf("it has more than %d MB besides its files", maxBetween>>20)
	}
	n, err := s.in.Read(p)
	s.between += int64(n)
	return n, err
}

// Writer begins a part.
func (s *archiveStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	if s.parts++; s.parts > maxParts {
		return nil, fmt.Errorf("it has more than %d files", maxParts)
	}
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &archiveWriter{w, s}, nil
}

// ReaderAt refuses what would be read into memory as a whole and is too large for that.
func (s *archiveStore) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	r, err := s.Store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	t := desc.MediaType
	if r.Size() > maxManifest && (images.IsIndexType(t) || images.IsManifestType(t) || images.IsConfigType(t)) {
		r.Close()
		return nil, fmt.Errorf("%s has %d bytes, which is no %s", desc.Digest, r.Size(), t)
	}
	return r, nil
}

type archiveWriter struct {
	content.Writer
	store *archiveStore
}

func (w *archiveWriter) Write(p []byte) (int, error) {
	if w.store.room -= int64(len(p)); w.store.room < 0 {
		return 0, fmt.Errorf("it holds more than this node's disk has room for: free some with piswarm image rm")
	}
	w.store.between -= int64(len(p))
	return w.Writer.Write(p)
}
