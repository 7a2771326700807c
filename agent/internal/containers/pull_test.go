package containers_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// counting is a registry on the loopback that counts what is fetched from it.
type counting struct {
	address string
	mu      sync.Mutex
	gets    map[string]int // by path
}

func newRegistry(t *testing.T) *counting {
	t.Helper()
	c := &counting{gets: map[string]int{}}
	next := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			c.mu.Lock()
			c.gets[req.URL.Path]++
			c.mu.Unlock()
		}
		next.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	c.address = strings.TrimPrefix(server.URL, "http://")
	return c
}

// push puts an index of the program into the registry.
func (c *counting) push(t *testing.T, repository string, platforms ...v1.Platform) (ref, digest string) {
	t.Helper()
	ref = c.address + "/" + repository
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	index := multiPlatform(t, repository, platforms...)
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	hash, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref, hash.String()
}

func (c *counting) most() (most, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.gets {
		most, total = max(most, n), total+n
	}
	return most, total
}

func (n *node) serve(wrap ...func(http.Handler) http.Handler) containers.Peer {
	handler := n.BlobHandler()
	for _, w := range wrap {
		handler = w(handler)
	}
	server := httptest.NewServer(handler)
	n.t.Cleanup(server.Close)
	return containers.Peer{Name: "peer", BaseURL: server.URL, Client: http.DefaultClient}
}

func TestPullOnceForManyCallsAndMembers(t *testing.T) {
	reg := newRegistry(t)
	ref, digest := reg.push(t, "app:1", native(), foreign())
	first, second := newNode(t), newNode(t)

	found, err := first.Resolve(first.ctx, ref, nil)
	if err != nil || found.Name != ref || found.Digest != digest || len(found.Platforms) != 2 {
		t.Fatalf("resolved to %+v, error %v", found, err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var done, total int64
	for range 8 {
		all.Go(func() {
			err := first.Pull(first.ctx, containers.PullRequest{Ref: ref, Digest: digest, Registry: true, Progress: func(d, of int64) {
				mu.Lock()
				defer mu.Unlock()
				done, total = d, of
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most, sum := reg.most(); most != 1 || sum == 0 {
		t.Errorf("one blob was fetched %d times, want 1", most)
	}
	if done == 0 || done != total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	_, before := reg.most()

	// A member that has it is asked before the registry, also to resolve it.
	peer := first.serve()
	held := []containers.Held{{Name: ref, Digest: digest, Peers: []containers.Peer{peer}}}
	if found, err = second.Resolve(second.ctx, ref, held); err != nil || found.Digest != digest || len(found.Platforms) != 2 {
		t.Errorf("resolved at a member to %+v, error %v", found, err)
	}
	if err := second.Pull(second.ctx, containers.PullRequest{Ref: ref, Digest: digest, Sources: held[0].Peers, Registry: true}); err != nil {
		t.Fatal(err)
	}
	if _, after := reg.most(); after != before {
		t.Errorf("%d more blobs were fetched from the registry although a member has them", after-before)
	}
	second.run(spec("t1", digest, "sleep"))
	images, err := second.Images(second.ctx)
	if err != nil || len(images) != 1 || images[0].Name != ref || images[0].Digest != digest {
		t.Errorf("images are %+v, error %v", images, err)
	}
}

func TestPullGoesAroundBadMembers(t *testing.T) {
	holder := newNode(t)
	digest := holder.load("program", "x")
	good := holder.serve()
	dead := containers.Peer{Name: "dead", BaseURL: "http://127.0.0.1:1", Client: http.DefaultClient}
	empty := newNode(t).serve()
	spoiled := holder.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			next.ServeHTTP(spoiler{w}, req)
		})
	})
	cut := holder.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, "/blobs/") {
				w.Header().Set("Content-Length", "1000000")
				w.Write(make([]byte, 1000))
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, req)
		})
	})
	for _, test := range []struct {
		name    string
		sources []containers.Peer
		ok      bool
	}{
		{"a dead one", []containers.Peer{dead, good}, true},
		{"one without it", []containers.Peer{empty, good}, true},
		{"one with a bad disk", []containers.Peer{spoiled, good}, true},
		{"one that breaks off", []containers.Peer{cut, good}, true},
		{"only bad ones", []containers.Peer{dead, empty, spoiled}, false},
	} {
		n := newNode(t)
		err := n.Pull(n.ctx, containers.PullRequest{Ref: "program", Digest: digest, Sources: test.sources})
		if (err == nil) != test.ok || n.Has(n.ctx, digest) != test.ok {
			t.Errorf("%s: error %v, want success %v", test.name, err, test.ok)
		}
		if _, ingests, leases := n.left(); test.ok && ingests+leases > 0 {
			t.Errorf("%s: %d ingests and %d leases are left", test.name, ingests, leases)
		}
	}
}

