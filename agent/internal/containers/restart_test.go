package containers_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func TestRuntimeOutlivesContainerd(t *testing.T) {
	d, err := startDaemon(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.end(); err != nil {
			t.Error(err)
		}
	})
	n := newNodeOn(t, d)
	digest := n.load("program", "")
	events := n.Events(n.ctx)
	next := func() containers.Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(patience):
			t.Fatal("no event")
			return containers.Event{}
		}
	}
	if e := next(); e.Type != containers.EventResync {
		t.Fatalf("the first event is %+v", e)
	}
	for _, id := range []string{"t1", "t2"} {
		n.run(spec(id, digest, "sleep"))
		if e := next(); e != (containers.Event{Type: containers.EventStarted, ID: id}) {
			t.Fatalf("after the start of %s: %+v", id, e)
		}
	}
	stays, leaves := n.find("t1"), n.find("t2")

	if err := d.kill(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = n.List(n.ctx)
	if took := time.Since(begun); !errors.Is(err, containers.ErrUnavailable) || took > patience {
		t.Errorf("without containerd: %v after %s", err, took)
	}
	if want := "containerd does not answer on " + d.socket() + ": is it running? systemctl status containerd"; err != nil && !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %q does not end with %q", err, want)
	}
	if n.Has(n.ctx, digest) {
		t.Error("an image is here without containerd")
	}
	kill(t, leaves.PID)

	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	// The reader is told to list again, and then finds what happened meanwhile.
	for e := next(); e.Type != containers.EventResync; e = next() {
		if e.ID != "t2" {
			t.Errorf("event %+v", e)
		}
	}
	if c := n.find("t1"); c != stays {
		t.Errorf("a container that ran on was %+v and is %+v", stays, c)
	}
	eventually(t, "the container that ended meanwhile is seen to have", func() bool {
		return n.find("t2").State == containers.Stopped
	})
	if c := n.find("t2"); c.ExitCode == 0 {
		t.Errorf("a killed container has exit code 0: %+v", c)
	}
	if err := n.Stop(n.ctx, "t1", "", patience); err != nil {
		t.Error(err)
	}
	for e := next(); e.Type != containers.EventExited || e.ID != "t1"; e = next() {
	}
}

// A runtime opened before containerd is there works once it is.
func TestOpenBeforeContainerd(t *testing.T) {
	dir := t.TempDir()
	n := &daemon{dir: dir}
	r, err := containers.Open(t.Context(), containers.Config{Socket: n.socket(), LogDir: t.TempDir(), FilesDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.List(t.Context()); !errors.Is(err, containers.ErrUnavailable) {
		t.Fatalf("without containerd: %v", err)
	}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.List(t.Context()); err != nil {
		t.Error(err)
	}
}

// After a reboot the records of containers are still there, and nothing else is.
func TestRebootLooksLikeAnEnd(t *testing.T) {
	n := newNode(t)
	digest := n.load("program", "")
	n.run(spec("t1", digest, "sleep"))
	if err := n.Create(n.ctx, spec("t2", digest, "sleep")); err != nil {
		t.Fatal(err)
	}
	n.forgetProcess("t1")
	for _, dir := range []string{n.cfg.LogDir, n.cfg.FilesDir} {
		emptyDir(t, dir)
	}
	for _, id := range []string{"t1", "t2"} {
		if c := n.find(id); c.State != containers.Stopped || c.ExitCode != 255 {
			t.Errorf("after a reboot: %+v", c)
		}
		if err := n.Remove(n.ctx, id); err != nil {
			t.Error(err)
		}
		n.run(spec(id, digest, "sleep"))
	}
}
