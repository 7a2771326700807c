package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// variant is the image for one platform.
type variant struct {
	platform v1.Platform
	binary   string
}

// config is what images of the one program differ in.
type config struct {
	version, health, args string
}

// healthInterval is how often an image's own check is run. Tests wait for it.
const healthInterval = time.Second

// fullName returns an image's name as containerd stores it, and its tag.
func fullName(name string) (full, tag string, err error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", "", fmt.Errorf("name %q: %w", name, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return "", "", fmt.Errorf("name %q: want NAME or NAME:TAG", name)
	}
	return reference.TagNameOnly(named).String(), tagged.Tag(), nil
}

// writeLayout writes an OCI image layout with one index of all variants.
func writeLayout(dir string, variants []variant, c config, name, tag string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, v := range variants {
		image, err := makeImage(v, c)
		if err != nil {
			return fmt.Errorf("image for %s: %w", v.platform.String(), err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &v.platform},
		})
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// Importers find the name in the one annotation, other tools the tag in the other.
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name,
		"org.opencontainers.image.ref.name": tag,
	}))
}

// makeImage makes an image of one file.
func makeImage(v variant, c config) (v1.Image, error) {
	content, err := layerTar(v.binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = v.platform.OS, v.platform.Architecture, v.platform.Variant
	config.Config = v1.Config{
		Entrypoint:   []string{"/greeter"},
		ExposedPorts: map[string]struct{}{"5000/tcp": {}, "5000/udp": {}},
	}
	if c.version != "" {
		config.Config.Env = []string{"GREETER_VERSION=" + c.version}
	}
	if c.health != "" {
		config.Config.Healthcheck = &v1.HealthConfig{Test: append([]string{"CMD"}, strings.Fields(c.health)...), Interval: healthInterval, Retries: 3}
	}
	config.Config.Cmd = strings.Fields(c.args)
	return mutate.ConfigFile(image, config)
}

// layerTar is a layer with the program and nothing else.
func layerTar(binary string) ([]byte, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	if err := addFile(w, "greeter", 0o755, content); err != nil {
		return nil, err
	}
	err = w.Close()
	return buffer.Bytes(), err
}

// writeTar packs a directory. Names come in order and nothing but name and content of a file is kept, so that the
// bytes depend on nothing else.
func writeTar(out, dir string) (err error) {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	// WalkDir goes in lexical order.
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return addFile(w, filepath.ToSlash(name), 0o644, content)
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return w.Close()
}

func addFile(w *tar.Writer, name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
