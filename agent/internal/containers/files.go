package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is one that a container finds at Target and only reads, such as a secret. It is kept in memory alone.
type File struct {
	Target   string // absolute
	Data     []byte
	UID, GID int
	Mode     fs.FileMode
}

// String leaves out what the file says, which may be a secret.
func (f File) String() string { return "[file " + f.Target + "]" }

// GoString does the same for %#v.
func (f File) GoString() string { return f.String() }

// writeFiles writes what is mounted into the container, and returns where, by the path in the container.
func (r *Runtime) writeFiles(s Spec) (map[string]string, error) {
	dir := r.filesPath(s.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, f := range []struct{ target, content string }{
		{"/etc/hostname", s.hostname() + "\n"},
		{"/etc/hosts", s.Hosts},
		{"/etc/resolv.conf", s.ResolvConf},
	} {
		if f.content == "" {
			continue
		}
		path := filepath.Join(dir, filepath.Base(f.target))
		// Programs of every user in the container read them.
		if err := os.WriteFile(path, []byte(f.content), 0o644); err != nil {
			return nil, err
		}
		files[f.target] = path
	}
	return files, r.writeGiven(s, files)
}

// writeGiven adds the files that the task was given. Nobody but root sees them on the node, whoever owns them: their
// directory is closed, and the container gets each by itself.
func (r *Runtime) writeGiven(s Spec, files map[string]string) error {
	if len(s.Files) == 0 {
		return nil
	}
	dir := filepath.Join(r.filesPath(s.ID), "given")
	// What a life before has left may be another's.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := inMemory(dir); err != nil {
		return err
	}
	for i, f := range s.Files {
		name := filepath.Join(dir, strconv.Itoa(i))
		if err := writeGivenFile(name, f); err != nil {
			return fmt.Errorf("write the file that is to be %s: %w", f.Target, err)
		}
		files[path.Clean(f.Target)] = name
	}
	return nil
}

// DropFiles removes the files of containers that there are no more, which an agent leaves that is killed while it makes
// one. No container may be made meanwhile.
func (r *Runtime) DropFiles(ctx context.Context) error {
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(r.cfg.FilesDir)
	errs := []error{err}
	for _, e := range entries {
		if !slices.ContainsFunc(list, func(c Container) bool { return c.ID == e.Name() }) {
			errs = append(errs, os.RemoveAll(r.filesPath(e.Name())))
		}
	}
	return errors.Join(errs...)
}

// inMemory refuses a directory that is on a disk. A secret that was written to a card is there for good, whatever is
// removed later.
func inMemory(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("find out what %s is on: %w", dir, err)
	}
	// 32-bit ARM has the number with a sign.
	if kind := uint32(st.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC {
		return rejectf("secrets and configs are kept in memory alone, and %s is on a disk of this node: mount a tmpfs on /run", dir)
	}
	return nil
}

func writeGivenFile(name string, f File) (err error) {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.Write(f.Data); err != nil {
		return err
	}
	// The owner last: nobody but the owner may change the mode.
	if err := out.Chmod(f.Mode.Perm()); err != nil {
		return err
	}
	return out.Chown(f.UID, f.GID)
}
