package lab

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestShutdown: the agent is asked first and waited for, with containerd at work; then containerd; then the rest. Nothing
// is started again, and the disk is kept.
func TestShutdown(t *testing.T) {
	opt := testOptions(t, 2)
	// An agent that takes a second to end and notes what it found then.
	opt.agent = []string{"bash", "-c", `/usr/local/bin/piswarm stand-in-agent & trap '
		sleep 1; ls /proc/*/comm >/dev/null; echo "containerd: $(cat /proc/[0-9]*/comm | grep -c "^containerd$")" >/root/end; exit 0' TERM; while :; do sleep 0.1; done`}
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// What systemd would call the rest: it ends when asked to, and writes that down.
	run(t, l, "pi1", `setsid bash -c 'trap "cat /proc/[0-9]*/comm | grep -c ^containerd\$ >/root/rest; exit" TERM; while :; do sleep 0.1; done' >/dev/null 2>&1 </dev/null &`, 0)
	began := time.Now()
	if err := l.Shutdown(t.Context(), "pi1"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if took < time.Second || took > 10*time.Second {
		t.Errorf("off after %s, want a second for the agent and little more", took)
	}
	if got := l.List()[0]; got.Power != "off" || got.PID != 0 {
		t.Errorf("got %+v", got)
	}
	if err := l.Shutdown(t.Context(), "pi1"); err != nil {
		t.Errorf("again: %v", err)
	}
	path, err := l.LogFile("pi1", "agent")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "ended") != 1 || !strings.Contains(string(text), "ended: exit code 0") {
		t.Errorf("log of the agent: %q, error %v", text, err)
	}
	if !answers(t, l, "laptop", "pi2") {
		t.Error("pi2 is gone, too")
	}
	if err := l.PowerOn(t.Context(), "pi1"); err != nil {
		t.Fatal(err)
	}
	if got := run(t, l, "pi1", "cat /root/end /root/rest", 0); got != "containerd: 1\n0" {
		t.Errorf("what ran when the agent ended, and when the rest was asked to: %q", got)
	}
	// Like poweroff typed on the host.
	run(t, l, "pi2", "kill 1", 0)
	eventually(t, "pi2 is off", func() bool { return l.List()[1].Power == "off" })
}

// TestShutdownTooLong takes the power from a host that does not end in time.
func TestShutdownTooLong(t *testing.T) {
	opt := testOptions(t, 1)
	opt.agent = []string{"bash", "-c", `/usr/local/bin/piswarm stand-in-agent & trap "" TERM; while :; do sleep 0.1; done`}
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	if err := l.Shutdown(ctx, "pi1"); err == nil || !strings.Contains(err.Error(), "shut down pi1: ") || time.Since(began) > 20*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
	if got := l.List()[0]; got.Power != "off" {
		t.Errorf("got %+v", got)
	}
}
