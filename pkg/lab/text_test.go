package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBoundedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log := &boundedLog{path: path, max: 10}
	if err := log.open(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n"} {
		if _, err := log.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{path: "eeee\n", path + ".1": "cccc\ndddd\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, error %v, want %q", name, got, err, want)
		}
	}
}

func TestReadMounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	text := `31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
36 30 0:36 /user/1 /mnt/a\040b rw - cgroup systemd rw,xattr,release_agent=/x,name=systemd
37 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
broken line
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mounts, err := readMounts(path)
	if err != nil || len(mounts) != 3 {
		t.Fatalf("got %+v, error %v", mounts, err)
	}
	if m := mounts[1]; m.root != "/user/1" || m.point != "/mnt/a b" {
		t.Errorf("got %+v", m)
	}
	var options []string
	for _, m := range mounts {
		options = append(options, cgroupOptions(m))
	}
	if got := strings.Join(options, " | "); got != "cpu,cpuacct | none,name=systemd | " {
		t.Errorf("options: %s", got)
	}
}

func TestOwnCgroup(t *testing.T) {
	text := "4:memory:/a:b\n3:cpu,cpuacct:/c\n2:name=systemd:/d\n0::/e\n"
	for options, want := range map[string]string{
		"memory": "/a:b", "cpu,cpuacct": "/c", "none,name=systemd": "/d", "": "/e", "pids": "/",
	} {
		if got := ownCgroup(text, hierarchy{Options: options}); got != want {
			t.Errorf("%q: got %s, want %s", options, got, want)
		}
	}
}
