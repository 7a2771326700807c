package nettest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host is a network namespace.
type host struct {
	t    *testing.T
	file *os.File
}

// newHost makes an empty namespace with lo up.
func newHost(t *testing.T) *host {
	t.Helper()
	made := make(chan *os.File, 1)
	err := thread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- f
		return err
	})
	if err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", err)
	}
	h := &host{t, <-made}
	t.Cleanup(func() { h.file.Close() })
	h.must("ip link set lo up")
	return h
}

// openHost is a container, whose namespace somebody else made.
func openHost(t *testing.T, path string) *host {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &host{t, f}
}

// thread runs a function on a thread that ends with it.
func thread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// in runs a function inside of the namespace. Sockets that it opens stay there.
func (h *host) in(f func() error) error {
	return thread(func() error {
		if err := unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// run runs a command line inside of the namespace.
func (h *host) run(line string) (string, error) {
	var out []byte
	err := h.in(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		out, err = exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", line, err, out)
		}
		return err
	})
	return string(out), err
}

func (h *host) must(line string) string {
	h.t.Helper()
	out, err := h.run(line)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}
