package trial

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// lan is the network of a house: a bridge, and a router that gives out addresses. Nothing else is on it, and the test's
// machine has no part in it but from inside. It is there as long as its processes, and they end with the test's own,
// however that ends.
type lan struct {
	t     *testing.T
	space string // the file of the network namespace
	dir   string
}

const gateway = "192.168.77.1"

// address is that which the router gives the nth Pi.
func address(n int) string { return fmt.Sprintf("192.168.77.%d", 10+n) }

func mac(n int) string { return fmt.Sprintf("52:54:00:00:77:%02x", n) }

func newLAN(t *testing.T, pis int) *lan {
	t.Helper()
	house := exec.Command("sleep", "infinity")
	house.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := house.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(house) })
	l := &lan{t: t, space: fmt.Sprintf("/proc/%d/ns/net", house.Process.Pid), dir: t.TempDir()}
	l.must("ip link set lo up; ip link add lan type bridge; ip addr add " + gateway + "/24 dev lan; ip link set lan up")
	// A daemon changes its user, and what does so is not told when the test ends.
	args := []string{
		"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=0", "--interface=lan", "--bind-interfaces",
		"--dhcp-leasefile=" + filepath.Join(l.dir, "leases"), "--pid-file=", "--log-facility=" + filepath.Join(l.dir, "router"),
		"--dhcp-range=192.168.77.50,192.168.77.99,1h",
	}
	for n := range pis {
		l.must(fmt.Sprintf("ip tuntap add tap%d mode tap; ip link set tap%d master lan up", n+1, n+1))
		args = append(args, "--dhcp-host="+mac(n+1)+","+address(n+1))
	}
	router := l.command(context.Background(), args...)
	if err := router.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(router) })
	return l
}

// command runs in the house.
func (l *lan) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + l.space, "--"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return cmd
}

func (l *lan) must(script string) {
	l.t.Helper()
	if out, err := l.command(l.t.Context(), "sh", "-euc", script).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// get asks an address over HTTP, as a laptop in the house does.
func (l *lan) get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	cmd := l.command(ctx, "curl", "--silent", "--show-error", "--fail", "--max-time", "20", url)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("curl %s: %w: %s", url, err, errs.String())
	}
	return string(out), nil
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
}

// within tries until it is so.
func within(t *testing.T, limit time.Duration, what string, so func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := so()
		took := time.Since(began)
		if err == nil {
			t.Logf("%s: after %.0f s", what, took.Seconds())
			return took
		}
		if took > limit {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(2 * time.Second):
		}
	}
}