// spoiler changes each body that is large.
type spoiler struct{ http.ResponseWriter }

func (s spoiler) Write(p []byte) (int, error) {
	if len(p) > 10000 {
		p = append([]byte{p[0] ^ 1}, p[1:]...)
	}
	return s.ResponseWriter.Write(p)
}

func TestPullRefusals(t *testing.T) {
	reg := newRegistry(t)
	ref, digest := reg.push(t, "far:1", foreign())
	n := newNode(t)
	err := n.Pull(n.ctx, containers.PullRequest{Ref: ref, Digest: digest, Registry: true})
	if !errors.Is(err, containers.ErrRejected) || !strings.Contains(err.Error(), "nothing for linux/") {
		t.Errorf("pull of an image for others gives %v", err)
	}
	err = n.Pull(n.ctx, containers.PullRequest{Ref: ref, Digest: digest})
	if !errors.Is(err, containers.ErrImageUnknown) {
		t.Errorf("pull without any source gives %v", err)
	}
	_, err = n.Resolve(n.ctx, reg.address+"/nosuch:1", nil)
	if !errors.Is(err, containers.ErrImageUnknown) || !strings.Contains(err.Error(), "/nosuch:1") || !strings.Contains(err.Error(), "piswarm image load") {
		t.Errorf("resolve of an unknown image gives %v", err)
	}
	_, err = n.Resolve(n.ctx, "127.0.0.1:1/nosuch:1", nil)
	if !errors.Is(err, containers.ErrImageUnknown) || strings.Contains(err.Error(), "\n") {
		t.Errorf("resolve at a registry that is down gives %v", err)
	}
}

func TestBlobHandler(t *testing.T) {
	n := newNode(t)
	digest := n.load("program", "x")
	peer := n.serve()
	get := func(method, path, ranges string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, peer.BaseURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		client := &http.Client{Timeout: time.Minute}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/library/program/manifests/" + digest, 200},
		{"HEAD", "/v2/library/program/manifests/" + digest, 200},
		{"GET", "/v2/a/b/c/blobs/" + digest, 200},
		{"GET", "/v2/library/program/manifests/latest", 404},
		{"GET", "/v2/library/program/tags/list", 404},
		{"GET", "/v2/library/program/blobs/sha256:" + strings.Repeat("0", 64), 404},
		{"GET", "/v2/x/blobs/../../../etc/passwd", 404},
		{"PUT", "/v2/library/program/manifests/" + digest, 405},
		{"DELETE", "/v2/library/program/blobs/" + digest, 405},
		{"GET", "/", 404},
	} {
		resp := get(test.method, test.path, "")
		if resp.StatusCode != test.status {
			t.Errorf("%s %s: %s, want %d", test.method, test.path, resp.Status, test.status)
		}
		if strings.Contains(test.path, "/manifests/sha256:") && test.status == 200 {
			if got := resp.Header.Get("Content-Type"); !strings.Contains(got, "manifest") || resp.Header.Get("Docker-Content-Digest") != digest || resp.ContentLength <= 0 {
				t.Errorf("%s %s: headers %v", test.method, test.path, resp.Header)
			}
		}
	}
	whole, err := io.ReadAll(get("GET", "/v2/x/blobs/"+digest, "").Body)
	if err != nil {
		t.Fatal(err)
	}
	resp := get("GET", "/v2/x/blobs/"+digest, "bytes=10-19")
	part, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusPartialContent || string(part) != string(whole[10:20]) {
		t.Errorf("range: %s %q, error %v, want %q", resp.Status, part, err, whole[10:20])
	}
}
