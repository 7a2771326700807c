package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// fakeHost is a host behind a fake ssh. What it is and what it says are files in its directory.
type fakeHost struct {
	t   *testing.T
	dir string
}

const (
	hostWaits  = `{"client":{"version":"v1.2.3"},"agent":{"version":"v1.2.3","nodeId":"node9"}}`
	hostAway   = `{"client":{"version":"v1.2.3"},"agent":{"version":"v1.2.3","nodeId":"node8","clusterId":"awayaway"}}`
	hostIsLate = `{"client":{"version":"v1.2.3"},"agent":{"version":"v1.2.3","nodeId":"node9","clusterId":"formerly"}}`
	hostIsIn   = `{"client":{"version":"v1.2.3"},"agent":{"version":"v1.2.3","nodeId":"node9","clusterId":"homehome"}}`
	hostSilent = `{"client":{"version":"v1.2.3"},"agent":null}`
)

// newFakeHost is a Raspberry Pi of which piswarm is installed and waits, with a user that may use sudo.
func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	dir, err := os.MkdirTemp("", "host")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &fakeHost{t, dir}
	if err := os.CopyFS(filepath.Join(dir, "bin"), os.DirFS("testdata/host")); err != nil {
		t.Fatal(err)
	}
	ssh := filepath.Join(dir, "ssh")
	if err := os.Mkdir(ssh, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"later", "systemd"} {
		if err := os.Mkdir(filepath.Join(dir, f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.move("bin/ssh", "ssh/ssh")
	h.write("os-release", "ID=raspbian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Raspbian GNU/Linux 12 (bookworm)\"\n")
	h.write("machine", "armv6l\n")
	h.write("sudo", "")
	h.write("version", hostWaits)
	h.write("calls", "")
	t.Setenv("HOST_DIR", dir)
	t.Setenv("PATH", ssh+":"+os.Getenv("PATH"))
	return h
}

func (h *fakeHost) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) move(from, to string) {
	h.t.Helper()
	if err := os.Rename(filepath.Join(h.dir, from), filepath.Join(h.dir, to)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// read returns a file's text, empty if there is none.
func (h *fakeHost) read(name string) string {
	raw, _ := os.ReadFile(filepath.Join(h.dir, name))
	return string(raw)
}

// did returns the calls of a program on the host.
func (h *fakeHost) did(program string) (calls []string) {
	for line := range strings.Lines(h.read("calls")) {
		if strings.HasPrefix(line, program+" ") {
			calls = append(calls, strings.TrimSuffix(line, "\n"))
		}
	}
	return calls
}

// growing is a fake agent whose cluster counts on the host a moment after it has the token.
func growing(t *testing.T, h *fakeHost) *fakeAgent {
	f := shelf(t)
	node := client.Node{}
	node.ID, node.Name, node.Address, node.State = "node9", "pi9", "192.168.1.29", cluster.Down
	node.Availability, node.OS, node.Arch, node.Variant = cluster.Active, "linux", "arm", "v6"
	f.nodes = append(f.nodes, node)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for strings.TrimSpace(h.read("token")) == "" && !strings.Contains(h.read("version"), "homehome") {
			if sleep(ctx, 10*time.Millisecond) != nil {
				return
			}
		}
		f.change(func() { f.nodes[len(f.nodes)-1].State = cluster.Ready })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

const pi9Row = "ID      NAME   ADDRESS        STATUS   AVAILABILITY   LEADER   PLATFORM       TASKS\n" +
	"node9   pi9    192.168.1.29   Ready    Active                  linux/arm/v6   0\n"

func TestNodeAdd(t *testing.T) {
	h := newFakeHost(t)
	r := run(t, growing(t, h), "", "node", "add", "pi@pi9")
	wantSteps := `pi@pi9: pi9, Raspbian GNU/Linux 12 (bookworm) on armv6l
pi@pi9: joining the cluster
pi@pi9: ready
`
	if r.code != 0 || r.stdout != pi9Row || r.stderr != wantSteps {
		t.Errorf("got %+v", r)
	}
	if got := h.read("token"); got != "PSWM-1-home-secret\n" {
		t.Errorf("the host was given the token %q", got)
	}
	// Whoever may list processes reads command lines.
	if calls := h.read("calls"); strings.Contains(calls, "secret") {
		t.Errorf("the token stands in a command line:\n%s", calls)
	}
	if got := h.did("piswarm join"); len(got) != 1 || got[0] != "piswarm join --token-file - 192.168.1.21 192.168.1.22" {
		t.Errorf("the host ran %q", got)
	}
	if got := h.read("mode"); got != "700\n" {
		t.Errorf("the directory of the connection's socket has mode %q", got)
	}
	// A second time: nothing is done, and that is fine.
	h.write("calls", "")
	r = run(t, growing(t, h), "", "node", "add", "pi@pi9")
	if r.code != 0 || r.stdout != pi9Row || !strings.Contains(r.stderr, "it is in this cluster already") || len(h.did("piswarm join")) != 0 {
		t.Errorf("the second time: %+v, calls %s", r, h.read("calls"))
	}
}

// TestNodeAddRefuses: hosts that cannot be a node, or not now. Each is one line, and nothing is changed on the host.
func TestNodeAddRefuses(t *testing.T) {
	for _, test := range []struct {
		what   string
		spoil  func(h *fakeHost)
		args   string
		stderr string
	}{
		{"no connection", func(h *fakeHost) { h.write("refuse", "ssh: connect to host pi9 port 22: Connection refused\n") }, "",
			"piswarm: pi@pi9: connect to host pi9 port 22: Connection refused"},
		{"no key", func(h *fakeHost) { h.write("refuse", "motd\npi@pi9: Permission denied (publickey).\r\n") }, "",
			"piswarm: pi@pi9: ssh was not let in (Permission denied (publickey)): `ssh pi@pi9` must work first"},
		{"unknown", func(h *fakeHost) { h.write("refuse", "No ED25519 host key is known\nHost key verification failed.\n") }, "",
			"piswarm: pi@pi9: its host key is not known here: run `ssh pi@pi9` once and compare the key"},
		{"another key", func(h *fakeHost) {
			h.write("refuse", "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n")
		}, "", "piswarm: pi@pi9: it has another host key than it had: if its card was written anew, remove the old key (ssh-keygen -R HOST); see `ssh pi@pi9`"},
		{"silence", func(h *fakeHost) { h.write("refuse", "") }, "", "piswarm: pi@pi9: ssh ended and said nothing: does `ssh pi@pi9` work?"},
		{"no sudo", func(h *fakeHost) { h.remove("sudo") }, "",
			"piswarm: pi@pi9: the user is not root there, and sudo wants a password: connect as root, or allow sudo without one"},
		{"old", func(h *fakeHost) { h.write("os-release", "ID=debian\nVERSION_ID=\"11\"\nPRETTY_NAME=\"Debian 11\"\n") }, "",
			"piswarm: pi@pi9: it runs Debian 11: a node needs Raspberry Pi OS or Debian, 12 or newer"},
		{"other", func(h *fakeHost) { h.write("os-release", "ID=alpine\nVERSION_ID=3.20\n") }, "",
			"piswarm: pi@pi9: it runs alpine 3.20: a node needs Raspberry Pi OS or Debian, 12 or newer"},
		{"processor", func(h *fakeHost) { h.write("machine", "riscv64\n") }, "",
			"piswarm: pi@pi9: its processor is riscv64: want one of armv6l, armv7l, aarch64, x86_64"},
		{"no package", func(h *fakeHost) {
			h.remove("bin/piswarm")
			h.write("policy", "piswarm:\n  Installed: (none)\n  Candidate: (none)\n")
		}, "", "piswarm: pi@pi9: piswarm is not installed there, and its package sources have none: give the package of the release for its processor (armv6l) with --package FILE.deb"},
		{"wrong program", func(h *fakeHost) { h.write("version", "") }, "",
			"piswarm: pi@pi9: the piswarm that is installed there does not run on its processor (armv6l): give the right package with --package FILE.deb"},
		{"no systemd", func(h *fakeHost) { h.write("version", hostSilent); h.remove("systemd") }, "",
			"piswarm: pi@pi9: no piswarm agent runs there, and no systemd that could start one: run `piswarm agent` as root, and try again"},
		{"old agent", func(h *fakeHost) { h.write("version", `{"client":{"version":"v1.2.3"},"agent":{"version":"v0.1.0"}}`) }, "",
			"piswarm: pi@pi9: its agent is piswarm v0.1.0, which is too old to be added from here: update it, or run piswarm join on it"},
		{"another cluster", func(h *fakeHost) { h.write("version", hostAway) }, "",
			"piswarm: pi@pi9: it is in another cluster (awayaway): to take it out of that one, with all that runs on it, run there: sudo piswarm leave"},
		{"join fails", func(h *fakeHost) { h.write("nojoin", "piswarm: no member of the token's cluster answers\n") }, "",
			"piswarm: pi@pi9: join: no member of the token's cluster answers"},
	} {
		t.Run(test.what, func(t *testing.T) {
			h := newFakeHost(t)
			test.spoil(h)
			r := run(t, growing(t, h), "", "node", "add", "pi@pi9")
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			last := lines[len(lines)-1]
			if r.code != 1 || r.stdout != "" || last != test.stderr || strings.Count(r.stderr, "piswarm: ") != 1 {
				t.Errorf("got %+v\nwant %s", r, test.stderr)
			}
			if h.read("token") != "" || len(h.did("apt-get")) > 0 || len(h.did("systemctl")) > 0 {
				t.Errorf("something was done:\n%s", h.read("calls"))
			}
		})
	}
}

func TestNodeAddInstalls(t *testing.T) {
	const apt = "apt-get install -y -q -o DPkg::Lock::Timeout=120 "
	deb := filepath.Join(t.TempDir(), "piswarm.deb")
	content := "!<arch>\n" + strings.Repeat("package\n", 100_000)
	if err := os.WriteFile(deb, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what   string
		spoil  func(h *fakeHost)
		args   []string
		ran    string // apt-get, for what
		failed string
	}{
		{"from its sources", func(h *fakeHost) {
			h.move("bin/piswarm", "later/piswarm")
			h.write("policy", "piswarm:\n  Installed: (none)\n  Candidate: 1.2.3\n")
		}, nil, apt + "piswarm", ""},
		{"from a file", func(h *fakeHost) { h.move("bin/piswarm", "later/piswarm") }, []string{"--package", deb}, apt + "FILE", ""},
		{"an older one", func(h *fakeHost) {
			h.write("later/piswarm", h.read("bin/piswarm"))
			if err := os.Chmod(filepath.Join(h.dir, "later/piswarm"), 0o755); err != nil {
				t.Fatal(err)
			}
			h.write("version", strings.Replace(hostWaits, "v1.2.3", "v1.1.0", 1))
		}, []string{"--package", deb}, apt + "FILE", ""},
		{"it has that version", func(h *fakeHost) {}, []string{"--package", deb}, "", ""},
		{"apt fails", func(h *fakeHost) {
			h.move("bin/piswarm", "later/piswarm")
			h.write("noapt", "Reading package lists...\nE: Unable to correct problems, you have held broken packages.\nmore\n")
		}, []string{"--package", deb}, apt + "FILE", "piswarm: pi@pi9: install piswarm: E: Unable to correct problems, you have held broken packages."},
		{"not for it", func(h *fakeHost) {
			h.remove("bin/piswarm")
			h.write("later/piswarm", "#!/bin/sh\nexit 132\n")
			if err := os.Chmod(filepath.Join(h.dir, "later/piswarm"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"--package", deb}, apt + "FILE", "piswarm: pi@pi9: the package is installed, and no piswarm that runs on armv6l came with it: is it one for another processor?"},
	} {
		t.Run(test.what, func(t *testing.T) {
			h := newFakeHost(t)
			tmp := filepath.Join(h.dir, "tmp")
			if err := os.Mkdir(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			f := growing(t, h) // with a directory of its own
			t.Setenv("TMPDIR", tmp)
			test.spoil(h)
			r := run(t, f, "", append([]string{"node", "add", "pi@pi9"}, test.args...)...)
			if test.failed != "" {
				if r.code != 1 || r.stdout != "" || !strings.HasSuffix(r.stderr, test.failed+"\n") || h.read("token") != "" {
					t.Errorf("got %+v", r)
				}
			} else if r.code != 0 || r.stdout != pi9Row {
				t.Errorf("got %+v", r)
			}
			if got := strings.Join(h.did("apt-get"), "\n"); got != test.ran {
				t.Errorf("the host ran %q, want %q", got, test.ran)
			}
			if strings.HasSuffix(test.ran, "FILE") && h.read("installed.deb") != content {
				t.Error("the package did not arrive as it was")
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("files are left behind: %v, %v", left, err)
			}
		})
	}
}

func TestNodeAddStartsTheAgent(t *testing.T) {
	h := newFakeHost(t)
	h.write("version", hostSilent)
	h.write("started", hostWaits)
	r := run(t, growing(t, h), "", "node", "add", "pi@pi9")
	if got := h.did("systemctl"); r.code != 0 || len(got) != 1 || got[0] != "systemctl enable --now piswarm" {
		t.Errorf("got %+v, %q", r, got)
	}
}

// TestNodeAddNewToken: a node of the cluster that was off when the token was changed is given the new one.
func TestNodeAddNewToken(t *testing.T) {
	h := newFakeHost(t)
	h.write("version", hostIsLate)
	if r := run(t, growing(t, h), "", "node", "add", "pi@pi9"); r.code != 0 || r.stdout != pi9Row || h.read("token") != "PSWM-1-home-secret\n" {
		t.Errorf("got %+v", r)
	}
}

// TestNodeAddJoinedLate: the node belongs to the cluster, and join gave up waiting for it.
func TestNodeAddJoinedLate(t *testing.T) {
	h := newFakeHost(t)
	h.write("bin/piswarm", strings.Replace(h.read("bin/piswarm"), "\t;;\nesac", "\techo 'piswarm: not up yet' >&2\n\texit 1\n\t;;\nesac", 1))
	if r := run(t, growing(t, h), "", "node", "add", "pi@pi9"); r.code != 0 || r.stdout != pi9Row {
		t.Errorf("got %+v", r)
	}
}

// TestNodeAddInterrupted: the wait for the node ends with Ctrl-C, and what is done stays done.
func TestNodeAddInterrupted(t *testing.T) {
	h := newFakeHost(t)
	h.write("version", hostIsIn)
	f := shelf(t) // it never counts on the node
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ctx, interrupt := context.WithCancel(ctx)
	done := make(chan result, 1)
	go func() { done <- runContext(ctx, f, "", "node", "add", "pi@pi9") }()
	for strings.Count(strings.Join(f.all(), "\n"), "GET /v1/nodes") < 3 {
		if sleep(ctx, 10*time.Millisecond) != nil {
			t.Fatal("it never waits for the node")
		}
	}
	interrupt()
	if r := <-done; r.code != 1 || !strings.HasSuffix(r.stderr, "piswarm: pi@pi9: interrupted: the same command again goes on from here\n") {
		t.Errorf("got %+v", r)
	}
}

func TestWaitingNodesAreListed(t *testing.T) {
	f := shelf(t)
	f.waiting = []client.NodeStatus{{
		ID: "node9-0123456789abcdef", Name: "pi2", Address: "192.168.1.29", State: cluster.Waiting, OS: "linux", Arch: "arm", Variant: "v6",
		Warnings: []string{"in no cluster: to admit it, piswarm node add pi@192.168.1.29"},
	}}
	session(t, "waiting.txt", f, nil)
}
