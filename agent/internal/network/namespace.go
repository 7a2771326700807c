package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onOwnThread runs a function on a thread that nothing else will run on. The goroutine ends without unlocking
// its thread, upon which the runtime destroys the thread with whatever namespace it is in: there is nothing to
// restore and so nothing that could fail to be.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread is never destroyed, and stands for the process in /proc. While this goroutine
			// occupies it, the next one gets another.
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}

// inNamespace runs a function on a thread inside of a network namespace.
func inNamespace(namespace *os.File, f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", namespace.Name(), err)
		}
		return f()
	})
}

// inside runs a function in the agent's own namespace.
func (n *Network) inside(f func() error) error { return inNamespace(n.namespace, f) }

// open connects to the kernel in the namespace of the calling thread.
func open(families ...int) (*netlink.Handle, error) {
	nl, err := netlink.NewHandle(families...)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := nl.SetSocketTimeout(netlinkTimeout); err != nil {
		nl.Close()
		return nil, fmt.Errorf("set the timeout of netlink: %w", err)
	}
	return nl, nil
}

// makeNamespace makes a new network namespace that lives as long as it is mounted on a file.
func makeNamespace(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of network namespaces: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", path, err)
	}
	file.Close()
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace %s: %w", path, err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount network namespace %s: %w", path, err)
		}
		return nil
	})
}

// isNamespace tells whether a namespace is mounted on the file. After a crash it may be just a file.
func isNamespace(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && int64(s.Type) == unix.NSFS_MAGIC
}

// removeNamespace takes a namespace's name away. The namespace itself ends with the last process in it.
func removeNamespace(path string) error {
	for isNamespace(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}
