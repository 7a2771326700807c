package containers_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// patience bounds waits for what must happen, generously for a busy machine.
const patience = 30 * time.Second

// shared is the containerd of all tests but those that restart theirs. Each test has a namespace of its own in it.
var shared *daemon

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests of containers:", err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("they start containers and need root: sudo go test")
	}
	for _, program := range []string{"containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("they need %s: apt-get install containerd runc", program)
		}
	}
	dir, err := os.MkdirTemp("", "piswarm-containers-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := buildProgram(filepath.Join(dir, "program")); err != nil {
		return 1, err
	}
	programPath = filepath.Join(dir, "program")
	if shared, err = startDaemon(filepath.Join(dir, "d")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.end()) }()
	return m.Run(), nil
}

// programPath is the built testdata/program.
var programPath string

func buildProgram(to string) error {
	build := exec.Command("go", "build", "-o", to, "./testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build testdata/program: %w\n%s", err, out)
	}
	return nil
}

// daemon is a containerd with its own directories.
type daemon struct {
	dir string
	cmd *exec.Cmd
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "containerd.sock") }

// tmp is where it makes temporary files, which on a node is on the SD card.
func (d *daemon) tmp() string { return filepath.Join(d.dir, "tmp") }

func startDaemon(dir string) (*daemon, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	d := &daemon{dir: dir}
	return d, d.start()
}

func (d *daemon) start() error {
	config := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
# One namespace must not find what another one fetched, or no test would fetch anything.
[plugins."io.containerd.metadata.v1.bolt"]
  content_sharing_policy = "isolated"
`, filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), d.socket())
	path := filepath.Join(d.dir, "config.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command("containerd", "--config", path)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// As on a node, see systemd/containerd.service.d.
	if err := os.MkdirAll(d.tmp(), 0o700); err != nil {
		return err
	}
	d.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+d.dir, "TMPDIR="+d.tmp())
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", d.socket())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return errors.Join(fmt.Errorf("containerd does not come up: %w\n%s", err, text), d.kill())
		}
	}
}

// kill ends containerd as a crash does. Its shims run on.
func (d *daemon) kill() error {
	if err := d.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = d.cmd.Wait() // it says that it was killed
	return nil
}

// end ends containerd and checks that nothing of it is left.
func (d *daemon) end() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := d.cmd.Wait()
	if shims := d.shims(); len(shims) > 0 {
		err = errors.Join(err, fmt.Errorf("shims are left: %v", shims))
	}
	mounts, readErr := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), d.dir+"/") {
		err = errors.Join(err, errors.New("mounts are left below "+d.dir))
	}
	return errors.Join(err, readErr)
}

// shims are the processes that were told this containerd's address.
func (d *daemon) shims() (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), "containerd-shim") && strings.Contains(string(line), d.socket()) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

var namespaces atomic.Int64

// node is a runtime under test with its own namespace, directories and images.
type node struct {
	*containers.Runtime
	t   *testing.T
	ctx context.Context
	cfg containers.Config
}

func newNode(t *testing.T, change ...func(*containers.Config)) *node {
	return newNodeOn(t, shared, change...)
}

func newNodeOn(t *testing.T, d *daemon, change ...func(*containers.Config)) *node {
	t.Helper()
	dir := t.TempDir()
	cfg := containers.Config{
		Socket: d.socket(), Namespace: fmt.Sprintf("pswmtest-%d-%d", os.Getpid(), namespaces.Add(1)),
		LogDir: inMemory(t), FilesDir: inMemory(t), VolumesDir: filepath.Join(dir, "volumes"),
		HostsDir: filepath.Join(dir, "hosts"),
	}
	for _, c := range change {
		c(&cfg)
	}
	r, err := containers.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Runtime: r, t: t, ctx: t.Context(), cfg: cfg}
	t.Cleanup(func() { n.clean() })
	return n
}

// inMemory is a directory on a tmpfs, as on a node.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "piswarm-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// clean removes all that a test made and fails if something cannot be.
func (n *node) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	list, err := n.List(ctx)
	if err != nil {
		n.t.Errorf("clean up: %v", err)
	}
	for _, c := range list {
		if err := n.Remove(ctx, c.ID); err != nil {
			n.t.Errorf("clean up: %v", err)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.cfg.Namespace)
	for _, dir := range append(groups, "/sys/fs/cgroup/"+n.cfg.Namespace) {
		// It can only be removed if no container's group is left in it.
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.t.Errorf("clean up: %v", err)
		}
	}
	if err := n.Close(); err != nil {
		n.t.Errorf("clean up: %v", err)
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}
