package e2e

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestImageLoadedOnce: an image loaded on one node runs on all, and every node says that it holds it.
func TestImageLoadedOnce(t *testing.T) {
	s := newShelf(t, 3)
	s.load("pi3")
	s.piswarm("pi1", "create --name everywhere --mode global greeter")
	s.eventually(10*time.Second, "three nodes hold the image", func() bool {
		return strings.Contains(s.must("pi2", "piswarm", "image", "ls", "--format", "json"), `"nodes":["pi1","pi2","pi3"]`)
	})
	if r := s.on("pi1", "piswarm", "image", "rm", "greeter"); r.code != 1 || !strings.Contains(r.err, "in use") && !strings.Contains(r.err, "runs") {
		t.Errorf("rm of an image that runs: exit %d, %q", r.code, r.err)
	}
	s.piswarm("pi2", "rm everywhere")
	s.eventually(20*time.Second, "no container is left", func() bool { return len(s.tasks("pi1", "")) == 0 })
	s.piswarm("pi1", "image rm greeter")
	s.eventually(10*time.Second, "two nodes hold the image", func() bool {
		return strings.Contains(s.must("pi2", "piswarm", "image", "ls", "--format", "json"), `"nodes":["pi2","pi3"]`)
	})
}

// TestRegistryAskedOnce: three nodes start a service of an image in a registry, and each part of the image leaves
// the registry once.
func TestRegistryAskedOnce(t *testing.T) {
	s := newShelf(t, 3)
	program := s.self()
	read, write := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_, err := s.lab.Exec(ctx, lab.LaptopName, []string{program, registryArg, greeterTar}, lab.Stdio{Out: write, Err: os.Stderr})
		write.CloseWithError(errors.Join(io.EOF, err))
	}()
	lines := make(chan string, 10_000)
	go func() {
		for scan := bufio.NewScanner(read); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	select {
	case <-lines: // "listening"
	case <-time.After(30 * time.Second):
		t.Fatal("the registry is not up")
	}
	for _, n := range []string{"pi1", "pi2", "pi3"} {
		s.must(n, "sh", "-c", `mkdir -p /etc/containerd/certs.d/192.168.77.2:5000 &&
			printf 'server = "http://192.168.77.2:5000"\n' >/etc/containerd/certs.d/192.168.77.2:5000/hosts.toml`)
	}
	s.piswarm("pi2", "create --name greeters --publish 9000:5000 --replicas 6 192.168.77.2:5000/greeter")
	s.settled("greeters", 6)
	s.wantEven("after the pull", s.fetch("laptop", "http://pi1:9000/", 12), 6, 2)

	blobs := map[string]int{}
	for len(lines) > 0 {
		if method, path, _ := strings.Cut(<-lines, " "); method == http.MethodGet && strings.Contains(path, "/blobs/") {
			blobs[path]++
		}
	}
	if len(blobs) == 0 {
		t.Error("the registry was asked for nothing")
	}
	for path, n := range blobs {
		if n != 1 {
			t.Errorf("%s left the registry %d times, want once", path, n)
		}
	}
}

// registryArg makes the test program a registry, for it to be run on the laptop.
const registryArg = "serve-registry"

// serveRegistry serves the image of the archive until it is killed, and prints each request.
func serveRegistry(archive string) error {
	const address = "192.168.77.2:5000"
	scratch, err := os.MkdirTemp("", "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := untar(archive, scratch); err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(scratch)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	inner, err := index.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	loud := make(chan struct{})
	go func() {
		served <- http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-loud:
				fmt.Println(r.Method, r.URL.Path)
			default: // the push below
			}
			handler.ServeHTTP(w, r)
		}))
	}()
	tag, err := name.NewTag(address+"/greeter:latest", name.Insecure)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = remote.WriteIndex(tag, inner); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return err
	}
	fmt.Println("listening")
	close(loud)
	return <-served
}

func untar(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			return err
		}
	}
}
