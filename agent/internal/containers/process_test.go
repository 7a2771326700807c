package containers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestArgumentsMergeAsInDocker(t *testing.T) {
	for _, test := range []struct {
		entrypoint, cmd, ownEntrypoint, ownArgs, want string
	}{
		{"/e a", "b c", "", "", "/e a b c"},
		{"/e a", "b c", "", "d", "/e a d"},
		{"/e a", "b c", "/own", "", "/own"},
		{"/e a", "b c", "/own x", "d", "/own x d"},
		{"", "/c b", "", "", "/c b"},
		{"", "/c b", "", "/d", "/d"},
	} {
		var p specs.Process
		err := setProcess(&p,
			cluster.Container{Entrypoint: strings.Fields(test.ownEntrypoint), Args: strings.Fields(test.ownArgs)},
			ocispec.ImageConfig{Entrypoint: strings.Fields(test.entrypoint), Cmd: strings.Fields(test.cmd)})
		if got := strings.Join(p.Args, " "); err != nil || got != test.want {
			t.Errorf("%+v gives %q, error %v", test, got, err)
		}
	}
	var p specs.Process
	if err := setProcess(&p, cluster.Container{}, ocispec.ImageConfig{}); !errors.Is(err, ErrRejected) {
		t.Errorf("no command at all gives %v", err)
	}
}

func TestCapabilitiesMergeAsInDocker(t *testing.T) {
	list := func(s string) []string { return strings.Fields(s) }
	all := list("CAP_KILL CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_TIME")
	before := slices.Clone(all)
	if got := capabilities(nil, nil, all); !slices.Equal(got, defaultCapabilities) {
		t.Errorf("default: %v", got)
	}
	if got := capabilities(list("net_raw CAP_CHOWN"), list("KILL"), all); !slices.Contains(got, "CAP_NET_RAW") || slices.Contains(got, "CAP_KILL") || len(got) != len(defaultCapabilities) {
		t.Errorf("one more and one less: %v", got)
	}
	if got := capabilities(list("CAP_SYS_TIME"), list("ALL"), all); !slices.Equal(got, []string{"CAP_SYS_TIME"}) {
		t.Errorf("all dropped but one: %v", got)
	}
	if got := capabilities(list("ALL"), list("SYS_ADMIN"), all); !slices.Equal(got, list("CAP_KILL CAP_NET_ADMIN CAP_SYS_TIME")) {
		t.Errorf("all but one: %v", got)
	}
	if !slices.Equal(all, before) || len(defaultCapabilities) != 12 || defaultCapabilities[10] != "CAP_KILL" {
		t.Errorf("the lists themselves were changed: %v, %v", all, defaultCapabilities)
	}
}

func TestResourcesNeedTheirCgroup(t *testing.T) {
	wanted := cluster.Resources{Limits: cluster.Amount{MemoryBytes: 64 << 20, NanoCPUs: 1_500_000_000}}
	fill := func(facts cgroupFacts) (*specs.LinuxResources, error) {
		l := &specs.Linux{Resources: &specs.LinuxResources{}}
		return l.Resources, setResources(l, wanted, facts)
	}
	got, err := fill(cgroupFacts{memory: true, swap: true, pids: true})
	if err != nil || *got.Memory.Limit != 64<<20 || *got.Memory.Swap != 64<<20 || *got.CPU.Quota != 150_000 || *got.Pids.Limit != 1024 {
		t.Errorf("resources %+v, error %v", got, err)
	}
	if got, err = fill(cgroupFacts{memory: true, pids: true}); err != nil || got.Memory.Swap != nil {
		t.Errorf("without swap accounting: %+v, error %v", got.Memory, err)
	}
	if _, err = fill(cgroupFacts{pids: true}); !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "cgroup_enable=memory") {
		t.Errorf("without the memory cgroup: %v", err)
	}
	if _, err = fill(cgroupFacts{memory: true}); !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "CONFIG_CGROUP_PIDS") {
		t.Errorf("without the pids cgroup: %v", err)
	}
	wanted.Pids = 7
	if got, err = fill(cgroupFacts{memory: true, pids: true}); err != nil || *got.Pids.Limit != 7 {
		t.Errorf("with a limit of its own: %+v, error %v", got.Pids, err)
	}
}

