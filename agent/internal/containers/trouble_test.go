package containers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func own(t *testing.T, dir string) *daemon {
	t.Helper()
	d, err := startDaemon(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.end(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// alive tells whether a process runs. One that has ended and whose parent, the machine's init, has not heard of it yet
// does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(stat), ") ") // behind the program's name comes the state; see proc(5)
	return err == nil && ok && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// What containerd had is gone, and its shims and containers run on.
func TestStoreIsLost(t *testing.T) {
	for name, lost := range map[string][]string{"root": {"root"}, "root and state": {"root", "state"}} {
		t.Run(name, func(t *testing.T) {
			d := own(t, t.TempDir())
			n := newNodeOn(t, d)
			digest := n.load("program", "")
			var pids []int
			for _, id := range []string{"t1", "t2", "t3"} {
				n.run(spec(id, digest, "sleep"))
				pids = append(pids, n.find(id).PID)
			}
			shims := d.shims()
			if err := d.kill(); err != nil {
				t.Fatal(err)
			}
			for _, dir := range lost {
				forget(t, filepath.Join(d.dir, dir))
			}
			if err := d.start(); err != nil {
				t.Fatal(err)
			}
			if list, err := n.List(n.ctx); err != nil || len(list) != 0 {
				t.Fatalf("containerd still knows %+v, error %v", list, err)
			}
			begun := time.Now()
			if err := n.Sweep(n.ctx); err != nil {
				t.Fatal(err)
			}
			t.Logf("swept in %s", time.Since(begun))
			eventually(t, "nothing of them is left", func() bool {
				return !slices.ContainsFunc(pids, alive) && !slices.ContainsFunc(shims, func(s string) bool {
					pid, _ := strconv.Atoi(s)
					return alive(pid)
				})
			})
			// The same IDs run again, from the image that is fetched anew.
			digest = n.load("program", "")
			for _, id := range []string{"t1", "t2", "t3"} {
				n.run(spec(id, digest, "sleep"))
			}
			before := n.find("t1")
			if err := n.Sweep(n.ctx); err != nil || n.find("t1") != before {
				t.Errorf("a sweep with nothing to do: %v, %+v", err, n.find("t1"))
			}
		})
	}
}

// forget empties a directory as far as what is mounted in it lets it.
func forget(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if point := strings.Fields(line)[4]; strings.HasPrefix(point, dir+"/") {
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// A shim that hangs lets nobody wait for ever, and what it ran can be removed once it is killed.
func TestHangingStartIsBounded(t *testing.T) {
	n := newNode(t)
	digest := n.load("program", "")
	n.run(spec("t1", digest, "sleep"))
	first := n.find("t1").PID
	shim, err := strconv.Atoi(parent(t, first))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := n.Create(n.ctx, spec("t2", digest, "sleep")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.ctx, 2*time.Second)
	defer cancel()
	begun := time.Now()
	if err := n.Start(ctx, "t2"); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("start gave %v after %s", err, time.Since(begun))
	}
	kill(t, shim)
	for _, id := range []string{"t1", "t2"} {
		if err := n.Remove(n.ctx, id); err != nil {
			t.Fatal(err)
		}
		n.run(spec(id, digest, "sleep"))
	}
	if alive(first) {
		t.Error("a process of the shim that was killed is left")
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	n := newNodeOn(t, own(t, dir))
	digest := n.load("program", "")
	n.run(spec("t1", digest, "sleep"))
	other := newNode(t)
	server := httptest.NewServer(other.BlobHandler())
	t.Cleanup(server.Close)
	wanted := containers.PullRequest{
		Ref: "wanted", Digest: other.load("wanted", strings.Repeat("more ", 1<<20)), ForService: true,
		Sources: []containers.Peer{{Name: "other", BaseURL: server.URL, Client: http.DefaultClient}},
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, n.disk().Free-1<<20)
	err := n.Pull(n.ctx, wanted)
	if !errors.Is(err, containers.ErrNoSpace) || !strings.Contains(err.Error(), "no space left on this node's disk: remove images") {
		t.Errorf("pull onto a full disk: %v", err)
	}
	if n.find("t1").State != containers.Running {
		t.Errorf("what ran is now %+v", n.find("t1"))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := n.Pull(n.ctx, wanted); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	n.run(spec("t2", wanted.Digest, "sleep"))
}

func (n *node) disk() containers.Disk {
	n.t.Helper()
	d, err := n.Disk(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return d
}

func fill(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		t.Fatal(err)
	}
}

func TestPruneLeavesWhatAnyoneNeeds(t *testing.T) {
	n, other := newNode(t), newNode(t)
	server := httptest.NewServer(other.BlobHandler())
	t.Cleanup(server.Close)
	fetch := func(name string, forService bool) string {
		t.Helper()
		request := containers.PullRequest{
			Ref: name, Digest: other.load(name, name), ForService: forService,
			Sources: []containers.Peer{{Name: "other", BaseURL: server.URL, Client: http.DefaultClient}},
		}
		if err := n.Pull(n.ctx, request); err != nil {
			t.Fatal(err)
		}
		return request.Digest
	}
	loaded := n.load("loaded", "loaded")
	asked := fetch("asked", false)
	old, kept, run, tagged, young := fetch("old", true), fetch("kept", true), fetch("run", true), fetch("tagged", true), fetch("young", true)
	n.run(spec("t1", run, "sleep"))
	if err := n.Tag(n.ctx, "tagged", tagged); err != nil {
		t.Fatal(err)
	}
	if removed, err := n.PruneImages(n.ctx, map[string]bool{kept: true}, 0); err != nil || len(removed) > 0 {
		t.Errorf("with room enough it removed %v, error %v", removed, err)
	}
	blobs, _, _ := n.left()
	removed, err := n.PruneImages(n.ctx, map[string]bool{kept: true}, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	if len(removed) != 2 || !strings.Contains(removed[0], "old") || !strings.Contains(removed[1], "young") {
		t.Errorf("removed %v, want old and young, the older first", removed)
	}
	for digest, want := range map[string]bool{loaded: true, asked: true, kept: true, run: true, tagged: true, old: false, young: false} {
		if n.Has(n.ctx, digest) != want {
			t.Errorf("%s is here: %t", digest, !want)
		}
	}
	if after, _, _ := n.left(); after >= blobs {
		t.Errorf("there are %d blobs, and were %d", after, blobs)
	}
}
