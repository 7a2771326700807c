package containers_test

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// programImage is an image of testdata/program for a platform. mark makes it another one.
func programImage(t *testing.T, platform v1.Platform, mark string) v1.Image {
	t.Helper()
	program, err := os.ReadFile(programPath)
	if err != nil {
		t.Fatal(err)
	}
	layers := []map[string]file{
		{"program": {mode: 0o755, body: program}},
		{
			"etc/passwd": {body: []byte("root:x:0:0::/:/none\nuser:x:1234:1235::/:/none\n")},
			"etc/group":  {body: []byte("root:x:0:\nuser:x:1235:\nextra:x:1236:user\n")},
			"tmp/":       {mode: 0o1777},
			"data/":      {mode: 0o755, uid: 1234},
			"data/seed":  {body: []byte("seed of the image"), uid: 1234},
			"mark":       {body: []byte(mark)},
		},
	}
	image := empty.Image
	for _, files := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tarOf(t, files))), nil })
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			t.Fatal(err)
		}
	}
	config := &v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant, Config: v1.Config{
		Entrypoint: []string{"/program"}, Cmd: []string{"sleep"}, Env: []string{"FROM=image", "BOTH=image"},
		WorkingDir: "/tmp", StopSignal: "SIGUSR1",
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/program", "exit", "0"}, Interval: 7 * time.Second, Retries: 2},
	}}
	old, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.RootFS, config.History = old.RootFS, old.History
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

type file struct {
	mode int64
	uid  int
	body []byte
}

func tarOf(t *testing.T, files map[string]file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, path := range sortedKeys(files) {
		f := files[path]
		header := &tar.Header{Name: path, Mode: f.mode, Uid: f.uid, Size: int64(len(f.body)), Typeflag: tar.TypeReg}
		if path[len(path)-1] == '/' {
			header.Typeflag = tar.TypeDir
		} else if f.mode == 0 {
			header.Mode = 0o644
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func native() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// foreign is a platform that this machine does not run.
func foreign() v1.Platform {
	if runtime.GOARCH == "riscv64" {
		return v1.Platform{OS: "linux", Architecture: "s390x"}
	}
	return v1.Platform{OS: "linux", Architecture: "riscv64"}
}

// multiPlatform is an index of the program for several platforms, and an attestation as docker buildx makes them.
func multiPlatform(t *testing.T, mark string, list ...v1.Platform) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range list {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: programImage(t, p, mark+p.String()), Descriptor: v1.Descriptor{Platform: &p}})
	}
	return mutate.AppendManifests(index, mutate.IndexAddendum{
		Add: empty.Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}},
	})
}

// dockerSave is what docker save writes for an image of that name; without a name, for one by its ID.
func dockerSave(t *testing.T, ref string, image v1.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	var tag name.Reference
	var err error
	if ref != "" {
		tag, err = name.NewTag(ref)
	} else {
		tag, err = name.NewDigest("x@sha256:" + string(bytes.Repeat([]byte("0"), 64)))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.Write(tag, image, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ociArchive is an OCI layout in a tar, with an image or an index under a reference name.
func ociArchive(t *testing.T, refName string, what mutate.Appendable) []byte {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	var annotations layout.Option = layout.WithAnnotations(map[string]string{})
	if refName != "" {
		annotations = layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": refName})
	}
	switch what := what.(type) {
	case v1.ImageIndex:
		err = path.AppendIndex(what, annotations)
	case v1.Image:
		err = path.AppendImage(what, annotations)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// load loads the program for this machine and returns its digest.
func (n *node) load(ref, mark string) string {
	n.t.Helper()
	loaded, err := n.Load(n.ctx, bytes.NewReader(dockerSave(n.t, ref, programImage(n.t, native(), mark))))
	if err != nil {
		n.t.Fatal(err)
	}
	return loaded[0].Digest
}

// spec is a container of the program.
func spec(id, digest string, args ...string) containers.Spec {
	return containers.Spec{
		ID:        id,
		Task:      containers.Task{Service: "web", ServiceID: "s1", Slot: 1, SpecVersion: 1},
		Container: cluster.Container{Image: "docker.io/library/program:latest", Digest: digest, Args: args},
	}
}

func (n *node) run(s containers.Spec) {
	n.t.Helper()
	if err := n.Create(n.ctx, s); err != nil {
		n.t.Fatal(err)
	}
	if err := n.Start(n.ctx, s.ID); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) find(id string) containers.Container {
	n.t.Helper()
	list, err := n.List(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range list {
		if c.ID == id {
			return c
		}
	}
	n.t.Fatalf("no container %s in %+v", id, list)
	return containers.Container{}
}

// output waits for a container's end and returns what it wrote.
func (n *node) output(id string) string {
	n.t.Helper()
	eventually(n.t, "container ends", func() bool { return n.find(id).State == containers.Stopped })
	return n.log(id)
}

func (n *node) log(id string) string {
	n.t.Helper()
	log, err := n.Log(id)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

func sortedKeys(files map[string]file) []string { return slices.Sorted(maps.Keys(files)) }
