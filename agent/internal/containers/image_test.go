package containers_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// left counts what a node's namespace has in the content store, finished and not, and its leases.
func (n *node) left() (blobs, ingests, leases int) {
	n.t.Helper()
	c, err := client.New(n.cfg.Socket, client.WithDefaultNamespace(n.cfg.Namespace))
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	err = c.ContentStore().Walk(n.ctx, func(content.Info) error { blobs++; return nil })
	if err != nil {
		n.t.Fatal(err)
	}
	unfinished, err := c.ContentStore().ListStatuses(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	held, err := c.LeasesService().List(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return blobs, len(unfinished), len(held)
}

func TestLoadNormalisesNames(t *testing.T) {
	n := newNode(t)
	image := programImage(t, native(), "x")
	index := multiPlatform(t, "x", native(), foreign())
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(dockerSave(t, "zipped:2", image))
	w.Close()
	for _, test := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"docker save", dockerSave(t, "greeter", image), "docker.io/library/greeter:latest"},
		{"docker save with a registry", dockerSave(t, "registry.local:5000/a/b:1", image), "registry.local:5000/a/b:1"},
		{"gzip", zipped.Bytes(), "docker.io/library/zipped:2"},
		{"OCI image", ociArchive(t, "me/app:3", image), "docker.io/me/app:3"},
		{"OCI index", ociArchive(t, "multi", index), "docker.io/library/multi:latest"},
	} {
		loaded, err := n.Load(n.ctx, bytes.NewReader(test.archive))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if len(loaded) != 1 || loaded[0].Name != test.want || loaded[0].SizeBytes < 1<<20 {
			t.Errorf("%s: loaded %+v, want %s", test.name, loaded, test.want)
		}
		if !n.Has(n.ctx, loaded[0].Digest) {
			t.Errorf("%s: it is not here", test.name)
		}
		all, err := n.Images(n.ctx)
		if err != nil || !slices.Contains(all, loaded[0]) {
			t.Errorf("%s: images are %+v, error %v", test.name, all, err)
		}
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n.run(spec("t1", digest.String(), "sleep"))
	if _, ingests, leases := n.left(); ingests != 0 || leases != 0 {
		t.Errorf("%d ingests and %d leases are left", ingests, leases)
	}
}

func TestLoadOfForeignImageKeepsItForOthers(t *testing.T) {
	n := newNode(t)
	loaded, err := n.Load(n.ctx, bytes.NewReader(ociArchive(t, "far", programImage(t, foreign(), ""))))
	if err != nil {
		t.Fatal(err)
	}
	if n.Has(n.ctx, loaded[0].Digest) {
		t.Error("it counts as ready to run here")
	}
	found, err := n.Resolve(n.ctx, "far", nil)
	want := cluster.Platform{OS: "linux", Arch: foreign().Architecture}
	if err != nil || !slices.Equal(found.Platforms, []cluster.Platform{want}) {
		t.Errorf("resolved to %+v, error %v, want platform %v", found, err, want)
	}
	err = n.Create(n.ctx, spec("t1", loaded[0].Digest))
	if !errors.Is(err, containers.ErrRejected) {
		t.Errorf("Create gives %v, want ErrRejected", err)
	}
}

func TestBadArchiveLeavesNothing(t *testing.T) {
	n := newNode(t)
	good := dockerSave(t, "program", programImage(t, native(), "x"))
	nameless := ociArchive(t, "", programImage(t, native(), "x"))
	for _, test := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"truncated in a layer", good[:len(good)/2], "cut short"},
		{"truncated at the start", good[:100], "cut short"},
		{"empty", nil, "not an image archive"},
		{"junk", bytes.Repeat([]byte("junk and no tar at all "), 1000), "not an image archive"},
		{"another tar", tarOf(t, map[string]file{"readme": {body: []byte("hi")}}), "not an image archive"},
		{"nameless", nameless, "names no image"},
		{"truncated OCI", nameless[:len(nameless)*2/3], "cut short"},
	} {
		_, err := n.Load(n.ctx, bytes.NewReader(test.archive))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", test.name, err, test.want)
		}
		if blobs, ingests, leases := n.left(); blobs+ingests+leases != 0 {
			t.Errorf("%s: %d blobs, %d ingests and %d leases are left", test.name, blobs, ingests, leases)
		}
	}
	if all, err := n.Images(n.ctx); err != nil || len(all) > 0 {
		t.Errorf("images are %+v, error %v", all, err)
	}
	// A reader that fails, and a caller that leaves, are the same.
	ctx, cancel := context.WithCancel(n.ctx)
	cancel()
	if _, err := n.Load(ctx, bytes.NewReader(good)); err == nil {
		t.Error("Load with a context that is done gives no error")
	}
	if _, err := n.Load(n.ctx, bytes.NewReader(good)); err != nil {
		t.Errorf("a good archive after all the bad ones: %v", err)
	}
}

func TestTagMovesAndOldImageStays(t *testing.T) {
	n := newNode(t)
	first := n.load("program", "first")
	n.run(spec("t1", first, "sleep"))
	second := n.load("program", "second")
	if first == second {
		t.Fatal("both images are the same")
	}
	found, err := n.Resolve(n.ctx, "program", nil)
	if err != nil || found.Digest != second {
		t.Fatalf("resolved to %+v, error %v, want %s", found, err, second)
	}
	// The service's image is still here for the service's other tasks.
	if !n.Has(n.ctx, first) {
		t.Fatal("the first image went with its tag")
	}
	all, err := n.Images(n.ctx)
	if err != nil || len(all) != 2 || all[0].Name != "docker.io/library/program:latest" || all[0].Digest != second ||
		all[1].Name != "docker.io/library/program@"+first || all[1].Digest != first {
		t.Errorf("images are %+v, error %v", all, err)
	}
	if err := n.Tag(n.ctx, "program:old", first); err != nil {
		t.Fatal(err)
	}

	if err := n.RemoveImage(n.ctx, "program"); err != nil {
		t.Fatal(err)
	}
	if n.Has(n.ctx, second) {
		t.Error("the second image is here after its removal")
	}
	err = n.RemoveImage(n.ctx, "program:old")
	if !errors.Is(err, containers.ErrImageInUse) || !strings.Contains(err.Error(), "service web") {
		t.Errorf("removal of an image in use gives %v", err)
	}
	if err := n.Remove(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	if err := n.RemoveImage(n.ctx, "program:old"); err != nil {
		t.Fatal(err)
	}
	if err := n.RemoveImage(n.ctx, "program:old"); !errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("a second removal gives %v, want ErrImageUnknown", err)
	}
	if blobs, ingests, leases := n.left(); blobs+ingests+leases != 0 {
		t.Errorf("%d blobs, %d ingests and %d leases are left", blobs, ingests, leases)
	}
}

func TestResolveReadsPlatforms(t *testing.T) {
	n := newNode(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}
	if _, err := n.Load(n.ctx, bytes.NewReader(ociArchive(t, "multi", multiPlatform(t, "", native(), arm)))); err != nil {
		t.Fatal(err)
	}
	found, err := n.Resolve(n.ctx, "multi", nil)
	want := []cluster.Platform{{OS: "linux", Arch: native().Architecture}, {OS: "linux", Arch: "arm", Variant: "v6"}}
	if err != nil || !slices.Equal(found.Platforms, want) || found.Name != "docker.io/library/multi:latest" {
		t.Errorf("resolved to %+v, error %v, want platforms %v", found, err, want)
	}
	if _, err := n.Resolve(n.ctx, "Not A Reference", nil); err == nil || errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("a bad reference gives %v", err)
	}
}
