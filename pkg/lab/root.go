package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// oldRoot is where the machine's own root is while the host's is being built.
	oldRoot    = "/run/old-root"
	hostLogDir = "/var/log/piswarm-lab"
)

// buildRoot gives the calling process, which has a mount namespace of its own, the file system of a host.
//
// Its lowest layer is the machine's own root file system; above it lies the host's disk, which takes all that is
// written. So the host has the machine's programs, needs no image of its own, and cannot change the machine's files.
func buildRoot(o orders) error {
	// What is mounted from here on stays in this namespace.
	if err := mountAt("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root := filepath.Join(o.Dir, mountDir)
	if err := overlayMachine(o.Dir, root); err != nil {
		return err
	}
	if err := mountAt("tmpfs", filepath.Join(root, "run"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	// From here on, links in paths lead to where they lead on the host.
	if err := os.Mkdir(root+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+oldRoot); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	steps := []func() error{
		mountKernel,
		mountDevices,
		func() error { return mountCgroups(o.Cgroups, o.Pure) },
		func() error { return bindDisk(o) },
		func() error { return writeFiles(o) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's root: %w", err)
	}
	return os.Remove(oldRoot)
}

// overlayMachine mounts the host's disk over the machine's root file system, and over each other one that belongs to
// a usual place of programs and files.
func overlayMachine(dir, root string) error {
	mounts, err := readMounts("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, m := range append([]mount{{point: "/"}}, mounts...) {
		if done[m.point] || !(m.point == "/" || belongsToMachine(m)) {
			continue
		}
		name := fmt.Sprint(len(done))
		done[m.point] = true
		upper, work := filepath.Join(dir, upperDir, name), filepath.Join(dir, workDir, name)
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := "lowerdir=" + escapeOption(m.point) + ",upperdir=" + upper + ",workdir=" + work
		if err := mountAt("overlay", filepath.Join(root, m.point), "overlay", 0, options); err != nil {
			return err
		}
	}
	return nil
}

// belongsToMachine tells whether a mounted file system holds what a host should see: not one of the kernel's own, and
// not a disk in /mnt or /media.
func belongsToMachine(m mount) bool {
	switch m.fsType {
	case "proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "mqueue", "overlay", "autofs", "binfmt_misc":
		return false
	}
	info, err := os.Stat(m.point)
	if err != nil || !info.IsDir() {
		return false
	}
	for _, place := range []string{"/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var"} {
		if m.point == place || strings.HasPrefix(m.point, place+"/") {
			return true
		}
	}
	return false
}

// escapeOption protects the characters that separate options of an overlay mount.
var escapeOption = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace

// mountKernel mounts what shows the kernel. Its settings hold for the whole machine, except those of the network, which
// every network namespace has of its own: only these can be changed.
func mountKernel() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := errors.Join(
		mountAt("proc", "/proc", "proc", flags, ""),
		mountAt("sysfs", "/sys", "sysfs", flags, ""),
		mountAt("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		os.MkdirAll("/run/lock", 0o1777),
	); err != nil {
		return err
	}
	for _, path := range []string{"/proc/sys", "/proc/sys/net", "/proc/sysrq-trigger"} {
		// A kernel without the key has no trigger.
		if err := mountAt(path, path, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/sys"} {
		err := mountAt("none", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// mountDevices makes a small /dev.
func mountDevices() error {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := mountAt("tmpfs", "/dev", "tmpfs", flags, "mode=755"); err != nil {
		return err
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun"} {
		if err := copyDevice(name); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir("/dev/"+name, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		mountAt("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
		mountAt("tmpfs", "/dev/shm", "tmpfs", flags|unix.MS_NODEV, "mode=1777"),
		mountAt("mqueue", "/dev/mqueue", "mqueue", flags|unix.MS_NODEV, ""),
		os.Symlink("pts/ptmx", "/dev/ptmx"),
		os.Symlink("/proc/self/fd", "/dev/fd"),
		os.Symlink("/proc/self/fd/0", "/dev/stdin"),
		os.Symlink("/proc/self/fd/1", "/dev/stdout"),
		os.Symlink("/proc/self/fd/2", "/dev/stderr"),
	)
}

// copyDevice makes a device node as the machine has it, if it has it.
func copyDevice(name string) error {
	var st unix.Stat_t
	err := unix.Stat(oldRoot+"/dev/"+name, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir("/dev/"+name), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod("/dev/"+name, st.Mode, int(st.Rdev)); err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return nil
}

// mountCgroups mounts the machine's cgroup trees, which this process's cgroup namespace shows from the host's own
// cgroup downwards, in the machine's own layout.
func mountCgroups(all []hierarchy, pure bool) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	const top = "/sys/fs/cgroup"
	if pure {
		if err := mountAt("cgroup2", top, "cgroup2", flags, ""); err != nil {
			return err
		}
		// Process 1 makes room at the top, for a group with controllers for its children may have no members.
		if err := os.Mkdir(filepath.Join(top, initGroup), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(top, initGroup, "cgroup.procs"), []byte("1"), 0); err != nil {
			return fmt.Errorf("move init to its cgroup: %w", err)
		}
		return enableControllers(top)
	}
	if err := mountAt("tmpfs", top, "tmpfs", flags, "mode=755"); err != nil {
		return err
	}
	for _, h := range all {
		base := filepath.Base(h.Mount)
		dir := filepath.Join(top, base)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		fsType := "cgroup"
		if h.v2() {
			fsType = "cgroup2"
		}
		if err := mountAt("cgroup", dir, fsType, flags, h.Options); err != nil {
			return err
		}
		if strings.HasPrefix(h.Options, "none,") || !strings.Contains(h.Options, ",") {
			continue
		}
		// Programs look for each of the controllers that share a tree by its own name.
		for c := range strings.SplitSeq(h.Options, ",") {
			if err := os.Symlink(base, filepath.Join(top, c)); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// bindDisk shows the host the parts of its disk that are no overlay, the piswarm program and the place of its logs.
func bindDisk(o orders) error {
	old := oldRoot + o.Dir
	binds := map[string]string{hostLogDir: filepath.Join(old, logDir)}
	for _, dir := range diskDirs {
		binds[dir] = filepath.Join(old, diskDir, dir)
	}
	for target, source := range binds {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := mountAt(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(hostBinary), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(hostBinary, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return mountAt(oldRoot+o.Binary, hostBinary, "", unix.MS_BIND, "")
}

// containerdConfig leaves out what a node of piswarm does not use.
const containerdConfig = `version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
`

// writeFiles writes what makes a host this one.
func writeFiles(o orders) error {
	id, err := os.ReadFile(filepath.Join(oldRoot+o.Dir, diskDir, "machine-id"))
	if err != nil {
		return err
	}
	files := map[string]string{
		"/etc/machine-id":             string(id),
		"/etc/hostname":               o.Name + "\n",
		"/etc/hosts":                  hostsText(o.Hosts),
		"/etc/resolv.conf":            "nameserver " + lanRouter + "\n", // it refuses at once
		"/etc/containerd/config.toml": containerdConfig,
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// The machine's file may be a link to another place.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func mountAt(source, target, fsType string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, fsType, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}
