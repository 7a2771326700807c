package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func TestFullName(t *testing.T) {
	for name, want := range map[string]string{
		"greeter":              "docker.io/library/greeter:latest latest",
		"greeter:v2":           "docker.io/library/greeter:v2 v2",
		"127.0.0.1:5000/a/b:c": "127.0.0.1:5000/a/b:c c",
	} {
		full, tag, err := fullName(name)
		if err != nil || full+" "+tag != want {
			t.Errorf("%s: got %s %s, error %v", name, full, tag, err)
		}
	}
	for _, name := range []string{"", "UPPER", "a@sha256:" + strings.Repeat("0", 64)} {
		if full, _, err := fullName(name); err == nil {
			t.Errorf("%q: got %s", name, full)
		}
	}
}

// TestLayout reads an image for two platforms back, and makes it twice.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	variants := []variant{
		{v1.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, filepath.Join(dir, "six")},
		{v1.Platform{OS: "linux", Architecture: "arm64"}, filepath.Join(dir, "eight")},
	}
	for _, v := range variants {
		if err := os.WriteFile(v.binary, []byte(v.binary), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string) string {
		layoutDir, out := filepath.Join(dir, name), filepath.Join(dir, name+".tar")
		if err := writeLayout(layoutDir, variants, config{version: "v2", health: "/greeter get 1 http://127.0.0.1:1/", args: "a b"}, "docker.io/library/greeter:latest", "latest"); err != nil {
			t.Fatal(err)
		}
		if err := writeTar(out, layoutDir); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if write("a") != write("b") {
		t.Error("two runs, two results")
	}

	path, err := layout.FromPath(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("got %+v, error %v", manifest, err)
	}
	named := manifest.Manifests[0]
	if got := named.Annotations["io.containerd.image.name"]; got != "docker.io/library/greeter:latest" {
		t.Errorf("name %q", got)
	}
	index, err := top.ImageIndex(named.Digest)
	if err != nil {
		t.Fatal(err)
	}
	images, err := index.IndexManifest()
	if err != nil || len(images.Manifests) != 2 {
		t.Fatalf("got %+v, error %v", images, err)
	}
	for i, m := range images.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		want := variants[i].platform
		if !m.Platform.Equals(want) || config.Architecture != want.Architecture || config.Variant != want.Variant {
			t.Errorf("image %d: %s, config %s/%s, want %s", i, m.Platform, config.Architecture, config.Variant, want.String())
		}
		if len(config.Config.Env) != 1 || config.Config.Env[0] != "GREETER_VERSION=v2" {
			t.Errorf("environment %q", config.Config.Env)
		}
		if h := config.Config.Healthcheck; h == nil || strings.Join(h.Test, " ") != "CMD /greeter get 1 http://127.0.0.1:1/" {
			t.Errorf("health check %+v", h)
		}
		if got := strings.Join(config.Config.Cmd, " "); got != "a b" {
			t.Errorf("default arguments %q", got)
		}
	}
}
