package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHosts(t *testing.T) {
	l := startLab(t, 2)
	for i, h := range l.List() {
		want := Host{
			Name:    []string{"pi1", "pi2", "laptop"}[i],
			Address: []string{"192.168.77.11", "192.168.77.12", "192.168.77.2"}[i],
			Power:   "on", Network: "up", PID: h.PID,
		}
		if h != want || h.PID == 0 {
			t.Errorf("host %d: got %+v, want %+v", i, h, want)
		}
		if got := run(t, l, h.Name, "hostname; cat /etc/hostname", 0); got != h.Name+"\n"+h.Name {
			t.Errorf("%s is called %q", h.Name, got)
		}
		if got := run(t, l, h.Name, "ip -4 -o addr show eth0", 0); !strings.Contains(got, h.Address+"/24") {
			t.Errorf("%s: address: %s", h.Name, got)
		}
	}
	if a, b := run(t, l, "pi1", "cat /etc/machine-id", 0), run(t, l, "pi2", "cat /etc/machine-id", 0); a == b || len(a) != 32 {
		t.Errorf("machine IDs %q and %q", a, b)
	}
	processes := func(host string) string { return run(t, l, host, "cat /proc/[0-9]*/comm | sort | uniq -c", 0) }
	if got := processes("pi1"); !strings.Contains(got, "1 containerd") {
		t.Errorf("processes of pi1:\n%s", got)
	}
	if got := processes("laptop"); strings.Contains(got, "containerd") {
		t.Errorf("processes of laptop:\n%s", got)
	}
	if got := run(t, l, "pi1", "getent hosts pi2 laptop", 0); strings.Fields(got)[0] != "192.168.77.12" {
		t.Errorf("names: %s", got)
	}
	// The internet is refused, which is better than silence.
	began := time.Now()
	_, err := l.Dial(t.Context(), "pi1", "tcp", "192.0.2.1:80")
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("dial the internet: error %v after %s", err, time.Since(began))
	}
}

// TestIsolation writes on a host where a program could hurt the machine.
func TestIsolation(t *testing.T) {
	l := startLab(t, 1)
	const files = "/etc/piswarm-lab-test /usr/piswarm-lab-test /var/lib/piswarm-lab-test /run/piswarm-lab-test /tmp/piswarm-lab-test /dev/piswarm-lab-test"
	run(t, l, "pi1", "touch "+files, 0)
	for _, file := range append(strings.Fields(files), diskDirs[1:]...) {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("on the machine: %s: %v", file, err)
		}
	}
	run(t, l, "pi1", "echo 1 > /proc/sys/net/ipv4/ip_forward", 0)
	run(t, l, "pi1", "v=$(cat /proc/sys/vm/swappiness); ! echo $v > /proc/sys/vm/swappiness", 0)
	run(t, l, "pi1", "! touch /sys/module/x", 0)
	root, err := l.Root("pi1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/piswarm-lab-test")); err != nil {
		t.Error(err)
	}
	if got := run(t, l, "pi1", "grep -c "+l.dir+" /proc/self/mounts; ls "+l.dir, 2); !strings.Contains(got, "ls:") {
		t.Errorf("the host sees the lab's directory:\n%s", got)
	}
}

func TestExec(t *testing.T) {
	l := startLab(t, 1)
	var out, errs bytes.Buffer
	code, err := l.Exec(t.Context(), "pi1", []string{"sh", "-c", "cat; echo oops >&2; exit 7"},
		Stdio{In: strings.NewReader("in"), Out: &out, Err: &errs})
	if code != 7 || err != nil || out.String() != "in" || errs.String() != "oops\n" {
		t.Errorf("got code %d, error %v, out %q, err %q", code, err, &out, &errs)
	}
	if code, err := l.Exec(t.Context(), "pi1", []string{"no-such-program"}, Stdio{Err: &errs}); code != 127 || err != nil {
		t.Errorf("unknown program: code %d, error %v", code, err)
	}
	if code, err := l.Exec(t.Context(), "pi1", []string{"sh", "-c", "kill -9 $$"}, Stdio{}); code != 128+9 || err != nil {
		t.Errorf("killed: code %d, error %v", code, err)
	}
	if _, err := l.Exec(t.Context(), "pi9", []string{"true"}, Stdio{}); err == nil || !strings.Contains(err.Error(), "pi1, laptop") {
		t.Errorf("unknown host: error %v", err)
	}
	// The command and what it started end with the context.
	ctx, cancel := context.WithCancel(t.Context())
	r, w := net.Pipe()
	go func() {
		buffer := make([]byte, 3)
		r.Read(buffer)
		cancel()
	}()
	began := time.Now()
	_, err = l.Exec(ctx, "pi1", []string{"sh", "-c", "sleep 1000 & echo on; wait"}, Stdio{Out: w})
	if !errors.Is(err, context.Canceled) || time.Since(began) > 20*time.Second {
		t.Errorf("cancelled: error %v after %s", err, time.Since(began))
	}
	eventually(t, "the end of sleep", func() bool {
		return run(t, l, "pi1", "cat /proc/[0-9]*/comm | grep -c sleep || true", 0) == "0"
	})
	// What runs by Exec is in the host's own cgroups.
	for line := range strings.Lines(run(t, l, "pi1", "cat /proc/self/cgroup", 0)) {
		if path := strings.SplitN(strings.TrimSpace(line), ":", 3)[2]; path != "/" && path != "/"+initGroup {
			t.Errorf("cgroup of a command: %s", line)
		}
	}
}

