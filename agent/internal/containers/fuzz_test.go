package containers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// part is a file of an archive.
type part struct {
	name, body string
	link       string // instead of a body
}

func archiveOf(t testing.TB, parts ...part) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, p := range parts {
		h := &tar.Header{Name: p.name, Mode: 0o644, Size: int64(len(p.body)), Typeflag: tar.TypeReg}
		if p.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, p.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, p.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// small are the two kinds of archives with next to nothing in them.
func small(t testing.TB) (docker, oci []byte) {
	layer := string(archiveOf(t, part{name: "etc/motd", body: "hello"}))
	config := `{"architecture":"arm","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`
	docker = archiveOf(t, part{name: "config.json", body: config}, part{name: "layer.tar", body: layer}, part{name: "other.tar", link: "layer.tar"},
		part{name: "manifest.json", body: `[{"Config":"config.json","RepoTags":["greeter:1"],"Layers":["layer.tar","other.tar"]}]`})
	manifest := `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest.FromString(config).String() + `","size":2},"layers":[]}`
	oci = archiveOf(t, part{name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}`}, part{name: "blobs/sha256/x", body: manifest},
		part{name: "index.json", body: fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{%q:"greeter:1"}}]}`,
			ocispec.MediaTypeImageManifest, digest.FromString(manifest), len(manifest), ocispec.AnnotationRefName)})
	return docker, oci
}

// memory is a content store without a disk, which would wait for each part of an archive.
type memory struct {
	content.Store
	blobs map[digest.Digest][]byte
}

func newMemory() memory { return memory{blobs: map[digest.Digest][]byte{}} }

func (m memory) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	raw, ok := m.blobs[desc.Digest]
	if !ok {
		return nil, errdefs.ErrNotFound
	}
	return blob{bytes.NewReader(raw)}, nil
}

func (m memory) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	if raw, ok := m.blobs[d]; ok {
		return content.Info{Digest: d, Size: int64(len(raw))}, nil
	}
	return content.Info{}, errdefs.ErrNotFound
}

func (memory) Walk(context.Context, content.WalkFunc, ...string) error { return nil }

func (m memory) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return &memoryWriter{store: m}, nil
}

type memoryWriter struct {
	bytes.Buffer
	store memory
}

func (w *memoryWriter) Close() error          { return nil }
func (w *memoryWriter) Digest() digest.Digest { return digest.FromBytes(w.Bytes()) }
func (w *memoryWriter) Status() (content.Status, error) {
	return content.Status{Offset: int64(w.Len())}, nil
}
func (w *memoryWriter) Truncate(int64) error { w.Reset(); return nil }

func (w *memoryWriter) Commit(_ context.Context, size int64, want digest.Digest, _ ...content.Opt) error {
	if size > 0 && size != int64(w.Len()) || want != "" && want != w.Digest() {
		return errdefs.ErrFailedPrecondition
	}
	w.store.blobs[w.Digest()] = bytes.Clone(w.Bytes())
	return nil
}

// FuzzArchive is what `piswarm image load` is given. No more of it is kept than there is room for.
func FuzzArchive(f *testing.F) {
	docker, oci := small(f)
	f.Add(docker)
	f.Add(oci)
	f.Add(zipped(f, docker))
	f.Add(archiveOf(f, part{name: "../../etc/passwd", body: "x"}, part{name: "manifest.json", body: "[]"}))
	const room = 64 << 10
	f.Fuzz(func(t *testing.T, raw []byte) {
		store := newMemory()
		_, found, err := readArchive(context.Background(), store, bytes.NewReader(raw), room)
		if err == nil && len(found) == 0 {
			t.Error("no image, and no error")
		}
		size := 0
		for _, b := range store.blobs {
			size += len(b)
		}
		if size > room {
			t.Errorf("%d bytes are kept, and there is room for %d", size, room)
		}
		for _, a := range found {
			if _, err := parseRef(a.ref.name()); err != nil {
				t.Errorf("an image by the name %q: %v", a.ref.name(), err)
			}
		}
	})
}

