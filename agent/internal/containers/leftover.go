package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/errdefs"
)

// runcRoot is where containerd's shim lets runc keep what it knows of running containers. runc makes none by an ID
// that it finds there.
const runcRoot = "/run/containerd/runc"

// Sweep ends what is left of containers that containerd does not know. There are some when its store was lost: its
// shims and their containers run on, under the names, the groups of cgroups and the addresses of those that are to be
// made in their place. It asks containerd nothing if no container has a group.
func (r *Runtime) Sweep(ctx context.Context) error {
	if err := r.sweep(ctx); err != nil {
		return fmt.Errorf("end what is left of lost containers: %w", err)
	}
	return nil
}

func (r *Runtime) sweep(ctx context.Context) error {
	// The groups are listed first: a container gets its group after its record in containerd, and loses it before.
	ids := r.grouped()
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel, err := r.begin(ctx, slowLimit)
	if err != nil {
		return err
	}
	defer cancel()
	err = r.eachRecord(ctx, "", func(c *containersapi.Container) { delete(ids, c.ID) })
	if err != nil {
		return r.explain(ctx, err)
	}
	var errs []error
	for id := range ids {
		// One that was removed meanwhile may have been made again.
		if _, err := r.client.ContainerService().Get(ctx, id); errdefs.IsNotFound(err) {
			r.cfg.Log.Info("ends a container that containerd has lost", "container", id)
			errs = append(errs, r.endLeftover(ctx, id))
		} else if err != nil {
			return r.explain(ctx, err)
		}
	}
	return errors.Join(errs...)
}

// grouped are the IDs of the containers that have a group of cgroups.
func (r *Runtime) grouped() map[string]bool {
	ids := map[string]bool{}
	for _, parent := range groupDirs(cgroupRoot, r.cfg.Namespace) {
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue // gone just now
		}
		for _, e := range entries {
			if e.IsDir() && checkID(e.Name()) == nil {
				ids[e.Name()] = true
			}
		}
	}
	return ids
}

// endLeftover kills all processes of a container behind containerd's back and removes what would be in the way of
// another one by its ID. A shim that has only such containers goes first, or it would tell containerd of the end of a
// container that by then is another one.
func (r *Runtime) endLeftover(ctx context.Context, id string) error {
	dirs := groupDirs(cgroupRoot, strings.TrimPrefix(r.cgroup(id), "/"))
	for deadline := time.Now().Add(killLimit); ; {
		pids := processes(dirs)
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("container %s does not end: killed %s ago", id, killLimit)
		}
		for _, pid := range append(r.lonelyShims(pids), pids...) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d of container %s: %w", pid, id, err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeGroups(dir))
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(runcRoot, r.cfg.Namespace, id)))...)
}

// lonelyShims are the shims of this namespace that are parents of some of the processes and of no other one.
func (r *Runtime) lonelyShims(pids []int) []int {
	parents := map[int]int{} // of every process
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if text, err := os.ReadFile(path); err == nil {
			// PID (NAME) STATE PPID …, and a name may hold anything.
			fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
			if len(fields) > 1 {
				parents[pid], _ = strconv.Atoi(fields[1])
			}
		}
	}
	shims := map[int]bool{}
	for _, pid := range pids {
		if shim := parents[pid]; r.isShim(shim) {
			shims[shim] = true
		}
	}
	for pid, parent := range parents {
		if !slices.Contains(pids, pid) {
			delete(shims, parent)
		}
	}
	var lonely []int
	for shim := range shims {
		lonely = append(lonely, shim)
	}
	return lonely
}

// isShim tells whether a process is a shim of this namespace of this containerd.
func (r *Runtime) isShim(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	return strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") &&
		slices.Contains(args, r.cfg.Namespace) && slices.Contains(args, r.cfg.Socket)
}

// groupDirs are the directories of a group of cgroups, one in each hierarchy mounted below root that has it.
func groupDirs(root, group string) (dirs []string) {
	for _, hierarchy := range hierarchies(root) {
		dir := filepath.Join(hierarchy, group)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// processes are those in the groups and in the groups that these were divided into.
func processes(dirs []string) (pids []int) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Name() != "cgroup.procs" {
				return nil // a group may vanish as its last process does
			}
			text, _ := os.ReadFile(path)
			for line := range strings.Lines(string(text)) {
				if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// removeGroups removes a group without processes, after those that it was divided into.
func removeGroups(dir string) error {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
