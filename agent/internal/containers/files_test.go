package containers_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

const hush = "a value that is nowhere else 2718281828"

func hushed(id, digest string, args ...string) containers.Spec {
	s := spec(id, digest, args...)
	s.Files = []containers.File{{Target: "/run/secrets/db", Data: []byte(hush), UID: 1234, GID: 1235, Mode: 0o400}}
	return s
}

// The user of a container who is not root reads what is that user's, nobody reads what is another's, and nobody writes.
func TestFileIsForItsOwner(t *testing.T) {
	n := newNode(t)
	for user, want := range map[string]string{"user": "1234:1235 0400 " + hush, "1235:1235": "open /run/secrets/db: permission denied\n"} {
		s := hushed("t1", n.load("program", ""), "read", "/run/secrets/db")
		s.Container.User = user
		n.run(s)
		if got := n.output("t1"); got != want {
			t.Errorf("user %s reads %q, want %q", user, got, want)
		}
		if err := n.Remove(n.ctx, "t1"); err != nil {
			t.Fatal(err)
		}
	}
}

// A container whose root file system is read-only, and that has a tmpfs above the file, finds it all the same.
func TestFileOnReadOnlyRoot(t *testing.T) {
	n := newNode(t)
	s := hushed("t1", n.load("program", ""), "read", "/run/secrets/db")
	s.Container.ReadOnly = true
	s.Container.Mounts = []cluster.Mount{{Type: cluster.MountTmpfs, Target: "/run"}}
	n.run(s)
	if got := n.output("t1"); !strings.HasSuffix(got, hush) {
		t.Errorf("it reads %q", got)
	}
}

// What a file says is in the node's memory alone: nobody but root finds it there, and it goes with its container.
func TestFileLeavesNoTrace(t *testing.T) {
	n := newNode(t)
	s := hushed("t1", n.load("program", ""), "sleep")
	n.run(s)
	dir := filepath.Join(n.cfg.FilesDir, "t1", "given")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v; want mode 0700", info, err)
	}
	if found := holding(t, shared.dir, hush); len(found) > 0 {
		t.Errorf("containerd keeps it in %v", found)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s.Files); strings.Contains(text, "2718281828") || strings.Contains(text, fmt.Sprint([]byte(hush)[:4])) {
		t.Errorf("a spec prints it: %s", text)
	}
	if err := n.Remove(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	if found := holding(t, n.cfg.FilesDir, hush); len(found) > 0 {
		t.Errorf("after its container, it is in %v", found)
	}
}

// What is left of a container that was never made goes with the next start of the agent, and nothing else.
func TestFilesOfNoContainerAreDropped(t *testing.T) {
	n := newNode(t)
	n.run(hushed("t1", n.load("program", ""), "sleep"))
	left := filepath.Join(n.cfg.FilesDir, "t2", "given")
	if err := errors.Join(os.MkdirAll(left, 0o700), os.WriteFile(filepath.Join(left, "0"), []byte(hush), 0o400)); err != nil {
		t.Fatal(err)
	}
	if err := n.DropFiles(n.ctx); err != nil {
		t.Fatal(err)
	}
	if found := holding(t, n.cfg.FilesDir, hush); len(found) != 1 || found[0] != filepath.Join(n.cfg.FilesDir, "t1", "given", "0") {
		t.Errorf("it is in %v", found)
	}
}

// holding lists the files below a directory that have the text in them.
func holding(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !e.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), text) {
			found = append(found, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func onTmpfs(t *testing.T, dir string) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.TMPFS_MAGIC
}

func TestFileIsNotWrittenToDisk(t *testing.T) {
	// Not below /tmp, which is in memory on many machines.
	card, err := os.MkdirTemp("/var/tmp", "piswarm-card-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(card) })
	if onTmpfs(t, card) {
		t.Fatal("there is no disk at /var/tmp to keep files off")
	}
	n := newNode(t, func(c *containers.Config) { c.FilesDir = card })
	err = n.Create(n.ctx, hushed("t1", n.load("program", ""), "sleep"))
	if !errors.Is(err, containers.ErrRejected) || !strings.Contains(err.Error(), "mount a tmpfs on /run") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(card); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
}
