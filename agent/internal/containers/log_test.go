package containers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/client"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func TestLogKeepsBothStreams(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "print", "to stdout", "to stderr"))
	if got := n.output("t1"); !strings.Contains(got, "to stdout\n") || !strings.Contains(got, "to stderr\n") || len(got) != 20 {
		t.Errorf("the log is %q", got)
	}
	if err := n.Remove(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Log("t1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log of a removed container gives %v", err)
	}
	if _, err := n.Log("../../etc/passwd"); !errors.Is(err, containers.ErrRejected) {
		t.Errorf("a path for an ID gives %v", err)
	}
}

// A container floods its output while it is trimmed and read. Little memory is used, nothing of the end is lost,
// and a reader sees whole lines alone, in order.
func TestLogsAreTrimmedUnderAFlood(t *testing.T) {
	const keep, megabytes = 256 << 10, 64
	n := newNode(t, func(c *containers.Config) { c.LogBytes = keep })
	ctx, cancel := context.WithCancel(n.ctx)
	trimmed := make(chan error, 1)
	go func() { trimmed <- n.TrimLogs(ctx) }()
	n.run(spec("t1", n.load("program", ""), "flood", fmt.Sprint(megabytes)))
	path := filepath.Join(n.cfg.LogDir, "t1.log")

	log, err := n.Log("t1")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var lines, jumps int
	next, most := int64(0), int64(0)
	reader := bufio.NewReader(patientReader{t, log})
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "flood ends\n" {
			break
		}
		var at int64
		if _, err := fmt.Sscanf(line, "line at byte %d\n", &at); err != nil {
			t.Fatalf("line %d is torn: %q", lines, line)
		}
		if at < next {
			t.Fatalf("line %q comes after byte %d", line, next)
		} else if at > next {
			jumps++
		}
		next = at + int64(len(line))
		if lines++; lines%1000 == 0 {
			most = max(most, used(t, path))
		}
	}
	if next < megabytes<<20 {
		t.Errorf("the last line ends at byte %d, before %d MiB", next, megabytes)
	}
	eventually(t, "the log is trimmed", func() bool { return used(t, path) <= keep+2*int64(os.Getpagesize()) })
	t.Logf("%d lines read, %d holes jumped, at most %d kB used", lines, jumps, most>>10)

	rest := n.log("t1")
	if len(rest) < keep-64<<10 || !strings.HasSuffix(rest, "flood ends\nup\n") || !strings.HasPrefix(rest, "line at byte ") {
		t.Errorf("what is left are %d bytes, from %.40q to %q", len(rest), rest, rest[max(0, len(rest)-40):])
	}
	cancel()
	if err := <-trimmed; err != nil {
		t.Error(err)
	}
}

// patientReader waits at the end of a log for more.
type patientReader struct {
	t   *testing.T
	log io.Reader
}

func (p patientReader) Read(b []byte) (n int, err error) {
	eventually(p.t, "the log goes on", func() bool {
		n, err = p.log.Read(b)
		return err != io.EOF
	})
	return n, err
}

func used(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// forgetProcess removes a container's process, and containerd's knowledge of it, behind the runtime's back.
func (n *node) forgetProcess(id string) {
	n.t.Helper()
	c, err := client.New(n.cfg.Socket, client.WithDefaultNamespace(n.cfg.Namespace))
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	container, err := c.LoadContainer(n.ctx, id)
	if err != nil {
		n.t.Fatal(err)
	}
	task, err := container.Task(n.ctx, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := task.Delete(n.ctx, client.WithProcessKill); err != nil {
		n.t.Fatal(err)
	}
}

func emptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}
