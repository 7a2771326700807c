package floating

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host is a network namespace with one link to a LAN.
type host struct {
	t       *testing.T
	name    string
	net     *os.File
	address Address
}

// lan makes hosts that share a LAN of this test's own.
func lan(t *testing.T, names ...string) []*host {
	t.Helper()
	floor := newHost(t, "lan")
	floor.must("ip link add br0 type bridge")
	floor.must("ip link set br0 up")
	var all []*host
	for i, name := range names {
		h := newHost(t, name)
		floor.must(fmt.Sprintf("ip link add %s type veth peer name eth0 netns /proc/%d/fd/%d", name, os.Getpid(), h.net.Fd()))
		floor.must(fmt.Sprintf("ip link set %s master br0 up", name))
		h.must(fmt.Sprintf("ip addr add 192.168.7.%d/24 dev eth0", i+1))
		h.must("ip link set eth0 up")
		all = append(all, h)
	}
	return all
}

func newHost(t *testing.T, name string) *host {
	t.Helper()
	h := &host{t: t, name: name, address: Address{"eth0", netip.MustParseAddr("192.168.7.100"), filepath.Join(t.TempDir(), "vip.json")}}
	err := thread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		h.net, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.net.Close() })
	return h
}

// thread runs f on a thread that ends with it.
func thread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	return <-done
}

func (h *host) in(f func() error) error {
	return thread(func() error {
		if err := unix.Setns(int(h.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// must runs a command line on the host and returns what it prints.
func (h *host) must(line string) string {
	h.t.Helper()
	args := append([]string{fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), h.net.Fd())}, strings.Fields(line)...)
	out, err := exec.CommandContext(h.t.Context(), "nsenter", args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s", h.name, line, err, out)
	}
	return string(out)
}

func (h *host) take() error {
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	return h.in(func() error { return h.address.Take(ctx) })
}

func (h *host) drop() error { return h.in(func() error { return Cleanup(h.address.Note) }) }

func (h *host) has() bool {
	return strings.Contains(h.must("ip -4 addr show dev eth0"), "inet 192.168.7.100/32")
}

func (h *host) mac() string { return strings.Fields(h.must("ip -brief link show dev eth0"))[2] }

// meets sends something to the address, and wants to have found it at that host.
func (h *host) meets(who *host) {
	h.t.Helper()
	know := "nothing"
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		err := h.in(func() error {
			conn, err := net.Dial("udp4", "192.168.7.100:9")
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = conn.Write([]byte("who is it?")) // nobody has to listen
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
		if know = h.must("ip neigh show 192.168.7.100"); strings.Contains(know, who.mac()) {
			return
		}
	}
	h.t.Fatalf("%s knows %s, and %s is %s", h.name, know, who.name, who.mac())
}

// TestMoves: who talks to the address talks to who has it now, at once.
func TestMoves(t *testing.T) {
	hosts := lan(t, "one", "two", "laptop")
	one, two, laptop := hosts[0], hosts[1], hosts[2]
	if err := one.take(); err != nil || !one.has() {
		t.Fatal(err)
	}
	laptop.meets(one)
	if routes := one.must("ip route show table main"); strings.Contains(routes, "192.168.7.100") {
		t.Errorf("the address brought a route: %s", routes)
	}
	if err := two.take(); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), one.mac()) || two.has() {
		t.Errorf("an address that another machine has: %v, want %v with %s", err, ErrTaken, one.mac())
	}
	if err := one.drop(); err != nil || one.has() {
		t.Errorf("to give it up: %v", err)
	}
	if err := two.take(); err != nil || !two.has() {
		t.Fatal(err)
	}
	laptop.meets(two)
	for range 2 {
		if err := two.drop(); err != nil || two.has() {
			t.Errorf("to give it up, once and twice: %v", err)
		}
	}
}

// TestOwn: an agent that starts again knows the address for its own, and none that somebody else gave the machine.
func TestOwn(t *testing.T) {
	one := lan(t, "one")[0]
	if err := one.take(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := one.take(); err != nil || !one.has() {
		t.Errorf("a second time: %v", err)
	}
	if took := time.Since(began); took > probeEvery {
		t.Errorf("it asked for what it has, for %v", took)
	}
	if err := os.Remove(one.address.Note); err != nil {
		t.Fatal(err)
	}
	if err := one.take(); err == nil || errors.Is(err, ErrTaken) {
		t.Errorf("an address that the machine has by somebody else's doing: %v", err)
	}
	if err := one.drop(); err != nil || !one.has() {
		t.Errorf("it took away what was not its own: %v", err)
	}
}

func TestOtherNetwork(t *testing.T) {
	one := lan(t, "one")[0]
	one.address.IP = netip.MustParseAddr("192.168.8.100")
	if err := one.take(); err == nil || !strings.Contains(err.Error(), "not in the network of eth0") {
		t.Errorf("an address of another network: %v", err)
	}
	if got := one.must("ip -4 addr show dev eth0"); strings.Contains(got, "192.168.8.100") {
		t.Error(got)
	}
	one.address.Interface = "eth1"
	if err := one.take(); err == nil {
		t.Error("an interface that is not there: no error")
	}
}

// FuzzARP: whatever is on the LAN is read without a panic, and what is well formed reads as it was written.
func FuzzARP(f *testing.F) {
	p := packet{reply, [6]byte{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	f.Add(p.bytes())
	f.Add(append(p.bytes(), make([]byte, 18)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ok := parse(raw)
		if !ok {
			return
		}
		if again, ok := parse(p.bytes()); !ok || again != p {
			t.Errorf("%v reads as %v", p, again)
		}
	})
}
