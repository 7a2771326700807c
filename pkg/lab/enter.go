package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is what a thread that entered a host still has of this machine.
type entry struct {
	cgroup2 *os.File   // v2 has no place for a single thread: the command starts in this group
	home    []*os.File // v1: the members of the groups that the thread came from
}

// enter moves the calling thread into the host. The thread is of no other use afterwards.
func (t Target) enter() (e *entry, err error) {
	e = new(entry)
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	// All of this machine's files are opened before they are out of sight.
	if t.Cgroup2 != "" {
		if e.cgroup2, err = os.Open(t.Cgroup2); err != nil {
			return nil, err
		}
	}
	if err := e.openHome(); err != nil {
		return nil, err
	}
	fd, err := t.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for _, dir := range t.Cgroups {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), thisThread, 0); err != nil {
			return nil, err
		}
	}
	// A thread that shares its root directory with others may not change the mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(fd, namespaces|unix.CLONE_NEWCGROUP); err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	return e, nil
}

// thisThread stands for the thread that writes it to a cgroup's tasks.
var thisThread = []byte("0")

func (e *entry) openHome() error {
	c, err := findCgroups("")
	if err != nil {
		return err
	}
	for _, h := range c.all {
		if h.v2() {
			continue
		}
		tasks, err := os.OpenFile(filepath.Join(h.dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		e.home = append(e.home, tasks)
	}
	return nil
}

// leaveCgroups takes the thread back, after the command inherited the host's cgroups from it. A thread that stayed
// would make this process a member of the host's groups, which nobody could then remove.
func (e *entry) leaveCgroups() error {
	for _, tasks := range e.home {
		if _, err := tasks.Write(thisThread); err != nil {
			return fmt.Errorf("leave the host's cgroup: %w", err)
		}
	}
	return nil
}

func (e *entry) close() {
	if e.cgroup2 != nil {
		e.cgroup2.Close()
	}
	for _, tasks := range e.home {
		tasks.Close()
	}
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