func TestReadCgroups(t *testing.T) {
	write := func(root, path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hybrid, v2, off := t.TempDir(), t.TempDir(), t.TempDir()
	write(hybrid, "unified/cgroup.controllers", "")
	write(hybrid, "pids/cgroup.procs", "")
	write(hybrid, "memory/memory.limit_in_bytes", "1")
	write(hybrid, "memory/piswarm/t1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
	write(v2, "cgroup.controllers", "cpuset cpu io memory pids\n")
	write(v2, "piswarm/t1/memory.events", "low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
	write(v2, "piswarm/t2/memory.events", "low 0\noom 0\noom_kill 0\n")
	write(off, "cgroup.controllers", "cpuset cpu io\n")
	if got := readCgroups(hybrid); got.v2 || !got.memory || got.swap || !got.pids {
		t.Errorf("hybrid: %+v", got)
	}
	if got := readCgroups(v2); !got.v2 || !got.memory || !got.pids {
		t.Errorf("v2: %+v", got)
	}
	if got := readCgroups(off); !got.v2 || got.memory || got.pids {
		t.Errorf("v2 without memory: %+v", got)
	}
	if !oomKilled(hybrid, "/piswarm/t1") || !oomKilled(v2, "/piswarm/t1") || oomKilled(v2, "/piswarm/t2") || oomKilled(v2, "/piswarm/t3") {
		t.Error("the kernel's kills are misread")
	}
}

func TestReferencesAreNormalised(t *testing.T) {
	const d = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for in, want := range map[string]string{
		"greeter":                   "docker.io/library/greeter:latest",
		"me/greeter:2":              "docker.io/me/greeter:2",
		"localhost:5000/a":          "localhost:5000/a:latest",
		"nginx@" + d:                "docker.io/library/nginx@" + d,
		"nginx:1.27@" + d:           "docker.io/library/nginx:1.27",
		"":                          "",
		"Upper":                     "",
		"a b":                       "",
		"nginx@sha256:1":            "",
		"nginx:" + "tag with space": "",
	} {
		ref, err := parseRef(in)
		if err != nil {
			if want != "" {
				t.Errorf("%q: %v", in, err)
			}
			continue
		}
		if ref.name() != want {
			t.Errorf("%q is %q, want %q", in, ref.name(), want)
		}
		if strings.Contains(in, "@") && ref.pinned(ref.digest) != "docker.io/library/nginx@"+d {
			t.Errorf("%q is pinned as %q", in, ref.pinned(ref.digest))
		}
	}
}

func TestStopSignal(t *testing.T) {
	for _, test := range []struct {
		asked, own string
		want       syscall.Signal
	}{
		{"", "", syscall.SIGTERM}, {"", "SIGUSR1", syscall.SIGUSR1}, {"", "10", syscall.SIGUSR1}, {"INT", "SIGUSR1", syscall.SIGINT},
		{"", "SIGNONSENSE", syscall.SIGTERM}, {"", "1000", syscall.SIGTERM},
	} {
		if got, err := stopSignal(test.asked, test.own); err != nil || got != test.want {
			t.Errorf("asked %q, own %q: %v, %v, want %v", test.asked, test.own, got, err, test.want)
		}
	}
	if sig, err := stopSignal("SIGNONSENSE", "SIGUSR1"); err == nil {
		t.Errorf("nonsense is %v", sig)
	}
}

// TestOverdue: containerd may say first that the time is over.
func TestOverdue(t *testing.T) {
	cause := errors.New("too slow")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, cause)
	defer cancel()
	r := &Runtime{}
	if err := r.explain(ctx, errors.New("rpc error: code = Unknown desc = context deadline exceeded: unknown")); err != cause {
		t.Errorf("%v, want %v", err, cause)
	}
	long, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := r.explain(long, cause); err != cause {
		t.Errorf("%v, want %v", err, cause)
	}
}
