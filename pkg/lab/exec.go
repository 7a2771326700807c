package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stdio is where a command on a host reads and writes. A nil member is /dev/null.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal says that In is the caller's terminal: the command stays in its foreground and gets its Ctrl-C.
	Terminal bool
}

// Target says where a host's namespaces and cgroups are. It is data, so that another process than the lab's owner can
// enter the host without the owner carrying its input and output.
type Target struct {
	Name    string   `json:"name"`
	PID     int      `json:"pid"`     // of the host's init
	Start   uint64   `json:"start"`   // when that process started, for a PID may be given to another
	Cgroups []string `json:"cgroups"` // v1: directories to enter
	Cgroup2 string   `json:"cgroup2"` // v2: directory to start in
}

const (
	hostPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// namespaces are those that each host has of its own.
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	// killAfter is how long a command may take to end after it was asked to.
	killAfter = 3 * time.Second
)

// Exec runs a command on the host; see [Lab.Exec]. When ctx ends the command is asked to end with SIGTERM and killed
// soon after, except on a terminal, whose Ctrl-C it gets itself.
func (t Target) Exec(ctx context.Context, argv []string, stdio Stdio) (code int, err error) {
	if len(argv) == 0 {
		return -1, errors.New("no command given")
	}
	err = onOwnThread(func() error {
		// A v2 tree has no place for a single thread: the command itself starts in the host's group, which has to be
		// opened while this machine's file system is in sight.
		var cgroup2 *os.File
		if t.Cgroup2 != "" {
			if cgroup2, err = os.Open(t.Cgroup2); err != nil {
				return err
			}
			defer cgroup2.Close()
		}
		if err := t.enter(); err != nil {
			return fmt.Errorf("enter %s: %w", t.Name, err)
		}
		code, err = t.run(ctx, argv, stdio, cgroup2)
		return err
	})
	return code, err
}

// run starts the command from the calling thread, which has entered the host, and waits for its end.
func (t Target) run(ctx context.Context, argv []string, stdio Stdio, cgroup2 *os.File) (int, error) {
	program, err := lookPath(argv[0])
	if err != nil {
		if stdio.Err != nil {
			fmt.Fprintln(stdio.Err, err)
		}
		return 127, nil
	}
	if stdio.Terminal {
		// Ctrl-C is for the command, which may use it for something else than to end.
		ctx = context.WithoutCancel(ctx)
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, os.Interrupt, syscall.SIGQUIT)
		defer signal.Stop(caught)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = argv
	cmd.Env = []string{"PATH=" + hostPath, "HOME=/root", "LANG=C.UTF-8"}
	cmd.Dir = "/root"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio.In, stdio.Out, stdio.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if stdio.Terminal {
		cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"))
	} else {
		// A session of its own, so that ending the command ends what it started.
		cmd.SysProcAttr.Setsid = true
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
		cmd.WaitDelay = killAfter
	}
	if cgroup2 != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(cgroup2.Fd())
	}
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return -1, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), ctx.Err()
	}
	return cmd.ProcessState.ExitCode(), ctx.Err()
}

// enter moves the calling thread into the host. The thread is of no other use afterwards.
func (t Target) enter() error {
	for _, dir := range t.Cgroups {
		// 0 is the calling thread.
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
			return err
		}
	}
	fd, err := t.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// A thread that shares its root directory with others may not change the mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(fd, namespaces|unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("setns: %w", err)
	}
	return nil
}

// open returns a pidfd of the host's init.
func (t Target) open() (int, error) {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("process %d: %w", t.PID, err)
	}
	start, err := startTime(t.PID)
	if err != nil || start != t.Start {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is off", t.Name)
	}
	return fd, nil
}

// startTime is the 22nd field of a process's stat: ticks since the machine's boot.
func startTime(pid int) (start uint64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field, the program's name, is in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: unreadable stat", pid)
	}
	_, err = fmt.Sscan(fields[19], &start)
	return start, err
}

// lookPath finds a program on the host that the calling thread is in. It differs from exec.LookPath in the search
// path, which there is that of this process.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		if err := unix.Access(name, unix.X_OK); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		return name, nil
	}
	for dir := range strings.SplitSeq(hostPath, ":") {
		if path := dir + "/" + name; unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: command not found", name)
}

// Dial connects to an address from a host, as a program on that host would. Instead of an IP address, the
// name of a host of the lab can be given.
func (l *Lab) Dial(ctx context.Context, from, network, address string) (conn net.Conn, err error) {
	t, err := l.Target(from)
	if err != nil {
		return nil, err
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if h, err := l.host(name); err == nil {
		name = h.addr.String()
	}
	// A name would be resolved on another thread, outside the lab.
	if net.ParseIP(name) == nil {
		return nil, fmt.Errorf("dial %s: want an IP address or a host of the lab", address)
	}
	err = onOwnThread(func() error {
		fd, err := t.open()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: setns: %w", t.Name, err)
		}
		conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(name, port))
		return err
	})
	return conn, err
}

// onOwnThread runs f on a thread that does not outlive it, so that f may move that thread to other namespaces.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		// The process's first thread never ends, and it is what /proc/self shows of the process. While it is
		// locked here, a further goroutine is certain to get another.
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}