// FuzzManifest is what registries, members and archives say about images.
func FuzzManifest(f *testing.F) {
	for _, raw := range []string{
		`{"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[{"platform":{"os":"linux","architecture":"arm","variant":"v6"}},{"digest":"sha256:0"}]}`,
		`{"config":{"mediaType":"` + ocispec.MediaTypeImageConfig + `"},"layers":[]}`,
		`{"os":"linux","architecture":"arm64","config":{"Shell":["/bin/sh"],"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000}}}`,
		`{"config":{"Healthcheck":{"Test":["NONE"],"Retries":-1}}}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		kind, err := manifestType(blob{bytes.NewReader(raw)})
		if err == nil && kind == "" {
			t.Error("a manifest of no kind")
		}
		if h, err := healthOf(raw); err == nil {
			if _, err := json.Marshal(h.WithDefaults()); err != nil {
				t.Error(err)
			}
		}
		// Whatever it names is this once more: a chain without an end.
		read := 0
		out, err := resolved(context.Background(), imageRef{}, ocispec.Descriptor{MediaType: kind}, func(context.Context, ocispec.Descriptor) ([]byte, error) {
			read++
			return raw, nil
		})
		if read > maxPlatforms || len(out.Platforms) > maxPlatforms {
			t.Errorf("read %d times for %d platforms, %v", read, len(out.Platforms), err)
		}
		var index ocispec.Index
		if json.Unmarshal(raw, &index) == nil {
			if found, err := namedImages(index); err == nil && len(found) == 0 {
				t.Error("no image, and no error")
			}
		}
	})
}

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

// FuzzReference: a reference has a name that is read as the same, and a path of the node API names a digest or nothing.
func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"greeter", "docker.io/library/greeter:1", "pi1:5000/a/b@sha256:" + strings.Repeat("a", 64), "/v2/greeter/blobs/sha256:" + strings.Repeat("a", 64),
		"/v2/../v2/x/manifests/sha256:x", "greeter:\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ref, err := parseRef(s); err == nil {
			if again, err := parseRef(ref.name()); err != nil || again.name() != ref.name() {
				t.Errorf("%q is %q, and that %q, %v", s, ref.name(), again.name(), err)
			}
		}
		if kind, d, ok := parseBlobPath(s); ok && (d.Validate() != nil || kind != "blobs" && kind != "manifests" || strings.ContainsAny(d.Encoded(), "/.")) {
			t.Errorf("%q is the %s %q", s, kind, d)
		}
	})
}

// TestArchiveThatUnpacksToTooMuch is refused for each of the ways in which a small file may become a large one.
func TestArchiveThatUnpacksToTooMuch(t *testing.T) {
	var many, links []part
	for i := range maxParts + 1 {
		many = append(many, part{name: fmt.Sprint("blobs/", i), body: "x"})
	}
	for i := range maxBetween/512 + 1 {
		links = append(links, part{name: fmt.Sprint("l", i), link: "x"})
	}
	for want, raw := range map[string][]byte{
		"more than this node's disk has room for": archiveOf(t, part{name: "layer.tar", body: strings.Repeat("\x00", 80<<20)}),
		"more than 10000 files":                   archiveOf(t, many...),
		"more than 32 MB besides its files":       archiveOf(t, links...),
		"which is no application":                 archiveOf(t, part{name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}`}, part{name: "index.json", body: strings.Repeat(" ", maxManifest+1)}),
	} {
		bomb := zipped(t, raw)
		_, _, err := readArchive(t.Context(), newMemory(), bytes.NewReader(bomb), 64<<20)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v; want … %s", len(bomb), err, want)
		}
	}
	docker, oci := small(t)
	for _, raw := range [][]byte{docker, oci} {
		if _, found, err := readArchive(t.Context(), newMemory(), bytes.NewReader(raw), 64<<20); err != nil || len(found) != 1 {
			t.Errorf("a good archive: %v, %v", found, err)
		}
	}
}
