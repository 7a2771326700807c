package containers_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func TestContainersShareShims(t *testing.T) {
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
	const count = 20
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			s := spec(fmt.Sprintf("t%d", i), digest, "sleep")
			if err := n.Create(n.ctx, s); err != nil {
				t.Error(err)
			} else if err := n.Start(n.ctx, s.ID); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	shims := d.shims()
	members := map[string]int{}
	list, err := n.List(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.State != containers.Running {
			t.Errorf("%+v does not run", c)
		}
		members[parent(t, c.PID)]++
	}
	t.Logf("%d containers: %d shims of %v containers, %d kB PSS", len(list), len(shims), members, pss(t, shims))
	if len(shims) != (count+7)/8 {
		t.Errorf("there are %d shims, want %d", len(shims), (count+7)/8)
	}
	for shim, m := range members {
		if m > 8 {
			t.Errorf("shim %s has %d containers, want at most 8", shim, m)
		}
	}

	// Members come and go at once, also whole groups, and the others run on.
	pids := map[string]int{}
	for _, c := range list {
		pids[c.ID] = c.PID
	}
	for i := range count / 2 {
		all.Go(func() {
			id := fmt.Sprintf("t%d", 2*i)
			if err := n.Remove(n.ctx, id); err != nil {
				t.Error(err)
			} else if err := n.Create(n.ctx, spec(id, digest, "sleep")); err != nil {
				t.Error(err)
			} else if err := n.Start(n.ctx, id); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err = n.List(n.ctx); err != nil || len(list) != count {
		t.Fatalf("%d containers, error %v", len(list), err)
	}
	for i, c := range list {
		number, _ := strconv.Atoi(c.ID[1:])
		if c.State != containers.Running || (number%2 == 1) != (c.PID == pids[c.ID]) {
			t.Errorf("%d: %+v had PID %d before", i, c, pids[c.ID])
		}
	}
	if got := len(d.shims()); got > count/8+2 {
		t.Errorf("there are %d shims after the exchange", got)
	}
}

// A shim that dies takes its group with it, and no other.
func TestShimDeathIsSeen(t *testing.T) {
	n := newNode(t)
	digest := n.load("program", "")
	for _, id := range []string{"t1", "t2"} {
		n.run(spec(id, digest, "sleep"))
	}
	other := spec("t3", digest, "sleep")
	other.ServiceID = "s2"
	n.run(other)
	shim, err := strconv.Atoi(parent(t, n.find("t1").PID))
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(shim)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both members of the group are seen to have ended", func() bool {
		return n.find("t1").State == containers.Stopped && n.find("t2").State == containers.Stopped
	})
	if c := n.find("t1"); c.ExitCode == 0 {
		t.Errorf("it looks as if it had ended well: %+v", c)
	}
	if c := n.find("t3"); c.State != containers.Running {
		t.Errorf("a container of another group ended: %+v", c)
	}
	for _, id := range []string{"t1", "t2"} {
		if err := n.Remove(n.ctx, id); err != nil {
			t.Fatal(err)
		}
		n.run(spec(id, digest, "sleep"))
	}
}

func parent(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if ppid, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strings.TrimSpace(ppid)
		}
	}
	t.Fatal("no parent")
	return ""
}

func pss(t *testing.T, pids []string) (kB int) {
	t.Helper()
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); fields[0] == "Pss:" {
				n, _ := strconv.Atoi(fields[1])
				kB += n
			}
		}
	}
	return kB
}
