package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// privileges are system calls that change more than the container. None of them does harm if it is allowed.
func privileges() []attempt {
	return []attempt{
		{"mount", func() error { return unix.Mount("none", "/dev/shm", "tmpfs", 0, "") }},
		{"bind mount", func() error { return unix.Mount("/", "/dev/shm", "", unix.MS_BIND, "") }},
		{"remount", func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") }},
		{"umount", func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) }},
		{"user namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}) }},
		{"mount namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}) }},
		{"network namespace", func() error { return child(&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}) }},
		{"raw socket", func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) }},
		{"packet socket", func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"ptrace of others", ptraceOthers},
		{"add_key", func() error {
			_, err := unix.AddKey("user", "piswarm-escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}},
		{"new keyring", func() error {
			_, err := unix.KeyctlJoinSessionKeyring("piswarm-escape")
			return err
		}},
		{"request_key", func() error {
			_, err := unix.RequestKey("user", "piswarm-escape", "", unix.KEY_SPEC_PROCESS_KEYRING)
			if errors.Is(err, unix.ENOKEY) {
				return nil // it looked
			}
			return err
		}},
		{"bpf", func() error {
			attr := [5]uint32{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0}
			return call(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		}},
		{"perf_event_open", func() error {
			_, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER5}, -1, 0, -1, 0)
			return err
		}},
		{"open_by_handle_at", func() error {
			_, err := unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY)
			if errors.Is(err, unix.ESTALE) {
				return nil // it looked
			}
			return err
		}},
		{"kernel log", func() error {
			_, err := unix.Klogctl(3, make([]byte, 1<<10))
			return err
		}},
		{"settimeofday", func() error {
			var now unix.Timeval
			if err := unix.Gettimeofday(&now); err != nil {
				return err
			}
			return unix.Settimeofday(&now)
		}},
		{"init_module", func() error { return unix.InitModule([]byte("no module"), "") }},
		{"kexec_load", func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0) }},
		{"reboot", func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }},
		{"sethostname", func() error { return unix.Sethostname([]byte("escaped")) }},
		{"swapon", func() error {
			return call(unix.SYS_SWAPON, uintptr(unsafe.Pointer(unsafe.StringData("/no\x00"))), 0, 0)
		}},
		{"setuid program", func() error {
			cmd := exec.Command("/setuid", "euid")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true}}
			out, err := cmd.Output()
			if err == nil && string(out) != "0" {
				err = fmt.Errorf("it runs as %s", out)
			}
			return err
		}},
	}
}

// kernelFiles are files by which the kernel is read and changed.
func kernelFiles() []attempt {
	return []attempt{
		{"write /proc/sys", func() error {
			const path = "/proc/sys/kernel/core_pattern"
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, text, 0) // what is there already
		}},
		{"write /proc/sysrq-trigger", func() error { return open("/proc/sysrq-trigger", os.O_WRONLY) }},
		{"write /sys", func() error { return open("/sys/class/net/lo/ifalias", os.O_WRONLY) }},
		{"write /sys/fs/cgroup", func() error {
			groups, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
			if len(groups) == 0 {
				groups = []string{"/sys/fs/cgroup/cgroup.procs"}
			}
			return errors.Join(err, open(groups[0], os.O_WRONLY))
		}},
		{"read /proc/kcore", func() error { return read("/proc/kcore") }},
		{"read /proc/keys", func() error { return read("/proc/keys") }},
		{"read /sys/firmware", func() error {
			all, err := os.ReadDir("/sys/firmware")
			if err == nil && len(all) == 0 {
				err = errors.New("nothing in it")
			}
			return err
		}},
		{"write /", func() error { return os.WriteFile("/written", []byte("x"), 0o600) }},
	}
}

// devices are ways to the machine's own.
func devices() []attempt {
	node := func(mode uint32, device uint64) error {
		const path = "/dev/shm/node"
		defer os.Remove(path)
		if err := unix.Mknod(path, mode|0o600, int(device)); err != nil {
			return err
		}
		return open(path, os.O_RDONLY)
	}
	return []attempt{
		{"mknod memory", func() error { return node(unix.S_IFCHR, unix.Mkdev(1, 1)) }},
		{"mknod kernel messages", func() error { return node(unix.S_IFCHR, unix.Mkdev(1, 11)) }},
		{"mknod disk", func() error { return node(unix.S_IFBLK, unix.Mkdev(8, 0)) }},
		{"open a device of the node", func() error {
			known := map[string]bool{}
			for _, name := range strings.Fields("core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero console piswarm-init") {
				known[name] = true
			}
			all, err := os.ReadDir("/dev")
			for _, e := range all {
				if !known[e.Name()] {
					return nil // it is there
				}
			}
			return errors.Join(err, errors.New("no device but those of every container"))
		}},
	}
}

// ptraceOthers looks for a process that is none of this program's own.
func ptraceOthers() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	last := error(unix.ESRCH)
	for pid := 1; pid < 1<<15; pid++ {
		if _, err := os.Stat("/proc/" + strconv.Itoa(os.Getpid()) + "/task/" + strconv.Itoa(pid)); err == nil {
			continue
		}
		name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if strings.Contains(string(name), "piswarm-init") {
			continue
		}
		if err := unix.PtraceSeize(pid); err == nil {
			return unix.PtraceDetach(pid)
		} else if !errors.Is(err, unix.ESRCH) {
			last = err
		}
	}
	return last
}

// bomb starts processes until one more is refused, ends them, and tells how many there were.
func bomb() string {
	const most = 500
	var all []*exec.Cmd
	defer func() {
		for _, c := range all {
			c.Process.Kill()
			c.Wait()
		}
	}()
	for len(all) < most {
		c := exec.Command("/proc/self/exe", "sleep")
		if err := c.Start(); err != nil {
			return fmt.Sprintf("refused after %d: %v", len(all), err)
		}
		all = append(all, c)
	}
	return fmt.Sprintf("allowed: %d processes", most)
}

// child runs this program once more, as attr says.
func child(attr *syscall.SysProcAttr) error {
	cmd := exec.Command("/proc/self/exe", "euid")
	cmd.SysProcAttr = attr
	return cmd.Run()
}

func socket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func call(number, a, b, c uintptr) error {
	if fd, _, errno := unix.Syscall6(number, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	} else if number == unix.SYS_BPF {
		unix.Close(int(fd))
	}
	return nil
}

func open(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0)
	if err == nil {
		f.Close()
	}
	return err
}

func read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := f.Read(make([]byte, 64)); n == 0 {
		return fmt.Errorf("nothing in it: %w", err)
	}
	return nil
}