// TestExecThroughPowerCut runs a command on a host that loses its power: the command dies, the one who waits for it
// does not, for while it waits it is no part of the host.
func TestExecThroughPowerCut(t *testing.T) {
	l := startLab(t, 1)
	out, w := io.Pipe()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := l.Exec(context.Background(), "pi1", []string{"sh", "-c", "echo on; sleep 1000"}, Stdio{Out: w})
		ended <- end{code, err}
	}()
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	mine := func() bool {
		groups, err := filepath.Glob("/proc/self/task/*/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range groups {
			if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "piswarm-lab-") {
				return true
			}
		}
		return false
	}
	// It leaves just after the command has begun.
	eventually(t, "no thread of the owner is in a cgroup of the lab", func() bool { return !mine() })
	if err := l.PowerOff("pi1"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ended:
		if got.code != 128+9 || got.err != nil {
			t.Errorf("code %d, error %v", got.code, got.err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the command did not end")
	}
}

// TestExecAtOnce enters hosts from many goroutines, as a test with load does.
func TestExecAtOnce(t *testing.T) {
	l := startLab(t, 2)
	results := make(chan string)
	for i := range 40 {
		go func() {
			host := fmt.Sprintf("pi%d", i%2+1)
			var out bytes.Buffer
			code, err := l.Exec(context.Background(), host, []string{"hostname"}, Stdio{Out: &out})
			if code != 0 || err != nil || strings.TrimSpace(out.String()) != host {
				results <- fmt.Sprintf("%s: code %d, error %v, output %q", host, code, err, &out)
				return
			}
			results <- ""
		}()
	}
	for range 40 {
		if r := <-results; r != "" {
			t.Error(r)
		}
	}
	// This process is where it was.
	if name, err := os.Hostname(); err != nil || strings.HasPrefix(name, "pi") {
		t.Errorf("this process is on %q, error %v", name, err)
	}
}

// TestServicesRestart kills what init keeps running.
func TestServicesRestart(t *testing.T) {
	l := startLab(t, 1)
	pid := func(what string) string {
		return run(t, l, "pi1", `for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline | grep -q "^[^ ]*`+what+`" && echo ${p#/proc/}; done; true`, 0)
	}
	for _, what := range []string{"containerd", "piswarm stand-in-agent"} {
		before := pid(what)
		if strings.Count(before, "\n") > 0 || before == "" {
			t.Fatalf("%s: processes %q", what, before)
		}
		began := time.Now()
		run(t, l, "pi1", "kill -9 "+before, 0)
		eventually(t, what+" is back", func() bool { now := pid(what); return now != "" && now != before })
		t.Logf("%s is back after %s", what, time.Since(began))
	}
	log, err := l.LogFile("pi1", "agent")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "ended: killed") {
		t.Errorf("log of the agent: %q, error %v", text, err)
	}
}

func TestToken(t *testing.T) {
	opt := testOptions(t, 1)
	opt.Token = "PSWM-1-a-b"
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := run(t, l, "pi1", "cat /etc/piswarm/piswarm.toml; stat -c %a /etc/piswarm/piswarm.toml", 0); got != "token = \"PSWM-1-a-b\"\n600" {
		t.Errorf("got %q", got)
	}
	run(t, l, "laptop", "test ! -e /etc/piswarm/piswarm.toml", 0)
}
