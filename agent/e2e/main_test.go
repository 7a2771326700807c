// Package e2e tests whole clusters: the real program on virtual Pis, with real containerd, iptables, mDNS and serf.
//
// Every test makes a lab of its own and leaves nothing. Times asserted here are a generous multiple of what is
// promised, so that a busy machine does not turn them red; the figures themselves are measured by `make bench`.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/piswarm/piswarm/pkg/lab"
)

// Built once for all tests.
var binary, greeter, greeterTar, dir string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == dockerSDKArg {
		if err := beDockerProgram(); err != nil {
			fmt.Fprintln(os.Stderr, "docker's SDK:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case registryArg:
			fmt.Fprintln(os.Stderr, "registry:", serveRegistry(os.Args[2]))
			os.Exit(1)
		case strangerArg:
			if err := beStranger(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, "stranger:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	return m.Run()
}

func prepare() (err error) {
	if err := lab.Preflight(); err != nil {
		return err
	}
	// Not under /tmp: the virtual Pis have a /tmp of their own.
	if dir, err = os.MkdirTemp("/var/tmp", "piswarm-e2e-"); err != nil {
		return err
	}
	binary, greeter, greeterTar = filepath.Join(dir, "piswarm"), filepath.Join(dir, "greeter"), filepath.Join(dir, "greeter.tar")
	if err := goTool("build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "../cmd/piswarm"); err != nil {
		return err
	}
	if err := goTool("build", "-o", greeter, "../../testdata/greeter"); err != nil {
		return err
	}
	return goTool("run", "../../testdata/greeter/image", "-o", greeterTar)
}

func goTool(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

var copied sync.Once

// self is a copy of the test program that the hosts can run: they have a /tmp of their own.
func (s *shelf) self() string {
	s.t.Helper()
	program := filepath.Join(dir, "e2e.test")
	copied.Do(func() {
		self, err := os.Executable()
		if err != nil {
			s.t.Fatal(err)
		}
		raw, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(program, raw, 0o700)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	})
	return program
}
