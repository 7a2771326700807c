package lab

import (
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
)

// hierarchy is one mounted cgroup tree of this machine. A host mounts the same one, seen from its own cgroup.
type hierarchy struct {
	Mount   string `json:"mount"`   // its place in this machine, for example /sys/fs/cgroup/memory
	Options string `json:"options"` // those that select it, for example memory or none,name=systemd; "" for v2
	dir     string // the lab's directory in it
}

func (h hierarchy) v2() bool { return h.Options == "" }

// cgroups are a lab's directories in all hierarchies. In v1, which has controllers of all kinds, they lie below this
// process's own cgroup, so that a limit set for whoever started the lab holds for the lab. In a v2 tree with
// controllers a group may have members or children, not both, so there they lie at the top.
type cgroups struct {
	all  []hierarchy
	pure bool // v2 alone, with all controllers
}

// findCgroups reads what this machine has. It makes nothing.
func findCgroups(name string) (*cgroups, error) {
	// Not of self: another thread of this process may have the view of a host.
	mounts, err := readMounts("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		return nil, err
	}
	c := &cgroups{pure: true}
	for _, m := range mounts {
		if m.fsType != "cgroup" && m.fsType != "cgroup2" {
			continue
		}
		h := hierarchy{Mount: m.point, Options: cgroupOptions(m)}
		if slices.ContainsFunc(c.all, func(o hierarchy) bool { return o.Options == h.Options }) {
			continue // mounted twice
		}
		c.pure = c.pure && h.v2()
		below := strings.TrimPrefix(ownCgroup(string(own), h), strings.TrimSuffix(m.root, "/"))
		h.dir = filepath.Join(m.point, below, name)
		c.all = append(c.all, h)
	}
	if len(c.all) == 0 {
		return nil, errors.New("this machine has no cgroup file system mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
	}
	if c.pure {
		c.all[0].dir = filepath.Join(c.all[0].Mount, name)
	}
	return c, nil
}

// cgroupOptions keeps of a mount's options those that tell one v1 hierarchy from another.
func cgroupOptions(m mount) string {
	if m.fsType == "cgroup2" {
		return ""
	}
	var keep []string
	for o := range strings.SplitSeq(m.superOptions, ",") {
		switch {
		case strings.HasPrefix(o, "name="):
			keep = append(keep, "none", o)
		case strings.Contains(o, "="), o == "rw", o == "ro", o == "xattr", o == "clone_children", o == "noprefix", o == "cpuset_v2_mode", o == "favordynmods":
		default:
			keep = append(keep, o)
		}
	}
	return strings.Join(keep, ",")
}

// ownCgroup finds this process's place in a hierarchy in the text of /proc/…/cgroup.
func ownCgroup(text string, h hierarchy) string {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] == strings.TrimPrefix(h.Options, "none,") {
			return parts[2]
		}
	}
	return "/"
}

// dirs are the lab's directories, those of a host below them.
func (c *cgroups) dirs() []string {
	var dirs []string
	for _, h := range c.all {
		dirs = append(dirs, h.dir)
	}
	return dirs
}

// add makes the cgroups of a host and moves its init into them.
func (c *cgroups) add(host string, pid int) error {
	for _, h := range c.all {
		dir := filepath.Join(h.dir, host)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var err error
		switch {
		case c.pure:
			err = errors.Join(enableControllers(h.Mount), enableControllers(h.dir))
		case strings.Contains(","+h.Options+",", ",cpuset,"):
			err = errors.Join(inheritCpuset(h.dir), inheritCpuset(dir))
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return err
		}
	}
	return nil
}

// initGroup is where in a v2 tree the processes of a host live that are in no container: the host's topmost group has
// children with controllers and so may have no members.
const initGroup = "init"

// target fills in where a process that enters the host has to go.
func (c *cgroups) target(t *Target) {
	for _, h := range c.all {
		dir := filepath.Join(h.dir, t.Name)
		switch {
		case !h.v2():
			t.Cgroups = append(t.Cgroups, dir)
		case c.pure:
			t.Cgroup2 = filepath.Join(dir, initGroup)
		default:
			t.Cgroup2 = dir
		}
	}
}

// remove removes a host's cgroups. Its processes have ended; a thread that is just entering or leaving it is about to
// find that out.
func (c *cgroups) remove(host string) error {
	var errs []error
	for _, h := range c.all {
		errs = append(errs, removeCgroup(filepath.Join(h.dir, host), false))
	}
	return errors.Join(errs...)
}

// controllers are those that piswarm limits containers with.
var controllers = []string{"cpu", "memory", "pids"}

// enableControllers lets the children of a v2 group be limited. It adds only what is missing.
func enableControllers(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for _, c := range controllers {
		if !slices.Contains(strings.Fields(string(available)), c) || slices.Contains(strings.Fields(string(enabled)), c) {
			continue
		}
		if err := os.WriteFile(control, []byte("+"+c), 0); err != nil {
			return fmt.Errorf("enable the %s controller in %s: %w", c, dir, err)
		}
	}
	return nil
}

// inheritCpuset gives a new v1 cpuset group the processors of its parent; it has none by itself and takes no member.
func inheritCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return err
		}
	}
	return nil
}

// cgroupEnd is how long killed processes may take to leave their cgroup.
const cgroupEnd = 10 * time.Second

// removeCgroup removes a cgroup with all below it. It waits for the members to end, or kills them.
func removeCgroup(dir string, kill bool) error {
	for deadline := time.Now().Add(cgroupEnd); ; time.Sleep(10 * time.Millisecond) {
		err := tryRemoveCgroup(dir, kill)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func tryRemoveCgroup(dir string, kill bool) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range slices.Backward(groups) {
		if kill {
			if err := killMembers(group); err != nil {
				return err
			}
		}
		if err := syscall.Rmdir(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the cgroup %s: %w", group, err)
		}
	}
	return nil
}

func killMembers(group string) error {
	members, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, member := range strings.Fields(string(members)) {
		// This process may be among them, with a thread that is just entering the host or leaving it.
		if pid, err := strconv.Atoi(member); err == nil && pid > 0 && pid != os.Getpid() {
			// It may have ended by itself.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return nil
}
