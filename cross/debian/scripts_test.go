// Package debian holds the Debian package's own scripts, and nothing of Go but their test.
package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is a place where the scripts may do what they do: its /var/lib/piswarm, its /run, and its group are its own, and of
// the programs that they call there are stand-ins, which note how they were called.
type machine struct {
	t       *testing.T
	dir     string
	systemd bool     // runs
	volume  bool     // a service has left one
	fail    []string // of the programs
}

// calls runs a script as dpkg does, and returns which programs it called, and its exit code.
func (m machine) calls(script string, args ...string) (calls []string, code int) {
	m.t.Helper()
	log := filepath.Join(m.dir, "calls")
	bin := filepath.Join(m.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		m.t.Fatal(err)
	}
	stand := func(name, does string) {
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n%s\n", name, log, does)
		if slices.Contains(m.fail, name) {
			text += "exit 1\n"
		}
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	group := filepath.Join(m.dir, "group")
	for name, does := range map[string]string{
		"getent": "[ -e " + group + " ]", "groupadd": "touch " + group, "groupdel": "rm " + group,
		"systemctl": "", "deb-systemd-helper": "", "deb-systemd-invoke": "", "piswarm": "", "ctr": "echo greeter",
	} {
		stand(name, does)
	}
	// What a script removes is in memory, for this process alone.
	world := "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir -p /var/lib/piswarm/volumes /run/piswarm && touch /var/lib/piswarm/node.json && "
	if m.volume {
		world += "mkdir /var/lib/piswarm/volumes/db && "
	}
	if m.systemd {
		world += "mkdir -p /run/systemd/system && "
	}
	world += `sh "$@"; code=$?; ls -d /var/lib/piswarm /var/lib/piswarm/* /var/lib/piswarm/volumes/* /run/piswarm 2>/dev/null | sed 's/^/kept /' >>` + log + "; exit $code"
	command := exec.CommandContext(m.t.Context(), "unshare", append([]string{"--mount", "sh", "-c", world, "sh", script}, args...)...)
	command.Env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := command.CombinedOutput()
	if err != nil && command.ProcessState == nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	raw, err := os.ReadFile(log)
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		calls = append(calls, strings.TrimSpace(line))
	}
	return calls, command.ProcessState.ExitCode()
}

// TestScripts runs each script as dpkg does when the package is installed, upgraded, removed and purged, and then once
// more: dpkg may run each again after a power cut. What fails within must not leave dpkg half-way.
func TestScripts(t *testing.T) {
	const kept = "kept /run/piswarm\nkept /var/lib/piswarm"
	for _, c := range []struct {
		name    string
		systemd bool
		script  string
		args    []string
		calls   string // each of them, in this order, among others
		never   string // none of them
	}{
		{"install", true, "postinst", []string{"configure", ""}, "groupadd --system piswarm\nsystemctl daemon-reload\ndeb-systemd-helper enable piswarm.service\ndeb-systemd-helper enable piswarm-upgrade.service\ndeb-systemd-invoke start piswarm.service\n" + kept, "restart piswarm\nstart piswarm-upgrade"},
		{"install in an image", false, "postinst", []string{"configure", ""}, "groupadd --system piswarm\ndeb-systemd-helper enable piswarm.service\n" + kept, "systemctl\ndeb-systemd-invoke"},
		{"before an upgrade", true, "prerm", []string{"upgrade", "1.1"}, kept, "stop\ncleanup"},
		{"between", true, "postrm", []string{"upgrade", "1.1"}, kept, "purge\nmask\ngroupdel"},
		{"upgrade", true, "postinst", []string{"configure", "1.0"}, "deb-systemd-invoke restart piswarm.service\n" + kept, "deb-systemd-invoke start\npiswarm-upgrade.service restart"},
		{"upgrade that did not work", true, "postinst", []string{"abort-upgrade", "1.1"}, kept, "deb-systemd-invoke"},
		{"before it is removed", true, "prerm", []string{"remove"}, "deb-systemd-invoke stop piswarm.service\npiswarm agent cleanup\n" + kept, "purge"},
		{"remove", true, "postrm", []string{"remove"}, "systemctl daemon-reload\ndeb-systemd-helper mask piswarm.service piswarm-upgrade.service\n" + kept, "purge\ngroupdel"},
		{"purge", true, "postrm", []string{"purge"}, "deb-systemd-helper purge piswarm.service piswarm-upgrade.service\ndeb-systemd-helper unmask\ngroupdel piswarm", "kept\nhelper mask\nctr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, fail := range [][]string{nil, {"systemctl", "deb-systemd-invoke", "piswarm"}} {
				m := machine{t: t, dir: t.TempDir(), systemd: c.systemd, fail: fail}
				if c.script == "postrm" {
					if err := os.WriteFile(filepath.Join(m.dir, "group"), nil, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				calls, code := m.calls(c.script, c.args...)
				if code != 0 {
					t.Errorf("exit %d, with %v failing", code, fail)
				}
				at := 0
				for want := range strings.Lines(c.calls) {
					want = strings.TrimSpace(want)
					i := slices.IndexFunc(calls[at:], func(call string) bool { return strings.HasPrefix(call, want) })
					if i < 0 {
						t.Fatalf("%q is not called, or too early, with %v failing:\n%s", want, fail, strings.Join(calls, "\n"))
					}
					at += i + 1
				}
				for never := range strings.Lines(c.never) {
					if i := slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, strings.TrimSpace(never)) }); i >= 0 {
						t.Errorf("%q is called", calls[i])
					}
				}
				if _, code := m.calls(c.script, c.args...); code != 0 {
					t.Errorf("again: exit %d, with %v failing", code, fail)
				}
			}
		})
	}
}

// TestPurgeKeepsVolumes, and nothing else.
func TestPurgeKeepsVolumes(t *testing.T) {
	m := machine{t: t, dir: t.TempDir(), systemd: true, volume: true}
	calls, code := m.calls("postrm", "purge")
	var kept []string
	for _, call := range calls {
		if path, ok := strings.CutPrefix(call, "kept "); ok {
			kept = append(kept, path)
		}
	}
	if want := []string{"/var/lib/piswarm", "/var/lib/piswarm/volumes", "/var/lib/piswarm/volumes/db"}; code != 0 || !slices.Equal(kept, want) {
		t.Errorf("exit %d, kept %v, want %v", code, kept, want)
	}
}
