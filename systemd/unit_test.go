package systemd

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestUnits holds what the agent and the rest of the program count on.
func TestUnits(t *testing.T) {
	for _, c := range []struct {
		unit, line string
		want       bool
		why        string
	}{
		{"piswarm.service", "Type=notify", true, "who waits for the unit waits until the agent answers"},
		{"piswarm.service", "WatchdogSec=60", true, "an agent that hangs is ended"},
		{"piswarm.service", "Restart=always", true, "nobody sits at the node"},
		{"piswarm.service", "StartLimitIntervalSec=0", true, "nobody sits at the node"},
		{"piswarm.service", "KillMode=process", true, "containers live on without the agent"},
		{"piswarm.service", "RestartKillSignal=SIGINT", true, "an upgrade moves no task"},
		{"piswarm.service", "After=network.target containerd.service", true, "the agent finds containerd"},
		{"piswarm.service", "network-online", false, "a Wi-Fi that comes late holds up no boot"},
		{"piswarm.service", "Requires=", false, "a containerd that starts anew ends no agent"},
		{"piswarm.service", "ExecStopPost=", false, "what the agent set up goes on without it; purge of the package clears up"},
		{"piswarm-upgrade.service", "Type=exec", true, "its start is done before it restarts the agent"},
		{"piswarm-upgrade.service", "ConditionPathExists=/var/lib/piswarm/upgrade/order.json", true, "at boot it does nothing unless an upgrade was interrupted"},
		{"piswarm-upgrade.service", "ExecStart=/var/lib/piswarm/upgrade/keeper agent upgrade", true, "the new program may not run at all"},
		{"piswarm-upgrade.service", "KillMode=mixed", true, "dpkg is not ended half-way"},
		{"piswarm-upgrade.service", "PartOf=", false, "the restart of the agent is its own doing"},
		{"piswarm-boot.service", "Before=sysinit.target network-pre.target", true, "the network comes up as the card says"},
	} {
		raw, err := os.ReadFile(c.unit)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(string(raw)) {
			found = found || !strings.HasPrefix(line, "#") && strings.Contains(line, c.line)
		}
		if found != c.want {
			t.Errorf("%s has %s: %v, want %v: %s", c.unit, c.line, found, c.want, c.why)
		}
	}
}

// TestExposure holds the figure that the README gives: what systemd says a program could do that got hold of the agent.
func TestExposure(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	claim := regexp.MustCompile("`systemd-analyze\\s+security`\\s+says\\s+([0-9]+\\.[0-9])").FindSubmatch(readme)
	if claim == nil {
		t.Fatal("README.md does not say what systemd-analyze security says")
	}
	most, err := strconv.ParseFloat(string(claim[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "./piswarm.service").CombinedOutput()
	if err != nil {
		t.Fatalf("%v (on Debian: apt install systemd)\n%s", err, out)
	}
	level := regexp.MustCompile(`Overall exposure level for piswarm.service: ([0-9.]+)`).FindSubmatch(out)
	if level == nil {
		t.Fatalf("no figure in\n%s", out)
	}
	if got, err := strconv.ParseFloat(string(level[1]), 64); err != nil || got > most {
		t.Errorf("systemd says %s, %v, the README %g\n%s", level[1], err, most, out)
	}
}
