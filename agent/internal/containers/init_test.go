package containers_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// A container may have an init, whatever its image holds and whoever it runs as.
func TestInit(t *testing.T) {
	program := filepath.Join(t.TempDir(), "piswarm")
	build := exec.Command("go", "build", "-o", program, "../../cmd/piswarm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build piswarm: %v\n%s", err, out)
	}
	n := newNode(t, func(c *containers.Config) { c.Init = program })
	digest := n.load("program", "")

	without := spec("t1", digest, "orphans")
	n.run(without)
	if got, want := n.output("t1"), "pid 1\nzombies 3\n"; got != want {
		t.Errorf("without an init: %q, want %q", got, want)
	}
	with := spec("t2", digest, "orphans")
	with.Container.Init, with.Container.ReadOnly, with.Container.User = true, true, "user"
	n.run(with)
	got := n.output("t2")
	if strings.HasPrefix(got, "pid 1\n") || !strings.HasSuffix(got, "\nzombies 0\n") {
		t.Errorf("with an init: %q", got)
	}
	if c := n.find("t2"); c.ExitCode != 3 {
		t.Errorf("exit code %d, want the program's own, 3", c.ExitCode)
	}

	// The image asks for SIGUSR1, upon which its program ends with 10.
	n.run(initSpec("t3", digest, "sleep"))
	eventually(t, "up", func() bool { return strings.Contains(n.log("t3"), "up\n") })
	if err := n.Stop(n.ctx, "t3", "", patience); err != nil {
		t.Fatal(err)
	}
	if c := n.find("t3"); c.ExitCode != 10 {
		t.Errorf("exit code %d after the stop, want 10", c.ExitCode)
	}

	missing := newNode(t, func(c *containers.Config) { c.Init = "/no/such/program" })
	err := missing.Create(missing.ctx, initSpec("t4", missing.load("program", ""), "sleep"))
	if err == nil {
		err = missing.Start(missing.ctx, "t4")
	}
	if err == nil || errors.Is(err, containers.ErrUnavailable) {
		t.Errorf("where the init is missing: %v", err)
	}
}

func initSpec(id, digest string, args ...string) containers.Spec {
	s := spec(id, digest, args...)
	s.Container.Init = true
	return s
}
