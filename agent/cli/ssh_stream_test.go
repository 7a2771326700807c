package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary be the piswarm of a host behind a fake ssh.
func TestMain(m *testing.M) {
	if socket := os.Getenv("PISWARM_TEST_DIAL"); socket != "" {
		os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr).execute(context.Background(), []string{"--host", socket, "dial-stdio"}))
	}
	os.Exit(m.Run())
}

// TestHostOverSSH: the agent of another machine answers as one of this does.
func TestHostOverSSH(t *testing.T) {
	h, f := newFakeHost(t), shelf(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.write("dial", fmt.Sprintf("#!/bin/sh\nPISWARM_TEST_DIAL=%s exec %s\n", f.host, self))
	if err := os.Chmod(filepath.Join(h.dir, "dial"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"ssh://pi@pi9", "ssh://pi@pi9:2222/"} {
		here := run(t, f, "", "node", "ls")
		there := run(t, nil, "", "-H", host, "node", "ls")
		if here.code != 0 || here != there {
			t.Errorf("%s: got %+v, want %+v", host, there, here)
		}
	}
	// A wait for what happens there: events and requests at a time.
	f.onWrite = func(string) { f.change(func() { f.tasks = f.tasks[:1]; f.services[0].Spec.Replicas = 1 }) }
	t.Setenv("PISWARM_HOST", "ssh://pi@pi9")
	if r := run(t, nil, "", "scale", "greeters=1"); r.code != 0 {
		t.Errorf("scale: %+v", r)
	}
	// One connection a run, whatever goes over it.
	if got := strings.Count(h.read("calls"), "exec cat"); got != 3 {
		t.Errorf("3 runs made %d connections:\n%s", got, h.read("calls"))
	}
}

func TestHostOverSSHRefuses(t *testing.T) {
	h := newFakeHost(t)
	for _, test := range []struct{ host, stderr string }{
		{"ssh://", "piswarm: host \"ssh://\": want ssh://[USER@]HOST[:PORT], for example ssh://pi@pi1\n"},
		{"ssh://-oProxyCommand=x", "piswarm: host \"ssh://-oProxyCommand=x\": want ssh://[USER@]HOST[:PORT], for example ssh://pi@pi1\n"},
		{"ssh://pi@pi9/run/x", "piswarm: host \"ssh://pi@pi9/run/x\": want ssh://[USER@]HOST[:PORT], for example ssh://pi@pi1\n"},
		{"ssh://pi@pi9", "piswarm: connect to the piswarm agent on pi@pi9: no piswarm agent answers on /run/piswarm/piswarm.sock: is it running? systemctl status piswarm\n"},
	} {
		if r := run(t, nil, "", "-H", test.host, "ls"); r.code != 1 || r.stdout != "" || r.stderr != test.stderr {
			t.Errorf("%s: got %+v\nwant %s", test.host, r, test.stderr)
		}
	}
	h.write("refuse", "pi@pi9: Permission denied (publickey).\n")
	if r := run(t, nil, "", "-H", "ssh://pi@pi9", "ls"); r.code != 1 || !strings.Contains(r.stderr, "ssh was not let in") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("got %+v", r)
	}
}
