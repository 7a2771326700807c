package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPowerCut cuts the power of a host with processes that would resist any other end.
func TestPowerCut(t *testing.T) {
	l := startLab(t, 2)
	// A tree as a shim makes it: a session of its own, left to init, deaf to SIGTERM.
	run(t, l, "pi2", `for i in 1 2 3; do setsid sh -c 'trap "" TERM HUP; sleep 987654' >/dev/null 2>&1 </dev/null & done`, 0)
	sleeping := func() (n int) {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if text, err := os.ReadFile(line); err == nil && bytes.Contains(text, []byte("sleep\x00987654")) {
				n++
			}
		}
		return n
	}
	eventually(t, "three processes", func() bool { return sleeping() == 3 })
	run(t, l, "pi2", "echo kept | tee /root/file > /var/lib/piswarm/file; echo gone > /run/file", 0)
	identity := "cat /etc/machine-id /sys/class/net/eth0/address; ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'"
	before := run(t, l, "pi2", identity, 0)

	began := time.Now()
	if err := l.PowerOff("pi2"); err != nil {
		t.Fatal(err)
	}
	t.Logf("off after %s", time.Since(began))
	if n := sleeping(); n != 0 {
		t.Errorf("%d processes outlived the power", n)
	}
	if got := l.List()[1]; got.Power != "off" || got.PID != 0 {
		t.Errorf("got %+v", got)
	}
	if _, err := l.Exec(t.Context(), "pi2", []string{"true"}, Stdio{}); err == nil || err.Error() != "pi2 is off" {
		t.Errorf("exec: error %v", err)
	}
	if err := l.PowerOff("pi2"); err != nil {
		t.Errorf("off again: %v", err)
	}

	if err := l.PowerOn(t.Context(), "pi2"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, l, "pi2", "cat /root/file /var/lib/piswarm/file; test ! -e /run/file", 0); got != "kept\nkept" {
		t.Errorf("disk: %q", got)
	}
	if after := run(t, l, "pi2", identity, 0); after != before {
		t.Errorf("was %q, is %q", before, after)
	}
	if !answers(t, l, "pi1", "pi2") {
		t.Error("pi1 does not reach pi2")
	}
}

// TestInitEnds turns a host off from inside.
func TestInitEnds(t *testing.T) {
	l := startLab(t, 1)
	pid := l.List()[0].PID
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pi1 is off", func() bool { return l.List()[0].Power == "off" })
	if err := l.PowerOn(t.Context(), "pi1"); err != nil {
		t.Fatal(err)
	}
	run(t, l, "pi1", "true", 0)
}

func TestTwoLabs(t *testing.T) {
	a, b := startLab(t, 1), startLab(t, 1)
	run(t, a, "pi1", "touch /root/a", 0)
	run(t, b, "pi1", "test ! -e /root/a", 0)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, b, "pi1", "true", 0)
	if !answers(t, b, "laptop", "pi1") {
		t.Error("the other lab's network is gone")
	}
}

// TestCloseLeavesNothing compares the machine before and after.
func TestCloseLeavesNothing(t *testing.T) {
	opt := testOptions(t, 2)
	before := takeInventory(t, os.Getpid(), opt.Dir)
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	namespaces := networkNamespaces(t, l)
	if used := inUse(t, namespaces); len(used) < len(namespaces) {
		t.Errorf("the test does not see all namespaces of the lab in use: %q", used)
	}
	run(t, l, "pi1", "setsid sleep 1000 >/dev/null 2>&1 & ip link add br9 type bridge; iptables -t nat -A OUTPUT -j ACCEPT; mount -t tmpfs x /mnt", 0)
	during := takeInventory(t, os.Getpid(), opt.Dir)
	if changes := during.changes(before); len(changes) > 0 {
		t.Errorf("while the lab is up: %s", strings.Join(changes, "\n"))
	}
	if len(during.cgroups) == 0 || len(during.processes) < 6 {
		t.Errorf("the inventory of a lab that is up: %+v", during)
	}
	if err := l.PowerOff("pi2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if found := left(t, before, os.Getpid(), opt.Dir); found != "" {
		t.Errorf("left behind:\n%s", found)
	}
	if used := inUse(t, namespaces); len(used) > 0 {
		t.Errorf("left behind: namespaces, by %q", used)
	}
}
