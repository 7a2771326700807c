package systemd

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

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
