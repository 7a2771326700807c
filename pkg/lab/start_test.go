package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStartFails starts labs that cannot start. Each says why and leaves nothing.
func TestStartFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Options)
		want  []string
	}{
		{"no nodes", func(o *Options) { o.Nodes = 0 }, []string{"a lab of 0 nodes: want 1 to 200"}},
		{"no binary", func(o *Options) { o.Binary = "/nowhere" }, []string{"/nowhere: no such file"}},
		{"a directory with a comma", func(o *Options) { o.Dir += "/a,b" }, []string{"comma"}},
		{"a binary that is none", func(o *Options) { o.Binary = "/etc/hostname" }, []string{"exec format error"}},
		{"another binary", func(o *Options) { o.Binary = "/bin/true" }, []string{"it wrote no log"}},
		{"an agent that dies", func(o *Options) {
			o.agent = []string{"sh", "-c", "echo no such luck; exit 3"}
			o.serviceWait = 5 * time.Second
		}, []string{"pi1: agent does not answer after 5s", "the end of its log:", "no such luck", "ended: exit code 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := testOptions(t, 1)
			c.spoil(&opt)
			before := takeInventory(t, os.Getpid(), opt.Dir)
			l, err := Start(t.Context(), opt)
			if err == nil {
				l.Close()
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if found := left(t, before, os.Getpid(), opt.Dir); found != "" {
				t.Errorf("left behind:\n%s", found)
			}
		})
	}
}

// TestStartKeepsOthersFiles refuses a directory that is in use.
func TestStartKeepsOthersFiles(t *testing.T) {
	opt := testOptions(t, 1)
	file := filepath.Join(opt.Dir, "mine")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v", err)
	}
	if err := Sweep(opt.Dir); err == nil || !strings.Contains(err.Error(), "not the directory of a lab") {
		t.Errorf("sweep: error %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestStartCancelled ends a start half way.
func TestStartCancelled(t *testing.T) {
	opt := testOptions(t, 2)
	before := takeInventory(t, os.Getpid(), opt.Dir)
	opt.agent = []string{"sleep", "1000"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	_, err := Start(ctx, opt)
	if err == nil || time.Since(began) > 30*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
	if found := left(t, before, os.Getpid(), opt.Dir); found != "" {
		t.Errorf("left behind:\n%s", found)
	}
}

// TestCopyStartsNoProgram: while the program is copied no child starts, for it would have the copy open for writing.
func TestCopyStartsNoProgram(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "pipe"), filepath.Join(t.TempDir(), "copy")
	if err := unix.Mkfifo(from, 0o600); err != nil {
		t.Fatal(err)
	}
	copied := make(chan error, 1)
	go func() { copied <- copyFile(to, from, 0o755) }()
	source, err := os.OpenFile(from, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is being written and nothing can start", func() bool {
		if syscall.ForkLock.TryLock() {
			syscall.ForkLock.Unlock()
			return false
		}
		return true
	})
	if err := errors.Join(source.Close(), <-copied); err != nil {
		t.Error(err)
	}
	if !syscall.ForkLock.TryLock() {
		t.Fatal("nothing can start any more")
	}
	syscall.ForkLock.Unlock()
}
