package containers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// facts runs the program with "facts" and returns what it saw.
func (n *node) facts(s containers.Spec) map[string]any {
	n.t.Helper()
	s.Container.Args = append([]string{"facts"}, s.Container.Args...)
	n.run(s)
	text := n.output(s.ID)
	var facts map[string]any
	if err := json.Unmarshal([]byte(text), &facts); err != nil {
		n.t.Fatalf("%v in %q", err, text)
	}
	return facts
}

func expect(t *testing.T, facts map[string]any, want map[string]any) {
	t.Helper()
	for key, value := range want {
		if got, want := fmt.Sprint(facts[key]), fmt.Sprint(value); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

func TestContainerIsSafeByDefault(t *testing.T) {
	n := newNode(t)
	s := spec("t1", n.load("program", ""))
	s.Hostname = "web-1"
	s.Hosts, s.ResolvConf = "10.77.0.1 bridge", "nameserver 10.77.0.1"
	s.Container.User = "user"
	facts := n.facts(s)
	expect(t, facts, map[string]any{
		"hostname": "web-1", "/etc/hostname": "web-1", "/etc/hosts": "10.77.0.1 bridge", "/etc/resolv.conf": "nameserver 10.77.0.1",
		"uid": 1234, "gid": 1235, "groups": "[1235 1236]", "cwd": "/tmp",
		"NoNewPrivs": 1, "Seccomp": 2,
		// The bounding set: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT AUDIT_WRITE SETFCAP.
		"CapBnd": "00000000a00405fb", "CapEff": "0000000000000000",
		"/proc/sys/net/ipv4/ping_group_range": "0\t2147483647", "/proc/sys/net/ipv4/ip_unprivileged_port_start": 0,
		"ping socket": true, "port 80": true, "raw socket": false, "mknod": false,
		"/proc/self/oom_score_adj": 100, "/proc/keys": "", "write /etc/hosts": false, "device": false,
	})
}

func TestServiceWordsReachContainer(t *testing.T) {
	n := newNode(t)
	bound := t.TempDir()
	if err := os.WriteFile(filepath.Join(bound, "file"), []byte("of the node"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := spec("t1", n.load("program", ""))
	s.Container.Env = []string{"BOTH=service", "NEW=1"}
	s.Container.Hostname, s.Hostname = "given", "not-this"
	s.Container.Workdir = "/data"
	s.Container.ReadOnly = true
	s.Container.CapAdd, s.Container.CapDrop = []string{"CAP_NET_RAW"}, []string{"CAP_CHOWN"}
	s.Container.Args = []string{"one", "two"}
	s.Container.Devices = []cluster.Device{{Host: "/dev/null", Container: "/dev/given", Permissions: "rw"}}
	s.Container.Mounts = []cluster.Mount{
		{Type: cluster.MountVolume, Source: "store", Target: "/data"},
		{Type: cluster.MountBind, Source: bound, Target: "/bound", ReadOnly: true},
		{Type: cluster.MountTmpfs, Target: "/tmp", SizeBytes: 1 << 20},
	}
	s.Resources.Limits = cluster.Amount{NanoCPUs: 5e8, MemoryBytes: 64 << 20}
	facts := n.facts(s)
	expect(t, facts, map[string]any{
		"args": "[facts one two]", "hostname": "given", "cwd": "/data", "uid": 0, "device": true, "raw socket": true,
		"/data/seed": "seed of the image", "data owner": 1234, "/bound/file": "of the node",
		"write /": false, "write /data": true, "write /bound": false, "write /tmp": true,
		"CapEff": "00000000a00425fa",
	})
	env := fmt.Sprint(facts["env"])
	for _, want := range []string{"FROM=image", "BOTH=service", "NEW=1", "PATH=/usr/local/sbin"} {
		if !strings.Contains(env, want) {
			t.Errorf("environment %s lacks %s", env, want)
		}
	}
	if strings.Contains(env, "BOTH=image") {
		t.Errorf("environment %s has what the service replaced", env)
	}
	// The volume outlives the container, and is not filled anew.
	if err := os.WriteFile(filepath.Join(n.cfg.VolumesDir, "store/seed"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	again := spec("t1", s.Container.Digest)
	again.Container.Mounts = s.Container.Mounts[:1]
	expect(t, n.facts(again), map[string]any{"/data/seed": "changed", "args": "[facts]"})
	drafts, err := filepath.Glob(filepath.Join(n.cfg.VolumesDir, ".new-*"))
	if err != nil || len(drafts) > 0 {
		t.Errorf("left beside the volume: %v %v", drafts, err)
	}
}

func TestPrivilegedContainer(t *testing.T) {
	n := newNode(t)
	s := spec("t1", n.load("program", ""))
	s.Container.Privileged = true
	facts := n.facts(s)
	expect(t, facts, map[string]any{"NoNewPrivs": 0, "Seccomp": 0, "raw socket": true, "mknod": true})
	if facts["CapEff"] == "00000000a00405fb" {
		t.Error("it has the default capabilities")
	}
	// The same, but for the seccomp profile and the devices, without three of them.
	some := spec("t2", s.Container.Digest)
	some.Container.CapAdd, some.Container.CapDrop = []string{"ALL"}, []string{"CAP_NET_RAW", "CAP_MKNOD", "CAP_CHOWN"}
	other := n.facts(some)
	expect(t, other, map[string]any{"NoNewPrivs": 1, "Seccomp": 2, "raw socket": false, "mknod": false})
	if without := hex(t, facts) &^ (1<<13 | 1<<27 | 1<<0); hex(t, other) != without {
		t.Errorf("all capabilities without three are %x, want %x", hex(t, other), without)
	}
}

func hex(t *testing.T, facts map[string]any) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(fmt.Sprint(facts["CapEff"]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMemoryLimitKills(t *testing.T) {
	n := newNode(t)
	events := n.Events(n.ctx)
	s := spec("t1", n.load("program", ""), "eat")
	s.Resources.Limits.MemoryBytes = 24 << 20
	n.run(s)
	n.output("t1")
	if c := n.find("t1"); c.ExitCode != 137 || !c.OOMKilled {
		t.Errorf("after eating more than its limit: %+v", c)
	}
	for e := range events {
		if e == (containers.Event{Type: containers.EventOOM, ID: "t1"}) {
			return
		}
	}
}

func TestRejectionsSayWhatIsWrong(t *testing.T) {
	n := newNode(t)
	digest := n.load("program", "")
	for _, test := range []struct {
		want   string
		change func(*containers.Spec)
	}{
		{"the source /nowhere of the mount on /x does not exist", func(s *containers.Spec) {
			s.Container.Mounts = []cluster.Mount{{Type: cluster.MountBind, Source: "/nowhere", Target: "/x"}}
		}},
		{"user nobody of image", func(s *containers.Spec) { s.Container.User = "nobody" }},
		{"device /dev/nowhere", func(s *containers.Spec) {
			s.Container.Devices = []cluster.Device{{Host: "/dev/nowhere", Container: "/dev/x", Permissions: "rw"}}
		}},
		{`exec: "/nope": stat /nope: no such file or directory`, func(s *containers.Spec) { s.Container.Entrypoint = []string{"/nope"} }},
	} {
		s := spec("t1", digest, "sleep")
		test.change(&s)
		err := n.Create(n.ctx, s)
		if err == nil {
			err = n.Start(n.ctx, "t1")
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, containers.ErrRejected) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %q, and of kind ErrRejected", err, test.want)
		}
		if err := n.Remove(n.ctx, "t1"); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(n.cfg.FilesDir)
	if err != nil || len(left) > 0 {
		t.Errorf("files of rejected containers are left: %v %v", left, err)
	}
	if _, err := os.Stat("/nowhere"); err == nil {
		t.Error("the mount's source was made")
	}
}

func TestStopSendsImagesSignal(t *testing.T) {
	n := newNode(t)
	n.run(spec("t1", n.load("program", ""), "sleep"))
	eventually(t, "up", func() bool { return strings.Contains(n.log("t1"), "up\n") })
	if err := n.Stop(n.ctx, "t1", "", patience); err != nil {
		t.Fatal(err)
	}
	// The image asks for SIGUSR1, upon which its program ends with 10.
	if c := n.find("t1"); c.ExitCode != 10 {
		t.Errorf("exit code %d, want 10", c.ExitCode)
	}
}

func TestInfo(t *testing.T) {
	info, err := newNode(t).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || info.Platform.OS != "linux" || info.Platform.Arch == "" || !slices.Contains([]string{"overlayfs", "native"}, info.Snapshotter) {
		t.Errorf("info is %+v", info)
	}
	t.Logf("%+v", info)
}
