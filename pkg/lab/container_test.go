package lab

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestContainer runs a container with a memory limit: containerd, runc and the cgroups of a host work as on a machine
// of its own.
func TestContainer(t *testing.T) {
	l := startLab(t, 1)
	image := filepath.Join(l.dir, "pi1", diskDir, "etc/piswarm/greeter.tar")
	build := exec.Command("go", "run", "github.com/piswarm/piswarm/testdata/greeter/image", "-o", image, "-platform", "linux/"+runtime.GOARCH)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the image: %v\n%s", err, out)
	}
	run(t, l, "pi1", "ctr image import /etc/piswarm/greeter.tar", 0)
	const start = "ctr run --detach --net-host --memory-limit 67108864 docker.io/library/greeter:latest "
	run(t, l, "pi1", start+"c1", 0)
	if got := answer5000(t, l); got != "Hello, Docker world from pi1." {
		t.Errorf("got %q", got)
	}
	groups := run(t, l, "pi1", "cat /proc/$(ctr task ls | awk '/c1/ {print $2}')/cgroup", 0)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if parts[1] == "memory" || l.cg.pure {
			if parts[2] != "/default/c1" {
				t.Errorf("the container's cgroup is %s", line)
			}
		}
	}
	limit := run(t, l, "pi1", "cat /sys/fs/cgroup/memory/default/c1/memory.limit_in_bytes /sys/fs/cgroup/default/c1/memory.max 2>/dev/null; true", 0)
	if limit != "67108864" {
		t.Errorf("limit: %q", limit)
	}
	// The power cut takes the container; its image stays on the disk.
	if err := l.PowerOff("pi1"); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "pi1"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, l, "pi1", "ctr task ls -q", 0); got != "" {
		t.Errorf("tasks after the power cut: %q", got)
	}
	run(t, l, "pi1", start+"c2", 0)
	if got := answer5000(t, l); got != "Hello, Docker world from pi1." {
		t.Errorf("after the power cut: got %q", got)
	}
}

// answer5000 is what pi1 says on the greeter's port.
func answer5000(t *testing.T, l *Lab) string {
	t.Helper()
	return run(t, l, "laptop", "curl --silent --retry 20 --retry-connrefused --retry-delay 1 --max-time 20 http://pi1:5000/", 0)
}
