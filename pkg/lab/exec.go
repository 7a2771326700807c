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
		e, err := t.enter()
		if err != nil {
			return fmt.Errorf("enter %s: %w", t.Name, err)
		}
		defer e.close()
		code, err = t.run(ctx, argv, stdio, e)
		return err
	})
	return code, err
}

// run starts the command from the calling thread, which has entered the host, and waits for its end.
func (t Target) run(ctx context.Context, argv []string, stdio Stdio, e *entry) (int, error) {
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
	if e.cgroup2 != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(e.cgroup2.Fd())
	}
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	left := e.leaveCgroups()
	// What is wrong with the command's end stands in its state.
	_ = cmd.Wait()
	if left != nil {
		return -1, left
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), ctx.Err()
	}
	return cmd.ProcessState.ExitCode(), ctx.Err()
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
		name = h.address().String()
	}
	// A name would be resolved on another thread, outside the lab.
	if net.ParseIP(name) == nil {
		return nil, fmt.Errorf("dial %s: want an IP address or a host of the lab", address)
	}
	err = t.network(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(name, port))
		return err
	})
	return conn, err
}

// ListenPacket opens a socket on a host, as a program on that host would.
func (l *Lab) ListenPacket(ctx context.Context, host, network, address string) (conn net.PacketConn, err error) {
	t, err := l.Target(host)
	if err != nil {
		return nil, err
	}
	err = t.network(func() error {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// network runs a function in the host's network namespace. Sockets that it opens stay there.
func (t Target) network(f func() error) error {
	return onOwnThread(func() error {
		fd, err := t.open()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: setns: %w", t.Name, err)
		}
		return f()
	})
}
